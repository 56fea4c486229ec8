"""What was tried to keep the promise: one row a rung, and one line for the terminal."""

from __future__ import annotations

from edgekit.core.data import Score
from edgekit.core.ladder import Climb, RungRecord
from edgekit.core.report import Report
from edgekit.reporters._rows import score_text
from edgekit.reporters._tables import Table
from edgekit.reporters._wording import count
from edgekit.text import clean
from edgekit.units import format_bytes, format_points

__all__ = ["ladder_lines", "ladder_table"]

_MOST_REASON = 160


def ladder_table(report: Report) -> Table:
    """Every rung with what it came to; the last column says why it was not the one."""
    climb = report.ladder
    if climb is None:
        return Table("Ladder", (), ())
    first = ("float", "", *_score(climb.reference, None), "", "the reference", "")
    cells = (first, *(_row(rung, climb) for rung in climb.rungs))
    heads = ("", "size", "on select", "drop", "latency", "promise", "")
    caption = (
        f"Decided on {count(climb.samples, 'sample')} of the select split; the test split has no "
        "part in it. Latency is a quick measurement, interleaved with the float model."
        if climb.samples
        else "Not decided: nothing could be judged."
    )
    return Table("Ladder", heads, cells, frozenset({1, 2, 3, 4}), caption)


def ladder_lines(report: Report) -> list[str]:
    """The rungs that were tried, a line each; none where there was no ladder."""
    climb = report.ladder
    if climb is None:
        return []
    return [
        _line(number, rung, climb)
        for number, rung in enumerate(climb.rungs, 1)
        if rung.status != "not tried"
    ]


def _line(number: int, rung: RungRecord, climb: Climb) -> str:
    size, latency = _ratio(rung.size_ratio), _latency(rung)
    parts = [
        f"size {size}" if size else "",
        f"drop {_drop(rung)}" if rung.drop is not None else "",
        f"latency {latency}" if latency else "",
        clean(rung.reason, most=_MOST_REASON) if rung.status == "failed" else "",
    ]
    shown = ", ".join(part for part in parts if part)
    return f"{number} {clean(rung.label)}: {_verdict(rung, climb)}{f' ({shown})' if shown else ''}"


def _row(rung: RungRecord, climb: Climb) -> tuple[str, ...]:
    size = ""
    if rung.size_bytes is not None:
        size = f"{format_bytes(rung.size_bytes)} ({_ratio(rung.size_ratio)})"
    reason = clean(rung.reason, most=_MOST_REASON)
    return (
        clean(rung.label),
        size,
        *_score(rung.score, rung.drop, rung.drop_bound),
        _latency(rung),
        _verdict(rung, climb),
        reason,
    )


def _score(score: Score | None, drop: float | None, bound: float | None = None) -> tuple[str, str]:
    """The metric and its drop, with the most that it could be."""
    if score is None:
        return "", ""
    if drop is None:
        return score_text(score), ""
    if score.is_share and bound is not None:
        return score_text(score), f"{100 * drop:.1f} pt (at most {100 * bound:.1f})"
    return score_text(score), (
        format_points(drop).removeprefix("+") if score.is_share else f"{drop:.3g}"
    )


def _drop(rung: RungRecord) -> str:
    return _score(rung.score, rung.drop, rung.drop_bound)[1]


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"


def _latency(rung: RungRecord) -> str:
    ratio = rung.latency.ratio_to_reference if rung.latency else None
    if ratio is None:
        return ""
    return f"{ratio:.2f}x{' (slower)' if rung.is_slower else ''}"


def _verdict(rung: RungRecord, climb: Climb) -> str:
    taken = ", taken" if rung.label == climb.taken else ""
    if not climb.samples and rung.status == "holds":
        return f"not judged{taken}"
    return f"{rung.status}{taken}"
