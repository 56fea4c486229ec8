"""Runtimes that are missing, broken, too old, or fall back: each is named, and what to do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bundle_folder import bundle, command, edit, runner

WORKING = "from ai_edge_litert.interpreter import Interpreter, OpResolverType, load_delegate"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return bundle(tmp_path / "b", target={"runtimes": ["tflite_runtime"]})


def fake(
    folder: Path, interpreter: str, name: str = "tflite_runtime", version: str = "2.14.0"
) -> str:
    """A runtime that does what the test says; returns the folder for PYTHONPATH."""
    package = folder / "site" / name
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text(interpreter)
    info = folder / "site" / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return str(folder / "site")


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 3, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_no_runtime_names_what_requirements_say_for_this_python(own: Path) -> None:
    import sys

    python = "{}.{}".format(*sys.version_info)
    board = {"name": "b", "python": python, "requires": ["tflite-runtime==2.14.0", "numpy<2"]}
    edit(own, boards=[board])
    assert refused(command(own, "selftest")) == (
        "error: runtime: tflite_runtime is not installed\n"
        "hint: python3 -m pip install tflite-runtime==2.14.0 numpy<2\n"
    )
    edit(own, boards=[{**board, "python": "3.8"}])
    assert "requirements.txt has packages for 3.8" in refused(command(own, "bench"))


def test_numpy_2_beside_tflite_runtime_is_found_before_it_ends_the_process(
    own: Path, tmp_path: Path
) -> None:
    site = fake(tmp_path, "import os; os.abort()")
    said = refused(command(own, "infer", "x.npy", PYTHONPATH=site))
    assert "tflite_runtime needs numpy 1, and numpy 2." in said
    assert "hint: python3 -m pip install 'numpy<2'" in said


def test_a_glibc_that_is_too_old_is_named(own: Path, tmp_path: Path) -> None:
    edit(own, target__runtimes=["tensorflow"])
    message = "/lib/libc.so.6: version `GLIBC_2.99' not found (required by x.so)"
    site = fake(tmp_path, "", "tensorflow")
    (Path(site) / "tensorflow" / "__init__.py").write_text(f'raise ImportError("{message}")')
    said = refused(command(own, "selftest", PYTHONPATH=site))
    assert "tensorflow needs glibc 2.99, and this system has 2." in said


def test_an_op_version_that_the_runtime_lacks_is_named(own: Path, tmp_path: Path) -> None:
    text = "Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'. An older version"
    lacks = f"""
class OpResolverType: AUTO = 1
class Interpreter:
    def __init__(self, **_): raise ValueError("{text}")
"""
    edit(own, target__runtimes=["tensorflow"])
    site = fake(tmp_path, "", "tensorflow", "2.3.0")
    (Path(site) / "tensorflow" / "lite" / "python").mkdir(parents=True)
    (Path(site) / "tensorflow" / "lite" / "python" / "interpreter.py").write_text(lacks)
    said = refused(command(own, "selftest", PYTHONPATH=site))
    assert "'FULLY_CONNECTED' version '12'\n" in said
    assert "model.tflite: tensorflow 2.3.0 does not run it" in said
    assert "hint: update tensorflow" in said


def test_the_next_runtime_is_tried_and_every_attempt_recorded(own: Path) -> None:
    edit(own, target__runtimes=["tflite_runtime", "ai_edge_litert"])
    found = json.loads(command(own, "selftest", "--json", "--strict").stdout)
    assert found["ok"], "another runtime than the first is no broken promise"
    assert found["attempts"] == [
        {"what": "tflite_runtime", "ok": False, "reason": "tflite_runtime is not installed"},
        {"what": "ai_edge_litert", "ok": True, "reason": ""},
    ]


def test_attempts_are_there_too_where_none_works(own: Path) -> None:
    found = json.loads(command(own, "selftest", "--json").stdout)
    assert [attempt["what"] for attempt in found["attempts"]] == ["tflite_runtime"]


DELEGATE = {"library": "/nowhere/libnpu.so", "options": {"cache": "1"}}


def test_a_delegate_that_fails_is_recorded_and_strict_refuses_it(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", target={"delegates": [DELEGATE]})
    found = runner().selftest(str(folder))
    assert found["ok"]
    assert [(a["what"], a["ok"]) for a in found["attempts"]] == [
        ("libnpu.so", False),
        ("ai_edge_litert", True),
    ]
    assert "/nowhere/libnpu.so: cannot open shared object file" in found["attempts"][0]["reason"]
    found = runner().selftest(str(folder), strict=True)
    assert (found["ok"], found["exit"]) == (False, 1)
    assert found["error"].startswith("runtime: libnpu.so: ")
    assert found["attempts"][0]["ok"] is False


@pytest.mark.usefixtures("delegates")
def test_a_runtime_that_is_missing_is_no_delegate_that_fails(tmp_path: Path) -> None:
    runtimes = ["tflite_runtime", "ai_edge_litert"]
    target = {"delegates": [delegated(), delegated(none="1")], "runtimes": runtimes}
    found = runner().selftest(str(bundle(tmp_path / "b", target=target)), strict=True)
    assert found["ok"], found
    assert [(a["what"], a["ok"]) for a in found["attempts"]] == [
        ("tflite_runtime", False),
        ("libnpu.so", True),
    ]


def test_delegates_on_the_command_line_take_the_place_of_the_bundles(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    done = command(
        folder, "selftest", "--strict", "--delegate", "liba.so:k=v,l=w", "--delegate", "libb.so"
    )
    assert done.returncode == 1
    assert "liba.so: " in done.stderr


FAKE_DELEGATES = '''
from ai_edge_litert import interpreter as real
import numpy as np
OpResolverType = real.OpResolverType
def load_delegate(library, options):
    if "bad" in options: raise ValueError("asked to fail")
    return (library, options)
class Interpreter(real.Interpreter):
    """Says that what delegates are given takes the first two ops."""
    def __init__(self, experimental_delegates=None, **how):
        super().__init__(**how)
        self._of = experimental_delegates
    def _get_ops_details(self):
        rows = super()._get_ops_details()
        if not self._of or "none" in self._of[0][1]: return rows
        own = [row for row in rows if row["op_name"] != "DELEGATE"]
        part = dict(own[0], op_name="DELEGATE", inputs=own[0]["inputs"], outputs=own[1]["outputs"])
        return [*own, part, *rows[len(own):]]
'''


@pytest.fixture
def delegates(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes
    from types import ModuleType

    module = ModuleType("fake")
    exec(FAKE_DELEGATES, vars(module))
    real = runner().load
    monkeypatch.setattr(runner(), "load", lambda name: module if name[0] == "a" else real(name))
    monkeypatch.setattr(ctypes, "CDLL", lambda library: None)


def delegated(**options: str) -> dict[str, Any]:
    return {"library": "lib/libnpu.so", "options": options}


@pytest.mark.usefixtures("delegates")
def test_ops_of_a_delegate_are_told_from_those_of_xnnpack(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", target={"delegates": [delegated()]})
    model = runner().Model(str(folder))
    assert model.placement() == {"libnpu.so": 2, "XNNPACK": 4}
    assert model.session.ran() == "delegate"
    found = runner().selftest(str(folder), strict=True)
    assert found["ok"]
    assert "kernels: delegate" in found["checks"][2]["detail"]


@pytest.mark.usefixtures("delegates")
def test_delegates_are_tried_in_turn(tmp_path: Path) -> None:
    order = [delegated(bad="1"), delegated(none="1"), delegated()]
    folder = bundle(tmp_path / "b", target={"delegates": order})
    attempts = runner().Model(str(folder)).session.attempts
    assert [attempt["ok"] for attempt in attempts] == [False, False, True]
    assert "asked to fail" in attempts[0]["reason"]
    assert "it takes none of the model's ops" in attempts[1]["reason"]


def test_a_provider_that_onnxruntime_lacks_is_a_fall_back(tmp_path: Path) -> None:
    from onnx_models import cnn

    model = cnn(tmp_path / "m.onnx").read_bytes()
    qnn = {"library": "QNN", "options": {}}
    folder = bundle(tmp_path / "b", model, suffix="onnx", target={"delegates": [qnn]})
    with pytest.warns(UserWarning, match="QNNExecutionProvider"):
        found = runner().selftest(str(folder))
    assert (found["ok"], found["attempts"][0]["ok"]) == (True, False)
    with pytest.warns(UserWarning, match="QNNExecutionProvider"):
        assert runner().selftest(str(folder), strict=True)["exit"] == 1


def no_tensorflow(folder: Path) -> str:
    """The real one takes seconds to import."""
    return fake(folder, "raise ImportError('broken')", "tensorflow")


def test_doctor_computes_with_each_runtime_in_a_process_of_its_own(
    own: Path, tmp_path: Path
) -> None:
    site = no_tensorflow(tmp_path)
    fake(tmp_path, "", "onnxruntime", "1.2.3")
    (Path(site) / "onnxruntime" / "__init__.py").write_text("import os; os.abort()")
    edit(own, target__runtimes=["ai_edge_litert"])
    done = command(own, "doctor", "--json", PYTHONPATH=site)
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["ai_edge_litert"] == "works"
    assert found["tflite_runtime"] == "not installed"
    assert found["tensorflow"].startswith("tensorflow cannot be imported: ")
    assert found["onnxruntime"] == "ends the process (signal 6)"
    assert found["python"]
    assert found["numpy"].startswith("2")
    assert found["glibc"]


def test_doctor_is_3_where_the_bundle_has_no_runtime(own: Path, tmp_path: Path) -> None:
    assert command(own, "doctor", PYTHONPATH=no_tensorflow(tmp_path)).returncode == 3
