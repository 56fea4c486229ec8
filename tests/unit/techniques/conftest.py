"""Small models, a `Work` to quantize them with, and what goes wrong when they are trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_work import FakeWork, artifact


@pytest.fixture
def tiny_dynamic(tiny_float: Path) -> Path:
    """The same net as tiny_float, with an open batch and the ops that compute shapes."""
    return tiny_float.with_name("tiny_dynamic.tflite")


@pytest.fixture
def tiny_leaky(tiny_float: Path) -> Path:
    """The net with LEAKY_RELU, which litert-quantizer leaves in float."""
    return tiny_float.with_name("tiny_leaky.tflite")


@pytest.fixture
def work_on(tmp_path: Path) -> Callable[..., FakeWork]:
    """Makes a FakeWork for a source file."""

    def make(path: Path, **settings: Any) -> FakeWork:
        return FakeWork(tmp_path, artifact(path), **settings)

    return make


@pytest.fixture
def carried_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bridge changes a bias of the last layer; a training that begins fails the test."""
    from edgekit.frameworks import bridge, training

    carry = bridge.carry

    def change(model: Any, library: str) -> Any:
        made = carry(model, library)
        if library == "tf_keras":
            made.layers[-1].bias.assign_add([0.5, *[0.0] * (made.layers[-1].units - 1)])
        return made

    def begin(*_: Any, **__: Any) -> None:
        pytest.fail("it was trained")

    monkeypatch.setattr(bridge, "carry", change)
    monkeypatch.setattr(training, "train_in", begin)


@pytest.fixture
def uncarried(tmp_path: Path) -> Path:
    """A Keras file with kernels that all techniques take, and a layer that tf_keras lacks."""
    from edgekit.frameworks.keras import import_keras, save_keras

    keras = import_keras("a test")
    layers = keras.layers
    image = keras.Input((6, 6, 4), name="image")
    x = layers.RMSNormalization(name="rms")(layers.Conv2D(8, 3, name="conv")(image))
    x = layers.Dense(2, activation="softmax", name="out")(layers.Flatten(name="flat")(x))
    save_keras(keras.Model(image, x), tmp_path / "uncarried.keras")
    return tmp_path / "uncarried.keras"


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a function until trainings of `work` have left `epochs` epochs; then it is Ctrl-C."""

    def run(work: FakeWork, act: Callable[[], object], *, epochs: int) -> None:
        def advance(count: int = 1, text: str = "") -> None:
            histories = work.checkpoints.rglob("history.json")
            if sum(len(json.loads(path.read_text())["epochs"]) for path in histories) >= epochs:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(work, "advance", advance)
            with pytest.raises(KeyboardInterrupt):
                act()

    return run
