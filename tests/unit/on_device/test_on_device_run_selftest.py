"""`run.py selftest`: the bundle is whole, and computes here what it must."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_folder import bundle, command, edit, int8_model, runner, seal
from onnx_models import cnn

Break = Callable[[Path], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(tmp_path_factory.mktemp("whole") / "b")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """One that the test may break."""
    return bundle(tmp_path / "b")


def selftest(folder: Path, **own: Any) -> dict[str, Any]:
    found = runner().selftest(str(folder), **own)
    assert isinstance(found, dict)
    json.dumps(found, allow_nan=False)
    return found


def test_a_bundle_that_is_whole_passes_within_two_seconds(whole: Path) -> None:
    start = time.monotonic()
    done = command(whole, "selftest", "--json")
    assert time.monotonic() - start < 2 * 5  # Five times the promise, for a machine under load.
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["exit"]) == (0, True, 0), done.stderr
    names = ["files", "machine", "runtime", "golden", "placement"]
    assert [check["what"] for check in found["checks"]] == names
    assert all(check["ok"] for check in found["checks"])
    assert found["runtime"] == "ai_edge_litert"
    assert found["version"] == "2.3.0"
    assert found["attempts"] == [{"what": "ai_edge_litert", "ok": True, "reason": ""}]
    assert found["max_lsb"] is None
    assert found["max_relative"] < 1e-4
    assert found["placement"] == {"XNNPACK": 6}


def test_for_people_it_prints_a_line_a_check(whole: Path) -> None:
    done = command(whole, "selftest")
    assert done.stdout.splitlines()[0].startswith("ok  files: 7 files are as they were")
    assert " of the largest (0.0001 allowed)\n" in done.stdout


@pytest.mark.parametrize("kernels", ["reference", "builtin", "xnnpack"])
def test_int8_outputs_are_within_their_steps(tmp_path: Path, kernels: str) -> None:
    folder = bundle(tmp_path / "b", int8_model())
    found = selftest(folder, kernels=kernels)
    assert found["ok"], found
    assert found["max_lsb"] is None or found["max_lsb"] <= 2
    assert f"kernels: {kernels}" in found["checks"][2]["detail"]


def test_onnx_passes_with_its_own_runtime(tmp_path: Path) -> None:
    model = cnn(tmp_path / "m.onnx").read_bytes()
    folder = bundle(tmp_path / "b", model, suffix="onnx")
    edit(folder, golden__inputs=["golden/input_0.npy"])
    found = selftest(folder)
    assert found["ok"], found
    assert found["runtime"] == "onnxruntime"
    assert set(found["placement"]) == {"CPU"}


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _escape(folder: Path) -> None:
    sums = folder / "SHA256SUMS"
    sums.write_text(sums.read_text() + f"{'0' * 64}  ../secret\n")


def _link(folder: Path) -> None:
    (folder.parent / "outside").write_bytes((folder / "requirements.txt").read_bytes())
    (folder / "requirements.txt").unlink()
    os.symlink(folder.parent / "outside", folder / "requirements.txt")


BROKEN: list[tuple[str, Break, str]] = [
    ("byte", lambda b: _flip(b / "model.tflite"), "files: model.tflite: is damaged"),
    ("manifest", lambda b: _flip(b / "manifest.json"), "files: manifest.json: is damaged"),
    ("missing", lambda b: (b / "golden/input_0.npy").unlink(), "golden/input_0.npy: is missing"),
    ("extra", lambda b: (b / "more.txt").touch(), "more.txt: is not one of the bundle's files"),
    ("escape", _escape, "../secret' names no file of a bundle"),
    ("link", _link, "requirements.txt: is missing, not in SHA256SUMS, or a link"),
    ("sums", lambda b: (b / "SHA256SUMS").unlink(), "is no bundle's folder"),
    ("newer", lambda b: edit(b, schema="edgekit-bundle/2"), "has the schema 'edgekit-bundle/2'"),
    ("json", lambda b: (b / "manifest.json").write_text("[") and seal(b), "files: "),
    ("keys", lambda b: (b / "manifest.json").write_text("{}") and seal(b), "lacks 'schema'"),
    ("machine", lambda b: edit(b, target__machines=["m68k"]), "the bundle is for m68k"),
    ("option", lambda b: edit(b, target__options={"kernels": "fast"}), "kernels = fast is none"),
    ("unknown", lambda b: edit(b, target__options={"turbo": True}), "turbo = True is none"),
]


@pytest.mark.parametrize(("break_it", "message"), [row[1:] for row in BROKEN])
def test_what_is_damaged_is_refused_and_not_executed(
    own: Path, monkeypatch: pytest.MonkeyPatch, break_it: Break, message: str
) -> None:
    break_it(own)
    monkeypatch.setattr(runner().Tflite, "__init__", lambda *_: pytest.fail("executed"))
    found = selftest(own)
    assert (found["ok"], found["exit"]) == (False, 2), found
    assert message in found["error"]
    assert found["checks"][-1]["ok"] is False


def test_a_refusal_is_one_sentence_and_a_hint_on_stderr(own: Path) -> None:
    _flip(own / "model.tflite")
    done = command(own, "selftest")
    assert done.returncode == 2
    assert done.stderr == (
        "error: files: model.tflite: is damaged, its SHA-256 is another\n"
        "hint: unpack the bundle again\n"
    )
    assert "BAD files" in done.stdout


def test_what_import_leaves_is_not_one_too_many(own: Path) -> None:
    (own / "__pycache__").mkdir()
    (own / "__pycache__" / "run.cpython-38.pyc").touch()
    assert selftest(own)["ok"]


def test_another_machine_can_be_tried_all_the_same(own: Path) -> None:
    edit(own, target__machines=["m68k"])
    assert selftest(own, any_machine=True)["ok"]


@pytest.mark.parametrize("far", [np.float32(0.01), np.float32("nan")])
def test_other_golden_outputs_break_a_promise(own: Path, far: np.float32) -> None:
    path = own / "golden" / "output_0.npy"
    expected = np.load(path)
    expected[1, 3] += far
    np.save(path, expected)
    seal(own)
    found = selftest(own)
    assert (found["exit"], found["checks"][-1]["what"]) == (1, "golden")
    assert "of the largest (0.0001 allowed)" in found["error"]


def test_a_step_too_far_breaks_a_promise(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", int8_model())
    if np.load(folder / "golden" / "output_0.npy").dtype != np.int8:
        pytest.skip("the model's output is no integer")
    path = folder / "golden" / "output_0.npy"
    expected = np.load(path)
    np.save(path, np.where(expected > 0, expected - 3, expected + 3).astype(np.int8))
    seal(folder)
    found = selftest(folder, kernels="reference")
    assert (found["exit"], found["max_lsb"]) == (1, 3)


def test_golden_outputs_of_another_shape_are_a_fault(own: Path) -> None:
    np.save(own / "golden" / "output_0.npy", np.zeros((4, 2), np.float32))
    seal(own)
    assert "a golden output is float32 (4, 2)" in selftest(own)["error"]


def test_too_few_delegated_ops_break_a_promise(own: Path) -> None:
    edit(own, target__min_delegated=0.9)
    assert selftest(own)["ok"]
    found = selftest(own, kernels="builtin")
    assert (found["exit"], found["checks"][-1]["what"]) == (1, "placement")
    assert "0% of the ops are delegated: {'CPU': 6}, and 90% were promised" in found["error"]
