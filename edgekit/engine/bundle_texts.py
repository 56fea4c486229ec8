"""The texts of a bundle: labels, README, and what to install on which board."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template

import edgekit.on_device
from edgekit.core.bundle import Manifest, Tensor
from edgekit.core.target import Board
from edgekit.errors import UsageError
from edgekit.text import clean
from edgekit.units import format_bytes

__all__ = ["labels_text", "read_labels", "readme", "requirements"]

_TEMPLATES = Path(edgekit.on_device.__file__).parent
_MOST_BYTES = 4_000_000


def read_labels(path: Path, count: int | None) -> tuple[str, ...]:
    """The names of the classes, one a line, as many as the model has.

    Raises:
        UsageError: unreadable, not UTF-8, an empty line, control codes, or another number.
    """
    where = f"--labels '{path}'"
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{where}: larger than 4 MB, so no list of classes")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{where}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{where}: not a text file in UTF-8") from None
    names = [line.strip() for line in text.replace("\r\n", "\n").rstrip("\n").split("\n")]
    for number, name in enumerate(names, 1):
        if not name or clean(name, most=_MOST_BYTES) != name:
            what = "is empty" if not name else "has characters that cannot be printed"
            raise UsageError(f"{where}: line {number} {what}", hint="write one class a line")
    if count is not None and len(names) != count:
        raise UsageError(
            f"{where}: has {len(names)} classes, and the model's output has {count}",
            hint="write one class a line, in the order of the model's output",
        )
    return tuple(names)


def labels_text(names: Sequence[str]) -> bytes:
    """labels.txt; a name from data that has no text gets the number of its class."""
    lines = [clean(name, most=200).strip() or str(i) for i, name in enumerate(names)]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def requirements(boards: Sequence[Board], own: Sequence[str]) -> bytes:
    """requirements.txt: what each board needs, told apart by its Python; `own` without boards.

    Of two boards with one Python the first is taken, as pip could not tell them apart.
    """
    by_python: dict[str, Board] = {}
    for board in boards:
        by_python.setdefault(board.python, board)
    wanted: dict[str, list[str]] = {}
    for python, board in by_python.items():
        for line in board.requires:
            wanted.setdefault(line, []).append(python)
    lines = []
    for line, pythons in wanted.items():
        marks = " or ".join(f'python_version == "{python}"' for python in pythons)
        lines.append(line if len(pythons) == len(by_python) else f"{line} ; {marks}")
    named = [f"#   {clean(board.name)}: Python {board.python}" for board in boards]
    about = ["# Tried on:", *named] if boards else ["# What made the golden outputs; newer may do."]
    shown = Template((_TEMPLATES / "bundle_requirements.txt").read_text(encoding="utf-8"))
    return shown.substitute(about="\n".join(about), lines="\n".join(lines or own)).encode()


def readme(manifest: Manifest) -> bytes:
    """README.md: from the file to the first answer."""
    shown = Template((_TEMPLATES / "bundle_readme.md").read_text(encoding="utf-8"))
    metrics = manifest.metrics
    measured = ["Nothing was measured of this model when the bundle was made."]
    if metrics is not None:
        measured = [f"- {line}" for line in _measured(manifest)]
    return shown.substitute(
        name=_inline(manifest.name),
        made_by=manifest.made_by,
        target=_inline(manifest.target.name),
        machines=", ".join(map(_inline, manifest.target.machines)) or "any",
        runtimes=", ".join(map(_inline, manifest.target.runtimes)),
        boards="\n".join(f"- {_inline(b.name)}: Python {b.python}" for b in manifest.boards)
        or "- any with one of these runtimes",
        format=manifest.model.format,
        size=format_bytes(manifest.model.size_bytes),
        digest=manifest.model.digest,
        tensors="\n".join(
            [
                *(_row("input", tensor) for tensor in manifest.inputs),
                *(_row("output", tensor) for tensor in manifest.outputs),
            ]
        ),
        measured="\n".join(measured),
        golden=manifest.golden.count,
        source=_inline(manifest.golden.source),
        made_with=_inline(manifest.golden.made_with),
    ).encode("utf-8", "replace")


def _measured(manifest: Manifest) -> list[str]:
    metrics = manifest.metrics
    assert metrics is not None
    lines = []
    if metrics.accuracy is not None:
        own = metrics.accuracy
        low, high = own.ci95
        on = f" of {_inline(metrics.data)}" if metrics.data else ""
        lines.append(
            f"{own.metric} {own.value:.4g} (95 % interval {low:.4g} to {high:.4g}) on {own.n} "
            f"samples{on}"
        )
    if metrics.latency is not None:
        ms = metrics.latency.median_ns / 1e6
        lines.append(f"median latency {ms:.3g} ms on {_inline(metrics.latency.where)}")
    if metrics.memory is not None:
        peak = format_bytes(metrics.memory.peak_bytes)
        lines.append(f"peak memory {peak} on {_inline(metrics.memory.where)}")
    return [*lines, f"model {format_bytes(metrics.size_bytes)}"]


def _row(side: str, tensor: Tensor) -> str:
    shape = " x ".join("?" if size is None else str(size) for size in tensor.shape)
    own = "" if tensor.scale is None else f"scale {tensor.scale:.6g}, zero {tensor.zero_point}"
    return f"| {side} | {_inline(tensor.name)} | {shape} | {tensor.dtype} | {own} |"


def _inline(text: str) -> str:
    """A name from a file as plain words in Markdown."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|!" else char for char in clean(text))
