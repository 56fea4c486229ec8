"""From compress to a bundle that proves itself: the way of a user with a device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import edgekit

pytestmark = pytest.mark.tensorflow


def test_compress_makes_a_bundle_that_proves_itself(tmp_path: Path) -> None:
    out, folder = tmp_path / "out", tmp_path / "folder"
    words = ("zoo:digits-cnn", "--recipe", "int8", "--target", "cpu-litert", "--data", "digits")
    assert edgekit("compress", *words, "--out", out).code == 0
    # The report of the folder gives name, target and figures: the same bundle once more.
    again = edgekit("bundle", out, "--data", "digits", "--out", tmp_path / "again.ekb")
    assert again.code == 0, again
    assert (tmp_path / "again.ekb").read_bytes() == (out / "model.ekb").read_bytes()
    assert edgekit("bundle", out / "model.ekb", "--to-folder", folder).code == 0
    manifest = json.loads((folder / "manifest.json").read_text())
    report = json.loads((out / "report.json").read_text())
    assert manifest["metrics"]["digest"] == report["result"]["digest"]
    assert manifest["metrics"]["accuracy"]["value"] == report["result"]["accuracy"]["value"]
    assert manifest["metrics"]["latency"]["median_ns"] == report["result"]["latency"]["median_ns"]
    assert json.loads((folder / "preprocess.json").read_text())["input"]["levels"] == [0.0, 16.0]
    assert (folder / "labels.txt").read_text().split() == [str(digit) for digit in range(10)]
    proven = subprocess.run(
        [sys.executable, folder / "run.py", "selftest"], capture_output=True, text=True, timeout=60
    )
    assert proven.returncode == 0, proven.stdout + proven.stderr
    assert "golden" in proven.stdout, "it said nothing of the golden outputs"
    # Another model's figures are not this one's: they are left out.
    report["result"]["digest"] = "0" * 64
    (out / "report.json").write_text(json.dumps(report))
    assert edgekit("bundle", out, "--out", tmp_path / "other.ekb").code == 0
    made = edgekit("bundle", tmp_path / "other.ekb", "--to-folder", tmp_path / "o", "--json")
    assert json.loads(made.out)["manifest"]["metrics"] is None
