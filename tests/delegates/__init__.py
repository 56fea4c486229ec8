"""A small external delegate of TFLite, built by gcc for the tests, and models that it suits."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

__all__ = ["MODELS", "NO_GCC", "OPS", "TAKEN", "build", "elf_of"]

_HERE = Path(__file__).resolve().parent
MODELS = {dtype: _HERE / f"sums_{dtype}.tflite" for dtype in ("float32", "int8")}
"""Eleven ops: four of them ADD and MUL in a row, then one behind a CONV_2D (make_models.py)."""
OPS, TAKEN = 11, 5
NO_GCC = "" if shutil.which("gcc") else "there is no gcc to build a delegate with"


def build(folder: Path, *, name: str = "libek.so", source: str = "ek_delegate.c") -> Path:
    """Compiles a source of this folder to a shared library."""
    library = folder / name
    words = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run([*words, str(_HERE / source), "-o", str(library), "-lm"], check=True)
    return library


def elf_of(library: Path, machine: int, to: Path) -> Path:
    """The same library with another processor (`e_machine`) in its header."""
    content = bytearray(library.read_bytes())
    content[18:20] = machine.to_bytes(2, "little")
    to.write_bytes(content)
    return to
