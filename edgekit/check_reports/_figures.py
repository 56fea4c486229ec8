"""The figures of a row that can be followed over time, now and in earlier runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from edgekit.core.data import Score
from edgekit.core.gate import Finding, RowResult
from edgekit.core.measurement import Measurements
from edgekit.drawing.words import bytes_text, ratio_text, trimmed

__all__ = ["HISTORY", "Figure", "Series", "figures", "series"]

_MOST_RUNS: Final = 60
"""Of more runs than a plot can show, the last ones."""


@dataclass(frozen=True)
class Figure:
    """One measured value: `slug` as Bencher names a measure, `smaller` where less is better.

    `interval` is that of the value, where it has one.
    """

    slug: str
    name: str
    unit: str
    value: float
    smaller: bool = True
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Kind:
    """A value that every run puts into the history, under `key`; `limits` are its metrics."""

    key: str
    title: str
    show: Callable[[float], str]
    now: Callable[[RowResult], float | None]
    limits: tuple[str, ...]


@dataclass(frozen=True)
class Series:
    """The values of one kind, oldest first, this run's last; None where a run has none.

    `bound` is what it may not pass, '' in `bound_name` where there is no such thing.
    """

    kind: Kind
    values: tuple[float | None, ...]
    since: str
    bound: float | None = None
    bound_name: str = ""


def _measured(result: RowResult) -> Measurements | None:
    return result.measured or (result.report.result if result.report else None)


def _size(result: RowResult) -> float | None:
    measured = _measured(result)
    return measured.size_bytes if measured else None


def _accuracy(result: RowResult) -> float | None:
    measured = _measured(result)
    score = measured.score if measured else None
    return score.value if score and score.is_share and math.isfinite(score.value) else None


def _ratio(result: RowResult) -> float | None:
    measured = _measured(result)
    return measured.latency.ratio_to_reference if measured else None


def _ratio_to_baseline(result: RowResult) -> float | None:
    for finding in result.findings:
        if (finding.metric, finding.kind, finding.unit) == ("latency", "regression", "ratio"):
            return finding.value
    return None


HISTORY: Final[tuple[Kind, ...]] = (
    Kind("size_bytes", "Size", bytes_text, _size, ("max_size", "size")),
    Kind(
        "accuracy",
        "Accuracy",
        lambda value: trimmed(f"{100 * value:.2f} %"),
        _accuracy,
        ("accuracy",),
    ),
    Kind("latency_ratio", "Latency / reference", ratio_text, _ratio, ("max_latency_ratio",)),
    Kind(
        "baseline_latency_ratio",
        "Latency / baseline",
        ratio_text,
        _ratio_to_baseline,
        ("latency",),
    ),
)
"""What is drawn. `key` is what a line of history.jsonl calls it."""


def figures(result: RowResult) -> tuple[Figure, ...]:
    """Everything that was measured; what was not is left out, never written as 0."""
    measured = _measured(result)
    if measured is None:
        return ()
    latency, memory = measured.latency, measured.memory
    found = [
        Figure("file-size", "size", "bytes", measured.size_bytes),
        Figure("compressed-size", "compressed size", "bytes", measured.size_compressed_bytes),
    ]
    if measured.score is not None:
        found.append(_scored(measured.score))
    if latency.ratio_to_reference is not None:
        ratio, ends = latency.ratio_to_reference, latency.ratio_ci95
        found.append(Figure("latency-ratio", "latency ratio", "x", ratio, interval=ends))
    if latency.median_ns is not None:
        found.append(Figure("latency", "latency", "ns", latency.median_ns))
    if memory.peak_bytes is not None:
        found.append(Figure("memory", "memory", "bytes", memory.peak_bytes))
    return tuple(figure for figure in found if math.isfinite(figure.value))


def _scored(score: Score) -> Figure:
    scale = 100.0 if score.is_share else 1.0
    low, high = score.ci95
    return Figure(
        "accuracy",
        score.metric,
        "%" if score.is_share else "",
        scale * score.value,
        smaller=not score.higher_is_better,
        interval=(scale * low, scale * high),
    )


def series(result: RowResult) -> tuple[Series, ...]:
    """One a kind of value that this run or an earlier one has."""
    return tuple(made for kind in HISTORY if (made := _series(kind, result)) is not None)


def _series(kind: Kind, result: RowResult) -> Series | None:
    earlier = result.history[-_MOST_RUNS:]
    values = (*(_number(entry, kind.key) for entry in earlier), kind.now(result))
    if not any(value is not None for value in values):
        return None
    since = str(earlier[0].get("utc", ""))[:10] if earlier else ""
    for metric in kind.limits:
        for finding in result.findings:
            if finding.metric == metric and finding.bound is not None:
                return Series(kind, values, since, finding.bound, _bound_name(finding))
    return Series(kind, values, since)


def _bound_name(finding: Finding) -> str:
    return "limit" if finding.kind == "limit" else "allowed"


def _number(entry: Mapping[str, Any], key: str) -> float | None:
    """A history file is text that anybody may have edited: what is no number is left out."""
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e18 else None
