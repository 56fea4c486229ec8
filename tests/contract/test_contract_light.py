"""What must stay light stays light: proven in fresh processes, not by reading."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx_models import cnn, images

PROBE = """
import json, sys
from edgekit.cli._main import _run
sys.argv = ["edgekit", *json.loads(sys.argv[1])]
try:
    code = _run()
except SystemExit as stop:
    code = stop.code
print("\\n" + json.dumps([code or 0, sorted({name.partition(".")[0] for name in sys.modules})]))
"""

FRAMEWORKS = frozenset({"tensorflow", "keras", "tf_keras", "tf2onnx", "jax", "torch"})


def loaded_by(*arguments: str, code: int = 0) -> frozenset[str]:
    """The top-level modules that a command leaves imported; it must end with that exit code."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    ended, modules = json.loads(done.stdout.splitlines()[-1])
    assert ended == code, done.stderr
    return frozenset(modules)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("list",),
        ("list", "techniques"),
        ("explain", "zoo:digits-cnn", "--recipe", "int8", "--target", "cpu-litert"),
        ("compress", "--help"),
    ],
    ids=" ".join,
)
def test_asking_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    from edgekit.lazy import HEAVY

    assert not loaded_by(*arguments) & HEAVY


def test_explaining_a_tflite_file_imports_nothing_heavy(tiny_float: Path) -> None:
    from edgekit.lazy import HEAVY

    arguments = ("explain", str(tiny_float), "--recipe", "int8", "--target", "cpu-litert")
    assert not loaded_by(*arguments) & HEAVY


def test_inspecting_a_tflite_file_imports_no_framework(tiny_float: Path) -> None:
    assert not loaded_by("inspect", str(tiny_float)) & FRAMEWORKS


def test_compressing_a_tflite_file_imports_no_framework(tiny_float: Path, tmp_path: Path) -> None:
    found = loaded_by(
        *("compress", str(tiny_float), "--recipe", "dynamic-int8", "--target", "null"),
        *("--out", str(tmp_path / "out")),
        code=3,
    )
    assert not found & FRAMEWORKS


@pytest.fixture(scope="module")
def small_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cnn(tmp_path_factory.mktemp("onnx") / "m.onnx")


def test_explaining_an_onnx_file_imports_nothing_heavy(small_onnx: Path) -> None:
    from edgekit.lazy import HEAVY

    for recipe in ("int8", "int8-safe"):
        arguments = ("explain", str(small_onnx), "--recipe", recipe, "--target", "cpu-onnxruntime")
        found = loaded_by(*arguments)
        assert not found & HEAVY
        assert not found & {"onnx", "onnxruntime", "numpy"}


def test_compressing_an_onnx_file_imports_no_framework(small_onnx: Path, tmp_path: Path) -> None:
    x = images(200)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(200) % 4)
    found = loaded_by(
        *("compress", str(small_onnx), "--recipe", "int8-safe", "--target", "cpu-onnxruntime"),
        *("--data", f"npz:{tmp_path}/d.npz", "--out", str(tmp_path / "out")),
    )
    assert {"onnx", "onnxruntime"} <= found
    assert not found & FRAMEWORKS
    assert not found & {"onnx2tf", "onnxslim"}


def test_importing_edgekit_imports_nothing_heavy() -> None:
    from edgekit.lazy import HEAVY

    code = "import edgekit, sys; print(*{n.partition('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not frozenset(done.stdout.split()) & HEAVY
