"""One model on many targets, and bundles that prove themselves on a device."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import edgekit

BOARD = """
summary = "A board that is away"
inherit = "cpu-litert"
[device]
via = "ssh"
host = "127.0.0.1"
port = 1
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, tiny_float: Path) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "tiny.ekb"
    made = edgekit("bundle", tiny_float, "--target", "cpu-litert", "--out", path)
    assert (made.code, made.err) == (0, "")
    return path


def matrix(*words: object) -> tuple[int, dict[str, Any]]:
    found = edgekit("validate", *words, "--json")
    assert found.out, found.err
    return found.code, json.loads(found.out)


def test_every_target_gets_a_row_and_what_does_not_work_has_its_reason(
    bundle: Path, tmp_path: Path
) -> None:
    board = tmp_path / "board.toml"
    board.write_text(BOARD)
    slow = tmp_path / "builtin.toml"
    slow.write_text('summary = "x"\ninherit = "cpu-litert"\n[options]\nkernels = "builtin"\n')
    code, found = matrix(bundle, "--targets", f"cpu-litert,{slow},{board}")
    first, second, third = found["rows"]
    assert code == 3
    assert "does not" in third["problem"] or "refused" in third["problem"]
    assert first["placement"] == {"XNNPACK": 6}
    assert second["placement"] == {"CPU": 6}
    for row in (first, second):
        assert row["runtime"].startswith("ai_edge_litert ")
        assert (row["samples"], row["selftest"]) == (8, "")
        assert row["max_relative"] < 1e-5
        assert row["median_ns"] > 0
        assert row["memory"]["peak_bytes"] > 10_000_000
    assert first["latency_ratio"] is None, "it is what the others are held against"
    low, high = second["latency_ci95"]
    assert 0 < low <= second["latency_ratio"] <= high
    text = edgekit("validate", bundle, "--targets", f"cpu-litert,{board}").out
    assert "\ntarget      accuracy  agreement  difference" in text
    assert "board: not run: " in text


def test_with_data_a_row_has_accuracy_and_agreement(bundle: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((80, 8, 8, 1), dtype=np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=rng.integers(0, 10, 80))
    code, found = matrix(bundle, "--targets", "cpu-litert", "--data", f"npz:{tmp_path}/d.npz")
    (row,) = found["rows"]
    assert code == 0
    assert row["judgement"]["agreement"] == 1.0
    assert row["samples"] == 8 + row["judgement"]["result"]["n"]
    assert found["inputs"].startswith("8 golden samples and 20 test samples")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--targets", "cpu-litert", "--target", "null"), "--target and --targets: give one"),
        (("--targets", " , "), "--targets names no target"),
        (("--targets", "cpu-onnxruntime"), "'cpu-onnxruntime' takes onnx, and the model is tflite"),
        (("--targets", "cpu-lite"), "unknown target 'cpu-lite'"),
    ],
)
def test_wrong_words(bundle: Path, words: tuple[str, ...], said: str) -> None:
    found = edgekit("validate", bundle, *words)
    assert (found.code, found.out) == (2, "")
    assert said in found.err


def test_a_bundle_proves_itself_on_this_machine(bundle: Path) -> None:
    found = edgekit("bundle", bundle, "--on", "this-machine")
    assert (found.code, found.err) == (0, "")
    assert "selftest on this-machine: ok" in found.out
    assert "golden: " in found.out


def test_a_bundle_that_computes_something_else_there_fails(bundle: Path, tmp_path: Path) -> None:
    """Its digests are in order: only the golden outputs say that it is wrong."""
    folder = tmp_path / "open"
    edgekit("bundle", bundle, "--to-folder", folder)
    output = folder / "golden/output_0.npy"
    np.save(output, np.load(output)[::-1] + np.float32(0.1))
    held = (item for item in folder.rglob("*") if item.is_file())
    names = sorted(item.relative_to(folder).as_posix() for item in held)
    names.remove("SHA256SUMS")
    sums = (f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    (folder / "SHA256SUMS").write_text("".join(sums))
    wrong = tmp_path / "wrong.ekb"
    with zipfile.ZipFile(wrong, "w") as archive:
        for name in (*names, "SHA256SUMS"):
            archive.write(folder / name, name)
    found = edgekit("bundle", wrong, "--on", "this-machine")
    assert found.code == 1
    assert "FAILED  golden" in found.out


def test_an_opened_bundle_is_a_model_for_every_command(bundle: Path) -> None:
    assert "CONV_2D" in edgekit("inspect", bundle).out
    assert edgekit("bench", bundle, "--target", "cpu-litert").code == 0
