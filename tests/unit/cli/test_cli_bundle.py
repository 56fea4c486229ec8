"""`edgekit bundle` as a user types it: what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import edgekit

from edgekit import api
from edgekit.errors import UsageError


@pytest.fixture
def bundle(tiny_float: Path, tmp_path: Path) -> Path:
    """A bundle of the tiny model."""
    out = tmp_path / "tiny.ekb"
    outcome = edgekit("bundle", tiny_float, "--out", out, "--golden", 2)
    assert outcome.code == 0, outcome
    assert f"wrote {out}: " in outcome.out
    assert "golden: 2 samples, random, seed 0; reference kernels" in outcome.out
    return out


def test_write_unpack_and_replace(bundle: Path, tmp_path: Path, tiny_float: Path) -> None:
    folder = tmp_path / "folder"
    outcome = edgekit("bundle", bundle, "--to-folder", folder)
    assert outcome.code == 0, outcome
    assert f"unpacked to {folder}: python3 {folder / 'run.py'} selftest" in outcome.out
    assert (folder / "model.tflite").read_bytes() == tiny_float.read_bytes()
    again = edgekit("bundle", bundle, "--to-folder", folder)
    assert (again.code, "exists already" in again.err) == (2, True)
    (folder / "__pycache__").mkdir()
    assert edgekit("bundle", bundle, "--to-folder", folder, "--force", "--json").code == 0
    (folder / "mine.txt").write_text("mine")
    refused = edgekit("bundle", bundle, "--to-folder", folder, "--force")
    assert (refused.code, "'mine.txt'" in refused.err) == (2, True)


def test_a_folder_of_another_bundle_is_replaced(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("manifest.json", "weights.bin"):
        (folder / name).touch()
    refused = edgekit("bundle", bundle, "--to-folder", folder, "--force")
    assert (refused.code, "'weights.bin'" in refused.err) == (2, True)
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  weights.bin\n")
    assert edgekit("bundle", bundle, "--to-folder", folder, "--force").code == 0
    assert not (folder / "weights.bin").exists()


def test_json(tiny_float: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.ekb"
    words = ("bundle", tiny_float, "--out", out, "--to-folder", tmp_path / "f", "--json")
    facts = json.loads(edgekit(*words).out)
    assert facts["size_bytes"] == out.stat().st_size
    assert facts["manifest"] == json.loads((tmp_path / "f" / "manifest.json").read_text())


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("MODEL",), "--out FILE.ekb is missing"),
        (("MODEL", "--out", "x.zip"), "a bundle ends in .ekb"),
        (("MODEL", "--out", "x.ekb", "--output", "y"), "there is no --data"),
        (("MODEL", "--out", "x.ekb", "--labels", "none.txt"), "--labels 'none.txt'"),
        (("MODEL", "--out", "x.ekb", "--preprocess", "none.toml"), "none.toml: "),
        (("MODEL", "--out", "x.ekb", "--target", "null"), "target 'null'"),
        (("MODEL", "--out", "x.ekb", "--target", "cpu-onnxruntime"), "takes onnx"),
        (("zoo:digits-cnn", "--out", "x.ekb"), "needs a model that is trained"),
        (("BUNDLE", "--out", "x.ekb", "--to-folder", "f"), "--out changes nothing"),
        (("BUNDLE", "--target", "t", "--to-folder", "f"), "--target changes nothing"),
        (("BUNDLE",), "--to-folder DIR unpacks it"),
        (("none.ekb", "--to-folder", "f"), "no such file"),
    ],
)
def test_wrong_requests(
    words: tuple[str, ...],
    error: str,
    bundle: Path,
    tiny_float: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    held = sorted(tmp_path.rglob("*"))
    names = {"MODEL": str(tiny_float), "BUNDLE": str(bundle)}
    outcome = edgekit("bundle", *(names.get(word, word) for word in words))
    assert outcome.code == 2, outcome
    assert error in outcome.err
    assert sorted(tmp_path.rglob("*")) == held, "something was left behind"


def test_the_python_interface(tiny_float: Path, tmp_path: Path, bundle: Path) -> None:
    made = api.bundle(tiny_float, out=tmp_path / "b.ekb", golden=2)
    assert made.path.read_bytes() == bundle.read_bytes()
    assert made.size_bytes == bundle.stat().st_size
    labels = tmp_path / "l.txt"
    labels.write_text("a\n")
    with pytest.raises(UsageError, match="has 1 classes, and the model's output has 10"):
        api.bundle(tiny_float, out=tmp_path / "c.ekb", labels=labels)
