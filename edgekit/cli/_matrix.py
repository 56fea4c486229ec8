"""The table of one model on many targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.units import (
    format_bytes,
    format_figure,
    format_nanoseconds,
    format_share,
    share_digits,
)

if TYPE_CHECKING:
    from edgekit.engine.matrix import Matrix, Row

__all__ = ["lines"]

_HEAD = (
    *("target", "accuracy", "agreement", "difference", "reference kernels", "selftest"),
    *("latency", "memory", "placement"),
)


def lines(found: Matrix) -> list[str]:
    """A row a target; then where each ran, and why what is missing is missing."""
    rows = [_HEAD, *(_cells(row) for row in found.rows if not row.problem)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    table = [
        "  ".join(f"{cell:<{w}}" for cell, w in zip(r, widths, strict=True)).rstrip() for r in rows
    ]
    return [
        f"{found.model} ({found.digest[:16]}): {found.inputs}",
        f"held against {found.oracle}",
        "",
        *table,
        "",
        *(line for row in found.rows for line in (f"{row.target}: {_about(row)}", *_fell(row))),
    ]


def _cells(row: Row) -> tuple[str, ...]:
    judged = row.judgement
    score = judged.result if judged else None
    shown = "-"
    if score is not None:
        digits = share_digits(score.n)
        shown = format_share(score.value, digits=digits) if score.is_share else f"{score.value:.4g}"
    agreement = judged.agreement if judged else None
    memory = row.memory.peak_bytes if row.memory else None
    placed = ", ".join(f"{where} {count}" for where, count in row.placement.items())
    return (
        row.target,
        shown,
        "-" if agreement is None else format_share(agreement, digits=2),
        difference(row),
        "-" if row.reference_lsb is None else f"{row.reference_lsb} LSB",
        "-" if row.selftest is None else "FAILED" if row.selftest else "ok",
        latency(row),
        "-" if memory is None else format_bytes(memory),
        placed or "-",
    )


def difference(row: Row) -> str:
    """The largest difference to the reference kernels: steps of integers, shares of floats."""
    parts = []
    if row.max_lsb is not None:
        parts.append(f"{row.max_lsb} LSB")
    if row.max_relative is not None:
        parts.append(f"{row.max_relative:.1e}")
    return ", ".join(parts) or "-"


def latency(row: Row) -> str:
    """The ratio with its interval, or the time alone."""
    if row.latency_ratio is not None and row.latency_ci95 is not None:
        low, high = row.latency_ci95
        return f"{row.latency_ratio:.2f}x [{low:.2f}, {high:.2f}]"
    if row.median_ns is None:
        return "-"
    told = "~" if row.latency_note.startswith("estimated") else ""
    return told + format_nanoseconds(row.median_ns)


def _fell(row: Row) -> list[str]:
    """What did not run where it was to run, a line each."""
    broken = [f"  FAIL {v.metric}: {v.reason}" for v in row.verdicts if v.status == "fail"]
    return [*broken, *(f"  {note.what}: {note.item}: {note.reason}" for note in row.notes)]


def _about(row: Row) -> str:
    if row.problem:
        return f"not run: {row.problem}"
    parts = [row.where, row.runtime, f"{row.samples} samples"]
    if row.median_ns is not None:
        parts.append(f"median {format_nanoseconds(row.median_ns)}")
    parts += [f"selftest: {row.selftest}"] if row.selftest else []
    parts += [f"latency: {row.latency_note}"] if row.latency_note else []
    parts += [f"{item.name} {format_figure(item.value, item.unit)}" for item in row.figures]
    return "; ".join(part for part in parts if part)
