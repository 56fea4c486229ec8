"""Channels that depend on each other: found, counted, and taken out without changing the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.artifact import Signature
from edgekit.frameworks._channel_labels import Labels
from edgekit.frameworks.channels import Groups, find_groups, keep, narrow, rounded
from edgekit.frameworks.keras import import_keras, predict, save_keras, wrap

pytestmark = pytest.mark.tensorflow

BLOCKS = ("conv", "residual", "concat", "depthwise", "squeeze", "separable", "up", "twice", "plus")


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_keras("a test")


def net(keras: Any, blocks: list[str], end: str, *, seed: int = 0) -> Any:
    """A chain of blocks that keep height and width, with weights that are nowhere zero."""
    layers = keras.layers
    inputs = x = keras.Input((4, 4, 2))
    for block in ("conv", *blocks):
        x = _block(keras, layers, x, block)
    if end == "flatten":
        x = layers.Dense(5, activation="relu")(layers.Flatten()(x))
    elif end == "reshape":
        x = layers.Conv1D(3, 1)(layers.Reshape((-1, x.shape[-1]))(x))
        x = layers.GlobalMaxPooling1D()(x)
    else:
        x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            rng.uniform(0.2, 1, w.shape) * rng.choice([-1, 1], w.shape)
            if "variance" not in w.path
            else rng.uniform(0.5, 2, w.shape)
            for w in model.weights
        ]
    )
    return model


def _block(keras: Any, layers: Any, x: Any, block: str) -> Any:
    width = x.shape[-1]
    if block == "residual":
        inner = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same")(x))
        return layers.ReLU()(layers.Add()([x, inner]))
    if block == "concat":
        side = layers.Conv2D(3, 1, activation="relu")(x)
        return layers.Concatenate()([x, side, layers.MaxPooling2D(1)(x)])
    if block == "depthwise":
        x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
        return layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization(scale=False)(x))
    if block == "squeeze":
        gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
        gate = layers.Conv2D(width, 1, activation="sigmoid")(layers.Conv2D(2, 1)(gate))
        return layers.Multiply()([x, gate])
    if block == "separable":
        return layers.SeparableConv2D(4, 3, padding="same", depth_multiplier=2)(x)
    if block == "up":
        x = layers.Conv2DTranspose(3, 2, strides=2)(layers.LeakyReLU()(x))
        return layers.AveragePooling2D(2)(layers.SpatialDropout2D(0.5)(x))
    if block == "twice":
        shared = layers.Conv2D(width, 1, activation="tanh")
        return shared(shared(x))
    if block == "plus":
        return keras.ops.relu(x * 2.0 + x)
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
    return layers.Activation("relu6")(layers.BatchNormalization()(x))


def silence(groups: Groups, times: Any) -> None:
    """Zeroes what makes, scales or shifts the channels that go; not what reads them."""
    for layer in groups.layers.values():
        weights = layer.layer.get_weights() if layer.weights else []
        for (index, axis), channels in layer.weights.items():
            is_own = layer.makes is None and layer.kind != "Dense"
            if is_own or (index, axis) in layer.filters:
                shape = [-1 if a == axis else 1 for a in range(weights[index].ndim)]
                weights[index] = weights[index] * times[channels].reshape(shape)
        if layer.weights:
            layer.layer.set_weights(weights)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3, unique=True),
    end=st.sampled_from(["flatten", "reshape", "average"]),
    seed=st.integers(0, 99),
)
def test_channels_that_are_zero_go_without_a_trace(blocks: list[str], end: str, seed: int) -> None:
    keras = import_keras("a test")
    check_without_a_trace(net(keras, blocks, end, seed=seed), seed)


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_loses_zero_channels_without_a_trace(keras: Any, block: str) -> None:
    check_without_a_trace(net(keras, [block], "flatten"), 1)


def check_without_a_trace(model: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = find_groups(model)
    kept = {
        group.name: rng.permutation(len(group))[: rng.integers(1, len(group) + 1)].tolist()
        for group in groups.free
    }
    assert len(kept) >= 2
    times = groups.times(kept)
    silence(groups, times)
    smaller = keep(model, kept)
    x = rng.normal(size=(2, 4, 4, 2)).astype(np.float32)
    assert np.allclose(predict(wrap(model), (x,))[0], predict(wrap(smaller), (x,))[0], atol=1e-5)
    assert [layer.name for layer in smaller.layers] == [layer.name for layer in model.layers]
    assert smaller.count_params() == groups.parameters(times)
    assert find_groups(smaller).macs() == groups.macs(times)


def test_the_inputs_of_an_add_have_the_same_channels(keras: Any) -> None:
    model = net(keras, ["residual"], "average")
    convolutions = sorted(layer.name for layer in model.layers if "conv2d" in layer.name)
    (group,) = find_groups(model).free
    assert (group.producers, len(group), group.blocked) == (tuple(convolutions), 4, "")


def test_a_concatenate_joins_them_one_after_the_other(keras: Any) -> None:
    layers, inputs = keras.layers, keras.Input((2, 2, 1))
    a, b = layers.Conv2D(2, 1, name="a")(inputs), layers.Conv2D(3, 1, name="b")(inputs)
    both = layers.Concatenate(name="both")([a, b])
    model = keras.Model(inputs, layers.Conv2D(1, 1, name="c")(both))
    groups = find_groups(model)
    makes = [*groups.layers["a"].makes, *groups.layers["b"].makes]
    assert [group.name for group in groups.free] == ["a", "b"]
    assert groups.layers["c"].weights[0, 2].tolist() == makes
    smaller = keep(model, {"a": [1], "b": [0, 2]})
    kernel, before = smaller.get_layer("c").get_weights()[0], model.get_layer("c").get_weights()[0]
    assert np.array_equal(kernel[0, 0], before[0, 0][[1, 2, 4]])


def test_an_add_over_a_concatenate_splits_the_groups(keras: Any) -> None:
    layers, inputs = keras.layers, keras.Input((2, 2, 1))
    a, b = layers.Conv2D(2, 1, name="a")(inputs), layers.Conv2D(3, 1, name="b")(inputs)
    c = layers.Conv2D(5, 1, name="c")(inputs)
    x = layers.Add()([layers.Concatenate()([a, b]), c])
    groups = find_groups(keras.Model(inputs, layers.Dense(1)(x)))
    found = {group.name: (group.producers, len(group)) for group in groups.free}
    assert found == {"a": (("a", "c"), 2), "b": (("b", "c"), 3)}


def test_a_layer_of_two_groups_has_two_names(keras: Any) -> None:
    layers, inputs = keras.layers, keras.Input((2, 2, 1))
    a, b, c = (layers.Conv2D(n, 1, name=name)(inputs) for n, name in ((5, "a"), (2, "b"), (3, "c")))
    x = layers.Add()([a, layers.Concatenate()([b, c])])
    groups = find_groups(keras.Model(inputs, layers.Dense(1)(x)))
    found = {group.name: (group.producers, len(group)) for group in groups.free}
    assert found == {"a": (("a", "b"), 2), "a#2": (("a", "c"), 3)}


def test_counts_are_those_of_the_description(keras: Any, tmp_path: Path) -> None:
    from edgekit.formats.keras import describe

    model = net(keras, ["depthwise", "separable", "up"], "flatten")
    save_keras(model, tmp_path / "model.keras")
    description, groups = describe(tmp_path / "model.keras"), find_groups(model)
    assert (groups.macs(), groups.parameters()) == (description.macs, description.parameters)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"x": [0]}, "no group of channels 'x'"),
        ({}, "cannot keep \\[\\]"),
        ({0: [4]}, "has 4 channels: cannot keep \\[4\\]"),
    ],
)
def test_wrong_channels_are_refused(keras: Any, kept: Any, message: str) -> None:
    model = net(keras, [], "average")
    name = find_groups(model).free[0].name
    wanted = {name: []} if not kept else {name if k == 0 else k: v for k, v in kept.items()}
    with pytest.raises(ValueError, match=message):
        keep(model, wanted)


def test_half_the_width_has_fresh_weights_from_the_seed(keras: Any) -> None:
    model = net(keras, ["residual"], "flatten")
    first, same, other = (narrow(model, 0.5, round_to=2, seed=seed) for seed in (1, 1, 2))
    assert [len(group) for group in find_groups(first).free] == [2, 2]
    assert equal(first, same)
    assert not equal(first, other)
    signature: Signature = wrap(first).signature
    assert [spec.shape for spec in signature.outputs] == [(None, 3)]


def equal(first: Any, second: Any) -> bool:
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


def test_what_a_normalization_has_learned_stays(keras: Any) -> None:
    inputs = keras.Input((4, 4, 2))
    normal = keras.layers.Normalization(name="normal")
    normal.adapt(np.random.default_rng(0).normal(5, 3, (20, 4, 4, 2)).astype(np.float32))
    x = keras.layers.Conv2D(8, 3)(normal(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    made = narrow(model, 0.5, round_to=1).get_layer("normal")
    image = np.ones((1, 4, 4, 2), np.float32)
    assert np.array_equal(made(image), normal(image))
    assert abs(float(np.mean(made(image)))) > 1


def test_frozen_layers_are_trainable_where_their_weights_are_new(keras: Any) -> None:
    model = net(keras, ["residual"], "flatten")
    model.trainable = False
    made = narrow(model, 0.5, round_to=2)
    assert len(made.trainable_weights) == len(net(keras, ["residual"], "flatten").trainable_weights)


def test_a_wider_model(keras: Any) -> None:
    model = net(keras, ["concat", "squeeze"], "flatten")
    wider = find_groups(narrow(model, 2.0, round_to=1)).free
    assert [len(group) for group in wider] == [2 * len(g) for g in find_groups(model).free]


def test_no_width_is_refused(keras: Any) -> None:
    with pytest.raises(ValueError, match="above 0, not 0"):
        narrow(net(keras, [], "average"), 0)


@pytest.mark.parametrize(
    ("size", "of", "to", "expected"),
    [
        (10, 20, 8, 8),
        (13, 20, 8, 16),
        (3, 20, 8, 8),
        (3, 6, 8, 3),
        (0.2, 6, 8, 1),
        (20, 20, 8, 20),
        (40, 20, 8, 40),
    ],
)
def test_sizes_are_rounded(size: float, of: int, to: int, expected: int) -> None:
    assert rounded(size, of=of, to=to) == expected


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12), st.integers(0, 9))
def test_labels_are_an_equivalence(pairs: list[tuple[int, int]], pinned: int) -> None:
    labels, classes = Labels(), [{i} for i in range(10)]
    everything = labels.fresh(10)
    for one, other in pairs:
        labels.unite(everything[[one]], everything[[other]])
        merged = classes[one] | classes[other]
        for member in merged:
            classes[member] = merged
    labels.pin(everything[[pinned]], "first")
    labels.pin(everything[[pinned]], "second")
    numbers, reasons = labels.numbered()
    for one in range(10):
        assert {i for i in range(10) if numbers[i] == numbers[one]} == classes[one]
        assert bool(reasons[numbers[one]]) == (pinned in classes[one])
    assert set(reasons) <= {"", "first"}
