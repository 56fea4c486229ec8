"""An ONNX model teaches a Keras student, which takes its place on another runtime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx_models import answers, cnn, images
from support import edgekit

pytestmark = pytest.mark.tensorflow

RECIPE = """
summary = "taught"
[[technique]]
name = "distill"
{student}
epochs = 3
batch_size = 16
baseline = false
"""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("taught")
    model, x = cnn(folder / "teacher.onnx"), images(400)
    y = answers(model, {"image": x})[0].argmax(axis=1)
    np.savez(
        folder / "d.npz", image_train=x[:300], image_test=x[300:], y_train=y[:300], y_test=y[300:]
    )
    return model, f"npz:{folder / 'd.npz'}"


def recipe(folder: Path, student: str) -> Path:
    path = folder / "taught.toml"
    path.write_text(RECIPE.format(student=student))
    return path


def test_the_student_takes_its_place(tmp_path: Path, teacher: tuple[Path, str]) -> None:
    """The image has its channel first in the .onnx, last in the student: it is turned inside."""
    model, data = teacher
    chosen, out = recipe(tmp_path, 'student = "zoo:digits-cnn"'), tmp_path / "out"
    where = ("--target", "cpu-litert", "--data", data, "--out", out)
    done = edgekit("compress", model, "--recipe", chosen, *where)
    report = json.loads((out / "report.json").read_text())
    assert [step["technique"] for step in report["steps"]] == ["distill", "keras-to-tflite"]
    assert [step["format"] for step in report["steps"]] == ["keras", "tflite"]
    (taken,) = report["result"]["inputs"]
    assert taken["shape"][1:] == [1, 12, 12]
    assert report["result"]["accuracy"]["value"] > 0.9
    assert done.code == 0, done.err


def test_a_width_needs_layers(tmp_path: Path, teacher: tuple[Path, str]) -> None:
    model, data = teacher
    chosen = recipe(tmp_path, "width = 0.5")
    where = ("--target", "cpu-litert", "--data", data, "--out", tmp_path / "out")
    done = edgekit("compress", model, "--recipe", chosen, *where)
    assert (done.code, done.out) == (2, "")
    assert "width: the model is an onnx file, which has no layers to rebuild" in done.err
    assert not (tmp_path / "out").exists()
