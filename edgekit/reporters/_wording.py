"""Words and numbers that reporters share: names, limits, verdict sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from edgekit.core.limits import Status, Verdict
from edgekit.core.report import Report
from edgekit.drawing.words import (
    bytes_text,
    count,
    file_name,
    nanoseconds_text,
    p_text,
    points_text,
    ratio_text,
    share_text,
    times_text,
    trimmed,
)
from edgekit.text import clean
from edgekit.units import (
    format_bytes,
    format_nanoseconds,
    format_points,
    format_seconds,
)

__all__ = [
    "STATUS_WORDS",
    "count",
    "file_name",
    "flips_text",
    "limit_text",
    "ratio_text",
    "row_of",
    "said",
    "timing_text",
    "trimmed",
    "value_text",
    "verdict_sentence",
]

STATUS_WORDS: Final[Mapping[Status, str]] = {
    "pass": "ok",
    "fail": "FAIL",
    "unmeasured": "unmeasured",
}
"""What a verdict is called in a table; the words differ in more than colour."""


def timing_text(seconds: Mapping[str, float]) -> str:
    """Writes '(train 9 s, compress 1 s)', or nothing."""
    parts = [f"{clean(name)} {format_seconds(value)}" for name, value in seconds.items()]
    return f"({', '.join(parts)})" if parts else ""


def said(what: str, items: str, reason: str) -> str:
    """Writes a note as 'skipped dense_1: the reason'; `items` is fit to print already."""
    head = f"{clean(what)} {items}".strip()
    return f"{head}: {clean(reason, most=400)}" if reason else head


@dataclass(frozen=True)
class _Wording:
    """How one limit is written: its row, its value, and the distance between value and bound."""

    row: str
    show: Callable[[float], str]
    distance: Callable[[float], str]
    beyond: str = "over"


_WORDINGS: Final[Mapping[str, _Wording]] = {
    "max_size": _Wording("size", bytes_text, format_bytes),
    "max_compressed_ratio": _Wording("compressed", times_text, times_text),
    "min_p_worse": _Wording("significance", p_text, p_text, "under it"),
    "max_accuracy_drop": _Wording("accuracy", points_text, points_text, "beyond"),
    "worst_class_drop": _Wording("worst class", points_text, points_text, "beyond"),
    "min_agreement": _Wording("agreement", share_text, points_text, "under"),
    "min_delegated": _Wording("placement", share_text, points_text, "under"),
    "max_latency": _Wording("latency", nanoseconds_text, format_nanoseconds),
    "max_latency_ratio": _Wording("latency", times_text, times_text),
    "max_memory": _Wording("memory", bytes_text, format_bytes),
}


def _wording(metric: str) -> _Wording:
    """The wording of a limit; one that this module has not met gets a row of its own."""
    plain = "{:g}".format
    return _WORDINGS.get(metric, _Wording(metric, plain, plain, "from it"))


def row_of(verdict: Verdict) -> str:
    """The table row that a verdict belongs to."""
    return _wording(verdict.metric).row


def value_text(verdict: Verdict) -> str:
    """Writes a measured value as its limit is written; '' where there is none."""
    return "" if verdict.value is None else _wording(verdict.metric).show(verdict.value)


def limit_text(verdict: Verdict, report: Report) -> str:
    """Writes a bound as the table's limit column has it: '256 kB', '-1.0 pt', '≥ 99 %'."""
    if verdict.metric == "max_accuracy_drop":
        return format_points(_sign(report) * verdict.bound)
    text = _wording(verdict.metric).show(verdict.bound)
    return f"≥ {text}" if verdict.metric.startswith("min_") else text


def verdict_sentence(verdict: Verdict, report: Report) -> str:
    """Says value, limit, difference, cause, and the file and key to edit."""
    name = clean(_label(verdict, report))
    where = _where(verdict)
    if verdict.status == "unmeasured" or verdict.value is None:
        reason = clean(verdict.reason, most=400) or "no reason was given"
        limit = limit_text(verdict, report)
        return f"{name}: {reason}; the limit is {limit}: measure it, or remove {where}"
    wording = _wording(verdict.metric)
    value, limit = _value_and_limit(verdict, report, wording)
    if verdict.status == "pass":
        return f"{name}: {value}, limit {limit}; set by {where}"
    distance = wording.distance(abs(verdict.value - verdict.bound))
    cause = _cause(verdict, report)
    return (
        f"{name}: {value}, limit {limit}, {distance} {wording.beyond}"
        f"{f' ({cause})' if cause else ''}; to accept it, edit {where}"
    )


def _value_and_limit(verdict: Verdict, report: Report, wording: _Wording) -> tuple[str, str]:
    value = verdict.value if verdict.value is not None else 0.0
    if verdict.metric != "max_accuracy_drop":
        return wording.show(value), limit_text(verdict, report)
    sign = _sign(report)
    return _signed_points(sign * value), _signed_points(sign * verdict.bound)


def _signed_points(value: float) -> str:
    digits = 1 if round(100 * value, 1) == round(100 * value, 3) else 2
    return f"{100 * value:+.{digits}f} pt" if round(100 * value, 2) else "±0.0 pt"


def _sign(report: Report) -> float:
    """The direction of a loss: down where higher is better."""
    score = report.judgement.result if report.judgement else report.result.score
    return 1.0 if score is not None and not score.higher_is_better else -1.0


def _label(verdict: Verdict, report: Report) -> str:
    row = row_of(verdict)
    return report.result.score.metric if row == "accuracy" and report.result.score else row


def _where(verdict: Verdict) -> str:
    if verdict.source.startswith("-"):
        return clean(verdict.source)
    return f"{verdict.metric} in {clean(file_name(verdict.source), most=200)}"


def _cause(verdict: Verdict, report: Report) -> str:
    row = row_of(verdict)
    if row == "size":
        parts = sorted(report.result_description.bytes_by, key=lambda part: -part[1])
        return ", ".join(f"{clean(name)} {format_bytes(size)}" for name, size in parts[:2] if size)
    if row in ("accuracy", "agreement") and report.judgement:
        return flips_text(report)
    interval = report.result.latency.ratio_ci95
    if verdict.metric == "max_latency_ratio" and interval:
        return f"all of [{interval[0]:.2f}, {interval[1]:.2f}] lies above it"
    return ""


def flips_text(report: Report) -> str:
    """Writes '9 right to wrong, 2 wrong to right'; nothing where a task has no right and wrong."""
    judged = report.judgement
    if judged is None or judged.right_to_wrong is None or judged.wrong_to_right is None:
        return ""
    return f"{judged.right_to_wrong:,} right to wrong, {judged.wrong_to_right:,} wrong to right"
