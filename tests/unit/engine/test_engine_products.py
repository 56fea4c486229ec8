"""What a target makes of a model besides it comes from its runner, its device, or nowhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgekit.core import catalog
from edgekit.core.artifact import Artifact
from edgekit.core.device import Delegate
from edgekit.core.target import load_target
from edgekit.engine.bundle_write import drivers_of
from edgekit.engine.open_model import open_model
from edgekit.engine.products import products_of

DATA = Path(__file__).resolve().parents[2] / "data"
ARRAYS = {"inputs": (np.zeros((1, 2), np.int8),), "outputs": (np.ones((1, 2), np.int8),)}


@pytest.fixture(scope="module")
def model() -> Artifact:
    return open_model(str(DATA / "tiny_float.tflite"), ())


def test_most_targets_make_nothing(model: Artifact) -> None:
    assert products_of(model, load_target("cpu-litert"), **ARRAYS) == {}


def test_a_runner_gets_golden_samples_and_may_ask_the_target(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def products(options: object, path: Path, *, ask: object, **golden: object) -> dict[str, bytes]:
        asked.append((path, golden, callable(ask)))
        return {"c/model.c": b"int x;"}

    runner = catalog.load("runners", "litert")
    monkeypatch.setattr(runner, "products", products, raising=False)
    found = products_of(model, load_target("cpu-litert"), **ARRAYS)
    assert found == {"c/model.c": b"int x;"}
    assert asked == [(model.path, ARRAYS, True)]


def test_a_device_that_compiles_gives_its_files(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = load_target("raspberry-pi-5")
    assert target.device is not None
    device = catalog.load("devices", target.device.via)
    made = {"model_compiled.tflite": model.path}
    monkeypatch.setattr(device, "products", lambda options, path: made, raising=False)
    assert products_of(model, target, **ARRAYS) == made


def test_a_bundle_carries_the_drivers_that_its_target_needs() -> None:
    plain = load_target("cpu-litert")
    assert drivers_of(plain, is_tflite=True) == set()
    gpu = dataclasses.replace(plain, delegates=(Delegate("GPU"),))
    assert drivers_of(gpu, is_tflite=True) == {"drive_compiled.py"}
    micro = dataclasses.replace(plain, runtimes=("tflite_micro",))
    assert drivers_of(micro, is_tflite=True) == {"drive_tflm.py"}
    plugin = dataclasses.replace(
        load_target("cpu-onnxruntime"), delegates=(Delegate("QNN", {"plugin": "onnxruntime_qnn"}),)
    )
    assert drivers_of(plugin, is_tflite=False) == {"drive_plugin.py"}
