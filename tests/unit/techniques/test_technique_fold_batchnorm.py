"""Normalizations become part of the layers around them, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_work import FakeWork, artifact

from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.keras import import_keras, load_model, save_keras
from edgekit.techniques.fold_batchnorm import Parameters
from edgekit.techniques.fold_batchnorm import keras as technique

pytestmark = pytest.mark.tensorflow

NOTHING = Parameters()


def randomize(model: Any) -> Any:
    """Normalizations that do something."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in layer.get_weights()])
    return model


def every_kind() -> Any:
    """Each kind of layer that takes a normalization in, and each reason not to."""
    keras = import_keras()
    layers = keras.layers

    def norm(name: str, **settings: Any) -> Any:
        return layers.BatchNormalization(name=name, **settings)

    inputs = keras.Input((10, 10, 3))
    x = layers.Conv2D(4, 3, use_bias=False)(norm("ahead")(inputs))
    x = layers.ReLU()(norm("conv")(x))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(norm("depthwise", scale=False)(x))
    x = norm("twice")(norm("separable")(layers.SeparableConv2D(6, 3, use_bias=False)(x)))
    x = layers.Conv2D(4, 1, groups=2, padding="same")(norm("grouped-ahead")(layers.ReLU()(x)))
    x = layers.Conv2DTranspose(5, 3, strides=2)(x)
    x = layers.ReLU(name="fork")(norm("transposed", center=False)(layers.Dropout(0.5)(x)))
    x = layers.Add(name="sum")([x, norm("branch")(x)])
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="last")(norm("added")(x))
    x = layers.GlobalAveragePooling2D()(norm("activated")(x))
    shared = norm("shared")
    x = layers.Concatenate()([shared(x), shared(-x)])
    # Named: the first Dense of a process would be "dense", as the normalization behind it is.
    x = layers.Dense(4, use_bias=False, name="scores")(layers.Dropout(0.1)(norm("dense-ahead")(x)))
    return randomize(keras.Model(inputs, norm("dense")(x)))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fold") / "model.keras"
    save_keras(every_kind(), path)
    return path


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> FakeWork:
    """The work after all steps."""
    work = FakeWork(tmp_path_factory.mktemp("work"), artifact(source, "keras"), suffix=".keras")
    technique.check(NOTHING, work.source, work)
    technique.apply(NOTHING, work.source, work)
    technique.verify(NOTHING, work.source, artifact(work.output, "keras"), work)
    return work


class TestFold:
    def test_what_is_left(self, done: FakeWork) -> None:
        model = load_model(done.output).model
        left = {la.name for la in model.layers if type(la).__name__ == "BatchNormalization"}
        assert left == {"branch", "added", "activated", "shared"}

    def test_each_that_is_left_has_its_reason(self, done: FakeWork) -> None:
        assert {note.item.split("'")[1]: note.reason for note in done.noted("skipped")} == {
            "branch": "the output of 'fork', its input, is used elsewhere too",
            "added": "Add 'sum' is no convolution or dense layer before it",
            "activated": "the activation relu of 'last' is between",
            "shared": "it is used 2 times",
        }

    def test_evidence_has_figures(self, done: FakeWork) -> None:
        assert done.noted("folded")[0].reason == (
            "9 of 13 are in the weights of other layers now, 3 of them in those of the layer after"
        )
        assert "largest relative difference" in done.noted("proven")[0].reason

    def test_a_model_without_one_is_left_as_it_is(self, tmp_path: Path) -> None:
        keras = import_keras()
        path = tmp_path / "m.keras"
        save_keras(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), path)
        work = FakeWork(tmp_path, artifact(path, "keras"), suffix=".keras")
        technique.apply(NOTHING, work.source, work)
        technique.verify(NOTHING, work.source, artifact(work.output, "keras"), work)
        assert work.noted("nothing to fold")

    @pytest.mark.parametrize(
        ("axis", "shape", "reason"),
        [(1, (4, 3), "it normalizes axis 1, not the last"), (-1, (3,), "an input of the model")],
    )
    def test_other_reasons(self, tmp_path: Path, axis: int, shape: Any, reason: str) -> None:
        keras = import_keras()
        path = tmp_path / "m.keras"
        norm = keras.layers.BatchNormalization(axis=axis)
        save_keras(keras.Sequential([keras.Input(shape), norm, keras.layers.ReLU()]), path)
        work = FakeWork(tmp_path, artifact(path, "keras"), suffix=".keras")
        technique.verify(NOTHING, work.source, work.source, work)
        assert reason in work.noted("skipped")[0].reason


class TestRefusals:
    def test_a_file_that_is_no_model(self, tmp_path: Path) -> None:
        path = tmp_path / "m.keras"
        path.write_bytes(b"nothing")
        work = FakeWork(tmp_path, artifact(path, "keras"))
        with pytest.raises(UsageError):
            technique.check(NOTHING, work.source, work)

    def test_verify_finds_a_layer_that_is_still_there(self, source: Path, tmp_path: Path) -> None:
        work = FakeWork(tmp_path, artifact(source, "keras"), suffix=".keras")
        with pytest.raises(PromiseError) as caught:
            technique.verify(NOTHING, work.source, work.source, work)
        assert caught.value.message == (
            "fold-batchnorm: BatchNormalization 'ahead' is still in the model"
        )

    def test_verify_finds_changed_outputs(
        self, source: Path, done: FakeWork, tmp_path: Path
    ) -> None:
        model = load_model(done.output).model
        kernel = model.get_layer("last").kernel
        kernel.assign(kernel * 1.01)
        path = tmp_path / "changed.keras"
        save_keras(model, path)
        work = FakeWork(tmp_path, artifact(source, "keras"), suffix=".keras")
        with pytest.raises(PromiseError, match="the outputs changed: .*, above 0.0001"):
            technique.verify(NOTHING, work.source, artifact(path, "keras"), work)


def test_needs_no_data_and_names_its_versions() -> None:
    assert NOTHING.needs == {}
    assert set(technique.versions()) == {"tensorflow", "keras"}
