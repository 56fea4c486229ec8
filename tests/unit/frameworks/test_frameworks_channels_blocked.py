"""Channels that stay, each with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekit.core.data import TrainingData
from edgekit.core.training import TrainingOptions
from edgekit.frameworks.channels import find_groups, loss_changes
from edgekit.frameworks.keras import import_keras

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_keras("a test")


def around(keras: Any, middle: Callable[[Any, Any], Any], shape: Any = (4, 4, 2)) -> Any:
    """A convolution `a`, what is in the middle, and a dense layer `z` that makes the output."""
    inputs = keras.Input(shape)
    x = middle(keras.layers, keras.layers.Conv2D(4, 1, name="a")(inputs))
    return keras.Model(inputs, keras.layers.Dense(1, name="z")(x))


def reason(model: Any, name: str = "a") -> str:
    return next(g.blocked for g in find_groups(model).blocked if name in g.producers)


MIDDLES: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "norm": (
        lambda k, x: k.LayerNormalization(name="n")(x),
        "LayerNormalization has no rule for its channels ('n')",
    ),
    "softmax": (
        lambda k, x: k.Activation("softmax", name="n")(x),
        "activation softmax mixes channels ('n')",
    ),
    "grouped": (
        lambda k, x: k.Conv2D(4, 1, groups=2, name="n")(x),
        "Conv2D has 2 groups of channels ('n')",
    ),
    "recurrent": (
        lambda k, x: k.LSTM(2, name="n")(k.Reshape((16, 4))(x)),
        "LSTM has no rule for its channels ('n')",
    ),
    "other axis": (
        lambda k, x: k.BatchNormalization(axis=1, name="n")(x),
        "BatchNormalization is along another axis than the last ('n')",
    ),
    "mixed": (
        lambda k, x: k.Reshape((8, 8), name="n")(k.Permute((3, 1, 2), name="p")(x)),
        "Permute has no rule for its channels ('p')",
    ),
    "split": (
        lambda k, x: k.Reshape((32, 2), name="n")(x),
        "Reshape mixes channels with other axes ('n')",
    ),
    "first": (
        lambda k, x: k.ZeroPadding2D(data_format="channels_first", name="n")(x),
        "ZeroPadding2D has its channels first ('n')",
    ),
    "scaled": (
        lambda k, x: k.Rescaling([1.0, 2.0, 3.0, 4.0], name="n")(x),
        "Rescaling has a value for each channel ('n')",
    ),
    "depthwise": (
        lambda k, x: k.DepthwiseConv2D(1, activation="softmax", name="n")(x),
        "activation softmax mixes channels ('n')",
    ),
    "input": (
        lambda k, x: k.Add(name="n")([x, k.Concatenate()([x, x])[..., :4]]),
        "GetItem has no rule",
    ),
}


@pytest.mark.parametrize("case", MIDDLES)
def test_a_layer_without_a_rule_keeps_what_it_touches(keras: Any, case: str) -> None:
    middle, expected = MIDDLES[case]
    assert reason(around(keras, middle)).startswith(expected)


def test_operations_on_arrays_are_blocked(keras: Any) -> None:
    model = around(keras, lambda k, x: x * np.ones(4, np.float32))
    assert reason(model).startswith("Multiply has an array among its arguments")


def test_a_size_that_is_not_known(keras: Any) -> None:
    inputs = keras.Input((None, 2))
    x = keras.layers.Reshape((-1, 4), name="r")(keras.layers.Conv1D(2, 1, name="a")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    assert reason(model) == "Reshape of a size that is not known ('r')"
    assert find_groups(model).macs() == 0


def test_inputs_outputs_and_skipped_layers_stay(keras: Any) -> None:
    inputs = keras.Input((4, 4, 2))
    a = keras.layers.Conv2D(2, 1, name="a")(inputs)
    b = keras.layers.Conv2D(3, 1, name="b")(keras.layers.Add()([inputs, a]))
    c = keras.layers.Conv2D(3, 1, name="c")(b)
    model = keras.Model(inputs, [c, keras.layers.Dense(2, name="d")(c)])
    found = {g.name: g.blocked for g in find_groups(model, skip=("b*",)).blocked}
    assert found == {
        "a": "it is an input of the model",
        "b": "skip has 'b*'",
        "c": "it is an output of the model",
        "d": "it is an output of the model",
    }


def test_one_channel_that_is_spread_stays(keras: Any) -> None:
    def attend(layers: Any, x: Any) -> Any:
        return layers.Multiply()([x, layers.Conv2D(1, 1, activation="sigmoid", name="m")(x)])

    model = around(keras, attend)
    assert reason(model, "m") == "Multiply spreads it over 4 channels"
    assert [group.name for group in find_groups(model).free] == ["a"]


def test_activations_inside_a_layer_that_mix_channels(keras: Any) -> None:
    model = around(keras, lambda k, x: k.Dense(3, activation="softmax", name="m")(x))
    assert reason(model, "m") == "activation softmax mixes channels"
    assert [group.name for group in find_groups(model).free] == ["a"]


def test_a_class_of_the_users_own_has_no_rule(keras: Any) -> None:
    @keras.saving.register_keras_serializable("test_channels")
    class ReLU(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x[..., ::-1]

    assert reason(around(keras, lambda k, x: ReLU(name="n")(x))).startswith("ReLU has no rule")


def test_a_concatenate_along_another_axis_joins_positions(keras: Any) -> None:
    model = around(keras, lambda k, x: k.Concatenate(axis=1)([x, k.Conv2D(4, 1, name="b")(x)]))
    assert [group.producers for group in find_groups(model).free] == [("a", "b")]


def test_a_shared_dense_layer_reads_the_same_channels_at_each_call(keras: Any) -> None:
    inputs = keras.Input((3,))
    shared = keras.layers.Dense(2, name="s")
    a, b = (keras.layers.Dense(4, name=n)(inputs) for n in "ab")
    model = keras.Model(
        inputs, keras.layers.Dense(1)(keras.layers.Concatenate()([shared(a), shared(b)]))
    )
    assert sorted(g.producers for g in find_groups(model).free) == [("a", "b"), ("s",)]


def test_the_change_of_the_loss_is_gradient_times_weight(keras: Any) -> None:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, name="d")(inputs))
    model.set_weights([np.array([[2.0], [0.0]], np.float32)])
    x, y = np.array([[1.0, 1.0]] * 4, np.float32), np.zeros((4, 1), np.float32)
    changes = loss_changes(
        model,
        {"d": ((0, 0),)},
        TrainingData((x,), y, (x,), y),
        TrainingOptions(batch_size=2),
        batches=3,
        seed=0,
        hooks={},
    )
    # loss = (2 * 1)^2, its gradient 2 * 2 * 1 = 4; times the weight 2 and squared: 64.
    assert changes["d"].tolist() == [64.0, 0.0]


def test_a_shared_reshape_of_two_widths(keras: Any) -> None:
    inputs = keras.Input((2, 2, 1))
    flat = keras.layers.Reshape((-1,), name="r")
    a, b = (keras.layers.Conv2D(n, 1, name=name)(inputs) for n, name in ((2, "a"), (3, "b")))
    joined = keras.layers.Concatenate()([flat(a), flat(b)])
    groups = find_groups(keras.Model(inputs, keras.layers.Dense(1, name="z")(joined)))
    assert {g.name: g.blocked for g in groups.blocked} == {
        "a": "Reshape: its calls have different widths ('r')",
        "b": "Reshape: its calls have different widths ('r')",
        "z": "it is an output of the model",
    }


def test_a_layer_with_lora_weights(keras: Any) -> None:
    model = around(keras, lambda k, x: k.Dense(3, name="m")(x))
    model.get_layer("m").enable_lora(1)
    assert reason(model) == "Dense is quantized or has LoRA weights ('m')"
