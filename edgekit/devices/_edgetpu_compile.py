"""Compiles a model with edgetpu_compiler, and reads from its log what it mapped."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.devices._edgetpu_rules import NPU, Row, dtype
from edgekit.devices._vela_cache import kept
from edgekit.devices._vela_run import read_log, run_compiler
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.text import clean

if TYPE_CHECKING:
    from edgekit.frameworks.tflite import TfliteModel

__all__ = ["PROGRAM", "Compiled", "Compiler", "compile_model", "find"]

PROGRAM = "edgetpu_compiler"
_OP = "edgetpu-custom-op"
_MODEL, _MADE = "model.tflite", "model_edgetpu.tflite"
_LIMIT_SECONDS = 300.0
_HINT = f"see what `{PROGRAM} -s` itself says of the model"
_VERSION = re.compile(r"Edge TPU Compiler version ([\w.]+)")
_MAPPED = "Mapped to Edge TPU"
_ONE_PARTITION = "More than one subgraph"
_ROW = re.compile(r"^([A-Z][A-Z0-9_]*|Custom\S*|\S+-op)\s+(\d{1,6})\s+(\S.*?)\s*$")
_MEMORY = {
    "parameters on the chip": "On-chip memory used for caching model parameters",
    "parameters streamed": "Off-chip memory used for streaming uncached model parameters",
}
_SIZE = r"([\d.]{1,20}) ?([KMG]?i?B)"
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


@dataclass(frozen=True)
class Compiler:
    """The program, and for how long it may work."""

    path: str
    limit_seconds: float = _LIMIT_SECONDS


@dataclass(frozen=True)
class Compiled:
    """A model as edgetpu_compiler left it, its version, where the ops are, and bytes by name."""

    model: Path
    version: str
    rows: tuple[Row, ...]
    memory: tuple[tuple[str, int], ...]


def find() -> Compiler | None:
    """The compiler on PATH, None without it."""
    path = shutil.which(PROGRAM)
    return Compiler(path) if path else None


def compile_model(model: Path, compiler: Compiler) -> Compiled:
    """Compiles a model, or takes what an earlier run made of it with the same program.

    Raises:
        UsageError: the model is no .tflite.
        UnmeasuredError: the compiler fails, or what it leaves does not fit what it says.
    """
    from edgekit.frameworks.files import sha256
    from edgekit.frameworks.tflite import read_model

    original = read_model(model)

    def make(folder: Path) -> None:
        _run(model, folder, compiler)
        _read(original, folder)

    asked = (sha256(model), sha256(Path(compiler.path)))
    return _read(original, kept("edgetpu", asked, make))


def _run(model: Path, folder: Path, compiler: Compiler) -> None:
    shutil.copyfile(model, folder / _MODEL)
    how = run_compiler(
        [compiler.path, "-s", "-o", ".", _MODEL],
        folder,
        title=PROGRAM,
        limit_seconds=compiler.limit_seconds,
        hint=_HINT,
    )
    (folder / _MODEL).unlink()
    if how:
        lines = [line for line in read_log(folder).splitlines() if line.strip()]
        said = f": {clean(lines[-1], most=200)}" if lines else ""
        raise UnmeasuredError(f"{PROGRAM} {how}{said}", hint=_HINT)


def _read(original: TfliteModel, folder: Path) -> Compiled:
    """What lies in a folder, held against the model.

    Raises:
        UnmeasuredError: the log is not one of the compiler's, or the file is not what it says.
    """
    log = read_log(folder)
    version = _VERSION.search(log)
    if version is None:
        raise UnmeasuredError(f"{PROGRAM} prints no version, so its log is not known", hint=_HINT)
    rows = _rows(original, log)
    mapped = any(row[2] == NPU for row in rows)
    if mapped != _has_op(folder / _MADE):
        what = "no op of the Edge TPU" if mapped else "an op of the Edge TPU"
        raise UnmeasuredError(
            f"{PROGRAM} says otherwise, but its file has {what}, or is none", hint=_HINT
        )
    return Compiled(folder / _MADE, version[1], rows, _memory(log))


def _rows(model: TfliteModel, log: str) -> tuple[Row, ...]:
    """Of each kind the first ops are on the Edge TPU, as many as the log says: there is one
    partition, and what is behind it stays on the CPU."""
    graph, told = model.subgraphs[0], _told(log)
    kinds = Counter(op.custom_code or op.kind for op in graph.operations)
    for kind, count in kinds.items():
        listed = sum(one[0] for one in told.get(kind, ()))
        if listed != count:
            raise UnmeasuredError(
                f"{PROGRAM} lists {listed} {clean(kind)}, and the model has {count}", hint=_HINT
            )
    waiting = {kind: [text for count, text in told[kind] for _ in range(count)] for kind in kinds}
    rows = []
    for op in graph.operations:
        kind = op.custom_code or op.kind
        status = waiting[kind].pop(0)
        where, reason = (NPU, "") if status == _MAPPED else ("CPU", status)
        rows.append((op.index, kind, where, dtype(graph, op), reason))
    return tuple(rows)


def _told(log: str) -> dict[str, list[tuple[int, str]]]:
    """The log's table by kind of op: what is mapped first, what only lies behind that last."""
    found: dict[str, list[tuple[int, str]]] = {}
    for line in log.splitlines():
        if match := _ROW.match(line):
            found.setdefault(match[1], []).append((int(match[2]), clean(match[3], most=200)))
    for told in found.values():
        told.sort(key=lambda one: (one[1] != _MAPPED, one[1].startswith(_ONE_PARTITION)))
    return found


def _has_op(path: Path) -> bool:
    from edgekit.frameworks.tflite import read_model

    try:
        graphs = read_model(path).subgraphs if path.is_file() else ()
    except UsageError:
        return False
    return any(op.custom_code == _OP for graph in graphs for op in graph.operations)


def _memory(log: str) -> tuple[tuple[str, int], ...]:
    found = []
    for name, words in _MEMORY.items():
        match = re.search(rf"{words}: *{_SIZE}", log)
        if match and match[2] in _UNITS and match[1].count(".") <= 1 and match[1] != ".":
            found.append((name, round(float(match[1]) * _UNITS[match[2]])))
    return tuple(found)
