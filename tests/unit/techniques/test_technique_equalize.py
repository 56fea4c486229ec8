"""Ranges of neighbouring layers become equal, and outputs stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_work import FakeWork, artifact

from edgekit.core.schema import build
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.keras import import_keras, load_model, save_keras
from edgekit.techniques.equalize import Parameters
from edgekit.techniques.equalize import keras as technique

PARAMETERS = Parameters()


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"iterations": 0}, "iterations must be at least 1, not 0"),
        ({"limit": 1.0}, "limit must be above 1, not 1"),
    ],
)
def test_out_of_range_is_a_usage_error(table: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(Parameters, table, where="r.toml: technique 1")
    assert caught.value.message == f"r.toml: technique 1: {text}"


def uneven(layer: Any) -> None:
    """Makes the channels of a layer hundreds of times apart, and gives it a bias."""
    rng = np.random.default_rng(1)
    kernel, bias = layer.get_weights()
    axis = -2 if "Depthwise" in type(layer).__name__ else -1
    factors = np.exp(1.5 * rng.normal(size=kernel.shape[axis]))
    shaped = factors if axis == -1 else factors[:, None]
    layer.set_weights([kernel * shaped, rng.normal(size=bias.shape)])


def chain() -> Any:
    """Pairs of every kind of layer, and each reason why two layers are none."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = layers.ReLU()(layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x))
    x = layers.MaxPooling2D()(layers.LeakyReLU()(layers.Conv2D(6, 1, name="point")(x)))
    x = layers.SeparableConv2D(4, 3, name="separable", activation="relu")(x)
    x = layers.PReLU()(layers.Conv2D(4, 3, padding="same", groups=2, name="grouped")(x))
    x = layers.Conv2DTranspose(3, 3, strides=2, name="transposed", activation="relu")(x)
    x = layers.Flatten()(layers.Dropout(0.1)(layers.AveragePooling2D(2)(x)))
    x = layers.Dense(4, activation="relu", name="forked")(x)
    y = layers.Dense(4, activation="relu6", name="six")(x)
    y = layers.ReLU(max_value=6, name="clip")(layers.Dense(4, name="clipped")(y))
    y = layers.BatchNormalization(name="norm")(layers.Dense(4, name="normed")(y))
    y = layers.Activation("tanh", name="curve")(layers.Dense(4, name="curved")(y))
    y = layers.Softmax(name="soft")(layers.Dense(4, name="softened")(y))
    x = layers.Add(name="sum")([layers.Dense(4, name="added")(y), x])
    x = layers.Reshape((2, 2), name="torn")(layers.Dense(4, name="reshaped")(x))
    shared = layers.Dense(2, name="shared")
    x = layers.Dense(2, name="before")(layers.Activation("linear")(x))
    x = layers.Flatten()(shared(shared(x)))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax", name="last")(x))
    for name in ("conv", "depthwise", "point", "grouped", "forked"):
        uneven(model.get_layer(name))
    return model


PAIRED = ["conv", "depthwise", "point", "separable", "grouped", "transposed"]
REASONS = {
    "forked": "branching: the output of 'forked' goes out into several layers",
    "six": "its activation relu6 does not pass factors on: its 6 would be another number for "
    "each channel",
    "clipped": "ReLU 'clip', which clips at 6, does not pass factors on: its 6 would be another "
    "number for each channel",
    "normed": "BatchNormalization 'norm' is between: fold-batchnorm first",
    "curved": "activation tanh 'curve' does not pass factors on",
    "softened": "Softmax 'soft' is not known to pass factors on",
    "added": "Add 'sum' takes other inputs too",
    "reshaped": "Reshape 'torn' tears the channels apart",
    "before": "'shared' after it is used several times",
    "shared": "it is used 2 times",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("equalize") / "model.keras"
    save_keras(chain(), path)
    return path


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> FakeWork:
    """The work after all steps."""
    work = FakeWork(tmp_path_factory.mktemp("work"), artifact(source, "keras"), suffix=".keras")
    technique.check(PARAMETERS, work.source, work)
    technique.apply(PARAMETERS, work.source, work)
    technique.verify(PARAMETERS, work.source, artifact(work.output, "keras"), work)
    return work


def verify(source: Path, result: Path, folder: Path) -> None:
    work = FakeWork(folder, artifact(source, "keras"), suffix=".keras")
    technique.verify(PARAMETERS, work.source, artifact(result, "keras"), work)


@pytest.mark.tensorflow
class TestEqualize:
    def test_pairs_and_reasons(self, done: FakeWork) -> None:
        firsts = [note.item.split("'")[1] for note in done.noted("equalized")]
        assert firsts == PAIRED
        assert {n.item.split("'")[1]: n.reason for n in done.noted("skipped")} == REASONS

    def test_both_sides_of_a_pair_have_equal_ranges(self, done: FakeWork) -> None:
        model = load_model(done.output).model
        made = np.abs(model.get_layer("depthwise").kernel.numpy()).max((0, 1)).ravel()
        taken = np.abs(model.get_layer("point").kernel.numpy()).max((0, 1, 3))
        assert np.allclose(made, taken, rtol=5e-3)
        assert all("-> 1 times" in note.reason for note in done.noted("equalized"))

    def test_the_same_bytes_again(self, source: Path, done: FakeWork, tmp_path: Path) -> None:
        work = FakeWork(tmp_path, artifact(source, "keras"), suffix=".keras")
        technique.apply(PARAMETERS, work.source, work)
        first, second = (load_model(w.output).model.get_weights() for w in (done, work))
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))

    def test_dead_channels_and_limits(self, tmp_path: Path) -> None:
        keras = import_keras()
        layers = [keras.layers.Dense(3, name="one"), keras.layers.Dense(2, name="two")]
        model = keras.Sequential([keras.Input((3,)), *layers])
        kernel, bias = layers[0].get_weights()
        layers[0].set_weights([np.ones_like(kernel) * [0.0, 1e-12, 1.0], bias + 1])
        path = tmp_path / "dead.keras"
        save_keras(model, path)
        work = FakeWork(tmp_path, artifact(path, "keras"), suffix=".keras")
        technique.apply(PARAMETERS, work.source, work)
        technique.verify(PARAMETERS, work.source, artifact(work.output, "keras"), work)
        made = load_model(work.output).model.get_layer("one").get_weights()[1]
        assert made[0] == 1
        assert made[1] == pytest.approx(1000)

    def test_a_model_without_pairs_is_left_as_it_is(self, tmp_path: Path) -> None:
        keras = import_keras()
        path = tmp_path / "m.keras"
        save_keras(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), path)
        work = FakeWork(tmp_path, artifact(path, "keras"), suffix=".keras")
        technique.apply(PARAMETERS, work.source, work)
        technique.verify(PARAMETERS, work.source, artifact(work.output, "keras"), work)
        assert work.noted("nothing to equalize")


@pytest.mark.tensorflow
class TestPromises:
    def test_ranges_further_apart(self, source: Path, tmp_path: Path) -> None:
        model = load_model(source).model
        layer = model.get_layer("conv")
        layer.kernel.assign(layer.kernel * [1.0, 1.0, 1e4, 1.0])
        path = tmp_path / "worse.keras"
        save_keras(model, path)
        with pytest.raises(PromiseError, match="'conv' and 'depthwise' are further apart"):
            verify(source, path, tmp_path)

    def test_changed_outputs(self, done: FakeWork, source: Path, tmp_path: Path) -> None:
        model = load_model(done.output).model
        layer = model.get_layer("last")
        layer.bias.assign(np.asarray(layer.bias) + np.array([0.0, 1.0]))
        path = tmp_path / "changed.keras"
        save_keras(model, path)
        with pytest.raises(PromiseError, match="equalize: the outputs changed"):
            verify(source, path, tmp_path)


def test_needs_no_data_and_names_its_versions() -> None:
    assert PARAMETERS.needs == {}
    assert set(technique.versions()) == {"tensorflow", "keras", "numpy"}
