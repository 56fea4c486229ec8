"""Biases that make up for the mean shift of rounded weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_work import FakeWork, artifact

from edgekit.core.schema import build
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.keras import import_keras, load_model, save_keras
from edgekit.techniques.correct_bias import Parameters
from edgekit.techniques.correct_bias import keras as technique

COARSE = Parameters(samples=40, bits=4)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"samples": 0}, "samples must be from 1 to 100000, not 0"),
        ({"bits": 1}, "bits must be from 2 to 8, not 1"),
        ({"bits": 9}, "bits must be from 2 to 8, not 9"),
    ],
)
def test_out_of_range_is_a_usage_error(table: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(Parameters, table, where="r.toml: technique 1")
    assert caught.value.message == f"r.toml: technique 1: {text}"


def net() -> Any:
    """Layers with and without bias, a normalization, and one that is used twice."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, activation="relu", use_bias=False, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(layers.DepthwiseConv2D(3, name="depthwise")(x))
    x = layers.ReLU()(layers.SeparableConv2D(4, 3, use_bias=False, name="separable")(x))
    shared = layers.Dense(4, activation="relu", name="shared")
    x = layers.Flatten()(shared(shared(x)))
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="last")(x))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bias") / "model.keras"
    save_keras(net(), path)
    return path


def work_on(source: Path, folder: Path, **settings: Any) -> FakeWork:
    return FakeWork(folder, artifact(source, "keras"), suffix=".keras", **settings)


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> FakeWork:
    """The work after all steps."""
    work = work_on(source, tmp_path_factory.mktemp("work"))
    technique.check(COARSE, work.source, work)
    technique.apply(COARSE, work.source, work)
    technique.verify(COARSE, work.source, artifact(work.output, "keras"), work)
    return work


def percents(text: str) -> tuple[float, float]:
    before, after = text.split(" -> ")
    return float(before.split(" %")[0]), float(after.split(" %")[0])


@pytest.mark.tensorflow
class TestCorrect:
    def test_the_mean_shift_is_gone(self, done: FakeWork) -> None:
        (note,) = done.noted("proven")
        assert note.item == "mean shift over 4 layers"
        was, now = percents(note.reason)
        assert was > 1
        assert now < was / 1000

    def test_every_treated_layer_has_a_bias_and_its_own_kernel(
        self, source: Path, done: FakeWork
    ) -> None:
        old, new = (load_model(path).model for path in (source, done.output))
        assert np.any(new.get_layer("conv").get_weights()[1])
        assert np.array_equal(*(m.get_layer("conv").get_weights()[0] for m in (old, new)))
        assert done.noted("skipped")[0].item == "Dense 'shared'"
        assert done.noted("skipped")[0].reason == "it is used 2 times"

    def test_figures_of_the_outputs(self, done: FakeWork) -> None:
        assert float(done.noted("float outputs")[0].reason) > 0
        assert done.noted("outputs with rounded weights") or done.noted("outputs not nearer")

    def test_a_normalization_matters_for_one_scale_a_tensor_only(
        self, source: Path, done: FakeWork, tmp_path: Path
    ) -> None:
        assert not done.noted("not folded")
        work = work_on(source, tmp_path)
        parameters = Parameters(samples=8, per_channel=False)
        technique.apply(parameters, work.source, work)
        technique.verify(parameters, work.source, artifact(work.output, "keras"), work)
        assert work.noted("not folded")[0].item == "BatchNormalization 'norm'"

    def test_fewer_samples_are_noted(self, source: Path, tmp_path: Path) -> None:
        work = work_on(source, tmp_path, available=5)
        technique.apply(COARSE, work.source, work)
        assert work.noted("fewer samples")[0].reason == "5 used, and 40 are asked for"

    def test_a_model_with_a_fixed_batch(self, tmp_path: Path) -> None:
        keras = import_keras()
        path = tmp_path / "fixed.keras"
        inputs = keras.Input(batch_shape=(3, 4))
        save_keras(keras.Model(inputs, keras.layers.Dense(2)(inputs)), path)
        work = work_on(path, tmp_path)
        technique.apply(COARSE, work.source, work)
        few = work_on(path, tmp_path, available=2)
        with pytest.raises(UsageError) as caught:
            technique.apply(COARSE, few.source, few)
        assert caught.value.message == (
            "correct-bias: the data has 2 samples to measure on, fewer than a batch of 3"
        )

    def test_a_model_without_such_layers_is_left_as_it_is(self, tmp_path: Path) -> None:
        keras = import_keras()
        path = tmp_path / "m.keras"
        save_keras(keras.Sequential([keras.Input((3,)), keras.layers.ReLU()]), path)
        work = work_on(path, tmp_path)
        technique.apply(COARSE, work.source, work)
        technique.verify(COARSE, work.source, artifact(work.output, "keras"), work)
        assert work.noted("nothing to correct")


@pytest.mark.tensorflow
class TestPromises:
    def test_a_shift_that_grew(self, source: Path, done: FakeWork, tmp_path: Path) -> None:
        model = load_model(done.output).model
        layer = model.get_layer("last")
        layer.bias.assign(layer.bias + 5.0)
        path = tmp_path / "worse.keras"
        save_keras(model, path)
        work = work_on(source, tmp_path)
        with pytest.raises(PromiseError, match="the mean shift of a layer by rounded weights grew"):
            technique.verify(COARSE, work.source, artifact(path, "keras"), work)

    def test_a_kernel_that_changed(self, source: Path, done: FakeWork, tmp_path: Path) -> None:
        model = load_model(done.output).model
        layer = model.get_layer("conv")
        layer.kernel.assign(layer.kernel * 1.001)
        path = tmp_path / "changed.keras"
        save_keras(model, path)
        work = work_on(source, tmp_path)
        with pytest.raises(PromiseError) as caught:
            technique.verify(COARSE, work.source, artifact(path, "keras"), work)
        assert caught.value.message == (
            "correct-bias: Conv2D 'conv': more than the bias has changed"
        )


def test_needs_calibration_data_and_names_its_versions() -> None:
    assert COARSE.needs == {"calibrate": 1}
    assert set(technique.versions()) == {"tensorflow", "keras", "numpy"}
