"""Models that others trained, with data that others made: the shipped file, judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import edgekit, fetched

pytestmark = [pytest.mark.tensorflow, pytest.mark.download, pytest.mark.slow]

INT8 = '[[technique]]\nname = "quantize"\nscheme = "int8"\n'


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder with what tools/get_data.py fetches; kept between runs."""
    folder = Path()
    for name, made in (
        ("cifar20", "cifar20.npz"),
        ("ecg5000", "ecg5000.npz"),
        ("mltk", "image_classification.h5"),
        ("face", "face_detection_short_range.tflite"),
        ("patches", "patches.npz"),
    ):
        folder = fetched(name, made)
    return folder


def compress(out: Path, *arguments: object, code: int = 0) -> dict[str, Any]:
    outcome = edgekit("compress", *arguments, "--target", "cpu-litert", "--out", out)
    assert outcome.code == code, outcome
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def test_resnet8_of_mlperf_tiny(real: Path, tmp_path: Path) -> None:
    """A Keras 2 .h5; 20 test images see no small drop, so the promise of `int8` is left out."""
    recipe = tmp_path / "int8-only.toml"
    recipe.write_text(f'summary = "int8"\n{INT8}')
    report = compress(
        tmp_path / "out",
        *(real / "image_classification.h5", "--recipe", recipe),
        *("--data", f"npz:{real}/cifar20.npz"),
        *("--data-options", f"scale={1 / 127.5},offset=-1"),
    )
    reference, result = report["reference"], report["result"]
    assert reference["accuracy"]["value"] == 18 / 20
    assert result["accuracy"]["value"] >= 15 / 20
    assert result["size_bytes"] <= 98_496, "the size of MLPerf Tiny's own int8 file"
    assert {op["dtype"] for op in result["placement"]["ops"]} == {"int8"}
    assert result["parameters"] == reference["parameters"]


def test_resnet8_learns_zeros_and_integers_from_its_own_labels(real: Path, tmp_path: Path) -> None:
    """A net with residuals, pruned and quantized by training: on patches, judged on real images."""
    recipe = tmp_path / "short.toml"
    recipe.write_text(
        'summary = "pruned, then trained in int8"\n'
        '[[technique]]\nname = "prune"\nsparsity = 0.5\nepochs = 1\n'
        '[[technique]]\nname = "quantize-aware-train"\nepochs = 1\n'
    )
    report = compress(
        tmp_path / "out",
        *(real / "image_classification.h5", "--recipe", recipe),
        *("--data", f"npz:{real}/patches.npz"),
        *("--data-options", f"scale={1 / 127.5},offset=-1"),
    )
    reference, result = report["reference"], report["result"]
    assert reference["accuracy"]["value"] == 18 / 20
    assert result["accuracy"]["value"] >= 14 / 20
    assert result["size_compressed_bytes"] < 0.2 * reference["size_compressed_bytes"]
    assert {op["dtype"] for op in result["placement"]["ops"]} == {"int8"}
    for step in report["steps"][:2]:
        (curve,) = step["curves"]
        assert (curve["metric"], len(curve["epochs"])) == ("accuracy", 1)
    assert "zeros in the file" in str(report["evidence"])


def test_autoencoder_is_trained_to_reconstruct(real: Path, tmp_path: Path) -> None:
    """Its labels, normal or anomaly, are to judge by: they are no classes of its 140 outputs."""
    recipe = tmp_path / "pruned.toml"
    recipe.write_text('summary = "pruned"\n[[technique]]\nname = "prune"\nsparsity = 0.5\n')
    report = compress(
        tmp_path / "out",
        *(real / "autoencoder_example.h5", "--recipe", recipe),
        *("--data", f"npz:{real}/ecg5000.npz"),
    )
    (curve,) = report["steps"][0]["curves"]
    assert curve["metric"] == "", "a reconstruction has no right and wrong"
    assert curve["epochs"][-1]["select_loss"] < 0.02, "a mean squared error"
    accuracy = report["result"]["accuracy"]
    assert (accuracy["metric"], accuracy["n"]) == ("AUC", 4500)
    assert accuracy["value"] > 0.96


def test_autoencoder_of_heart_beats(real: Path, tmp_path: Path) -> None:
    """A .h5 that only tf_keras opens; the task is found, the judgement is an AUC."""
    report = compress(
        tmp_path / "out",
        *(real / "autoencoder_example.h5", "--recipe", "int8"),
        *("--data", f"npz:{real}/ecg5000.npz"),
    )
    assert report["data"]["task"] == "reconstruction"
    accuracy = report["result"]["accuracy"]
    assert (accuracy["metric"], accuracy["n"]) == ("AUC", 4500)
    assert accuracy["value"] > 0.96
    assert accuracy["ci95"][0] < accuracy["value"] < accuracy["ci95"][1]


def test_a_third_partys_float16_file(real: Path, tmp_path: Path) -> None:
    """No data, so the promised accuracy is unmeasured; the rest is measured."""
    report = compress(
        tmp_path / "out",
        *(real / "face_detection_short_range.tflite", "--recipe", "dynamic-int8"),
        code=3,
    )
    assert report["result"]["size_bytes"] < 0.7 * report["reference"]["size_bytes"]
    assert report["result"]["latency"]["kind"] == "measured"
    assert any(note["what"] == "random inputs" for note in report["skipped"])


def test_mobilenet_v2_with_random_weights(tmp_path: Path) -> None:
    """Numerics only: nothing can be said of the accuracy of random weights."""
    from edgekit.frameworks.keras import import_keras, save_keras

    keras = import_keras("the test")
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=10)
    save_keras(model, tmp_path / "mobilenet.keras")
    x = np.random.default_rng(0).uniform(-1, 1, (60, 96, 96, 3)).astype(np.float32)
    np.savez(tmp_path / "noise.npz", x=x)
    recipe = tmp_path / "int8-only.toml"
    recipe.write_text(f'summary = "int8"\n{INT8}')
    report = compress(
        tmp_path / "out",
        *(tmp_path / "mobilenet.keras", "--recipe", recipe),
        *("--data", f"npz:{tmp_path}/noise.npz"),
    )
    reference, result = report["reference"], report["result"]
    assert result["size_bytes"] < 0.45 * reference["size_bytes"]
    assert result["macs"] == reference["macs"] > 10_000_000
    assert {op["dtype"] for op in result["placement"]["ops"]} == {"int8"}
    (equal,) = [note for note in report["evidence"] if note["what"] == "proven equal"]
    assert equal["item"] == "1 output on 15 inputs"
