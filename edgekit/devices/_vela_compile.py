"""Compiles a model with Vela, once, and believes neither its exit code nor its log alone."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.devices._vela_cache import kept
from edgekit.devices._vela_report import (
    Refusal,
    Summary,
    failure,
    read_cpu_rows,
    read_refusals,
    read_summary,
)
from edgekit.devices._vela_run import read_log, run_compiler
from edgekit.errors import UnmeasuredError, UsageError

if TYPE_CHECKING:
    from edgekit.frameworks.tflite import TfliteModel

__all__ = ["NPU_OP", "Compiled", "Compiler", "compile_model"]

NPU_OP = "ethos-u"
"""The custom op that stands for all ops of a partition."""
_MODEL, _MADE, _LAYERS = "model.tflite", "model_vela.tflite", "model_per-layer.csv"
_LIMIT_SECONDS = 300.0
_BUG = "see what `vela` itself says of the model, and take another one or another Vela"


@dataclass(frozen=True)
class Compiler:
    """How Vela is started, and what its result depends on; `config` is the digest of its .ini."""

    command: tuple[str, ...]
    arguments: tuple[str, ...]
    version: str
    config: str = ""
    limit_seconds: float = _LIMIT_SECONDS

    @property
    def title(self) -> str:
        """'Vela 5.2.0'."""
        return f"Vela {self.version}"


@dataclass(frozen=True)
class Compiled:
    """A model as Vela left it: the file, its tables, and what they say."""

    model: Path
    layers: Path
    table: Path
    graph: TfliteModel
    summary: Summary
    refusals: tuple[Refusal, ...]

    @property
    def delegates(self) -> bool:
        """Whether anything of it runs on the NPU."""
        ops = [op for graph in self.graph.subgraphs for op in graph.operations]
        return any(op.custom_code == NPU_OP for op in ops)


def compile_model(model: Path, compiler: Compiler) -> Compiled:
    """Compiles a model, or takes what an earlier run made of the same one in the same way.

    Raises:
        UsageError: the model is no .tflite.
        UnmeasuredError: Vela fails, crashes, takes too long, or leaves what is no compiled model.
    """
    from edgekit.frameworks.files import sha256
    from edgekit.frameworks.tflite import read_model

    original = read_model(model)

    def make(folder: Path) -> None:
        _run(model, folder, compiler)
        _read(original, folder, compiler)

    asked = (sha256(model), compiler.arguments, compiler.version, compiler.config)
    return _read(original, kept("vela", asked, make), compiler)


def _run(model: Path, folder: Path, compiler: Compiler) -> None:
    """One run of Vela in a folder of its own.

    Raises:
        UnmeasuredError: it did not start or end well, or printed an error.
    """
    shutil.copyfile(model, folder / _MODEL)
    words = [*compiler.command, _MODEL, "--output-dir", ".", "--verbose-performance"]
    how = run_compiler(
        [*words, *compiler.arguments],
        folder,
        title=compiler.title,
        limit_seconds=compiler.limit_seconds,
        hint=_BUG,
    )
    (folder / _MODEL).unlink()
    if said := failure(read_log(folder)):
        raise UnmeasuredError(f"{compiler.title} does not compile it: {said}", hint=_BUG)
    if how:
        raise UnmeasuredError(f"{compiler.title} {how} on this model", hint=_BUG)


def _read(original: TfliteModel, folder: Path, compiler: Compiler) -> Compiled:
    """What lies in a folder, held against the model and against itself.

    Raises:
        UnmeasuredError: a file is not there, or does not fit.
    """
    graph = _graph(folder / _MADE, compiler)
    for side in ("inputs", "outputs"):
        if _specs(original, side) != _specs(graph, side):
            raise UnmeasuredError(f"{compiler.title} left a model with other {side}", hint=_BUG)
    tables, layers = sorted(folder.glob("model_summary_*.csv")), folder / _LAYERS
    if len(tables) != 1:
        raise UnmeasuredError(f"{compiler.title} left {len(tables)} summaries", hint=_BUG)
    rows = read_cpu_rows(layers)
    left = sum(op.custom_code != NPU_OP for op in graph.subgraphs[0].operations)
    if rows != left:
        raise UnmeasuredError(
            f"{compiler.title} contradicts itself: its table has {rows} ops on the CPU, and its "
            f"file {left}",
            hint=_BUG,
        )
    refusals = read_refusals(read_log(folder))
    return Compiled(folder / _MADE, layers, tables[0], graph, read_summary(tables[0]), refusals)


def _graph(path: Path, compiler: Compiler) -> TfliteModel:
    from edgekit.frameworks.tflite import read_model

    if not path.is_file() or not path.stat().st_size:
        what = "left an empty file" if path.is_file() else "left no file"
        raise UnmeasuredError(f"{compiler.title} {what}, whatever its exit code says", hint=_BUG)
    try:
        return read_model(path)
    except UsageError as error:
        said = error.message.removeprefix(f"{path}: ")
        raise UnmeasuredError(
            f"{compiler.title} left a file that is no model: it {said}", hint=_BUG
        ) from None


def _specs(model: TfliteModel, side: str) -> list[tuple[str, tuple[int, ...]]]:
    graph = model.subgraphs[0]
    tensors = [graph.tensors[index] for index in getattr(graph, side)]
    return [(tensor.dtype, tensor.shape) for tensor in tensors]
