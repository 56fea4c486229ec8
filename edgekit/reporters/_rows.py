"""The main table: a row a metric: reference, result, change, limits, remark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from edgekit.core.data import Score
from edgekit.core.equivalence import equivalence_text
from edgekit.core.limits import Status, Verdict
from edgekit.core.measurement import Figure, Latency, Memory
from edgekit.core.report import Report
from edgekit.reporters._wording import (
    STATUS_WORDS,
    count,
    file_name,
    flips_text,
    limit_text,
    ratio_text,
    row_of,
    value_text,
)
from edgekit.text import clean
from edgekit.units import (
    format_bytes,
    format_figure,
    format_nanoseconds,
    format_points,
    format_share,
    share_digits,
)

__all__ = ["Check", "Row", "interval_text", "rows", "score_text", "visible_text"]


@dataclass(frozen=True)
class Check:
    """One limit as a row shows it."""

    limit: str
    status: Status
    source: str

    @property
    def word(self) -> str:
        """'ok', 'FAIL' or 'unmeasured'."""
        return STATUS_WORDS[self.status]


@dataclass(frozen=True)
class Row:
    """One metric. `missing` is the reason where nothing was measured; the values are then empty."""

    key: str
    label: str
    reference: str = ""
    result: str = ""
    change: str = ""
    tail: str = ""
    checks: tuple[Check, ...] = ()
    missing: str | None = None


def rows(report: Report) -> tuple[Row, ...]:
    """The rows in reading order; every verdict of the report is in exactly one of them."""
    before, after = report.reference, report.result
    table = [
        _bytes_row("size", before.size_bytes, after.size_bytes),
        _bytes_row("compressed", before.size_compressed_bytes, after.size_compressed_bytes),
        _accuracy(report),
        _agreement(report),
        _latency(before.latency, after.latency),
        _memory(before.memory, after.memory),
    ]
    known = {row.key for row in table if row is not None}
    others = dict.fromkeys(row_of(v) for v in report.verdicts if row_of(v) not in known)
    table += [_other(key, report) for key in others]
    table += [_figure(figure, before.figures) for figure in after.figures]
    return tuple(_with_checks(row, report) for row in table if row is not None)


def score_text(score: Score | None) -> str:
    """Writes a metric's value: a share in per cent, anything else with four digits."""
    if score is None:
        return ""
    if not score.is_share:
        return f"{score.value:.4g}"
    return format_share(score.value, digits=share_digits(score.n))


def interval_text(score: Score) -> str:
    """Writes the 95 % interval of a metric: '96.3 to 98.9 %'."""
    low, high = score.ci95
    if score.is_share:
        digits = share_digits(score.n)
        return f"{100 * low:.{digits}f} to {100 * high:.{digits}f} %"
    return f"{low:.4g} to {high:.4g}"


def _with_checks(row: Row, report: Report) -> Row:
    checks = tuple(
        Check(
            limit_text(verdict, report), verdict.status, clean(file_name(verdict.source), most=200)
        )
        for verdict in _worst_first(report.verdicts)
        if row_of(verdict) == row.key
    )
    return replace(row, checks=checks)


def _worst_first(verdicts: tuple[Verdict, ...]) -> list[Verdict]:
    order = ("fail", "unmeasured", "pass")
    return sorted(verdicts, key=lambda verdict: order.index(verdict.status))


def _bytes_row(key: str, before: int, after: int) -> Row:
    return Row(key, key, format_bytes(before), format_bytes(after), _ratio(before, after))


def _ratio(before: float | None, after: float | None) -> str:
    return ratio_text(after / before) if before and after is not None else ""


def _accuracy(report: Report) -> Row:
    before, after = report.reference.score, report.result.score
    if after is None:
        label = clean(before.metric, most=20) if before else "accuracy"
        return Row("accuracy", label, missing=_no_score(report))
    difference = after.value - before.value if before else None
    change = ""
    if difference is not None:
        digits = share_digits(after.n)
        change = (
            format_points(difference, digits=digits) if after.is_share else _difference(difference)
        )
    return Row(
        "accuracy",
        clean(after.metric, most=20),
        score_text(before),
        score_text(after),
        change,
        tail=f"({_samples(report, after)})",
    )


def _no_score(report: Report) -> str:
    if report.data is None:
        return "no --data"
    found = (v.reason for v in report.verdicts if row_of(v) == "accuracy" and v.reason)
    return clean(next(found, "the task gave no score"), most=200)


def _difference(value: float) -> str:
    return f"{value:+.3g}" if value else "±0"


def _samples(report: Report, score: Score) -> str:
    """Says what the test set is good for, and warns where it cannot see a drop of the limit."""
    text = count(score.n, "sample")
    visible = report.judgement.smallest_visible_drop if report.judgement else None
    if visible is None:
        return text
    if visible == 0:
        return f"{text}; none flipped"
    drop = visible_text(visible, score)
    bounds = [v.bound for v in report.verdicts if v.metric == "max_accuracy_drop"]
    blind = ", more than the limit" if bounds and visible > min(bounds) else ""
    shown = equivalence_text(report.judgement, min(bounds)) if bounds and report.judgement else ""
    return "; ".join(filter(None, (text, f"sees drops over {drop}{blind}", shown)))


def visible_text(drop: float, score: Score) -> str:
    """Writes the smallest drop that the samples can show: '0.9 pt', or '0.03 pt' of many."""
    if not score.is_share:
        return f"{drop:.3g}"
    return format_points(drop, digits=share_digits(score.n)).lstrip("+")


def _agreement(report: Report) -> Row | None:
    judged = report.judgement
    if judged is None or judged.agreement is None:
        limited = [v for v in report.verdicts if row_of(v) == "agreement"]
        return Row("agreement", "agreement", missing=_reason(limited)) if limited else None
    flips = flips_text(report)
    return Row(
        "agreement",
        "agreement",
        result=format_share(judged.agreement, digits=share_digits(judged.result.n)),
        tail=f"({flips})" if flips else "",
    )


def _reason(verdicts: list[Verdict]) -> str:
    return clean(verdicts[0].reason, most=200) if verdicts else ""


def _latency(before: Latency, after: Latency) -> Row:
    if after.kind == "unmeasured":
        return Row("latency", "latency", missing=clean(after.reason, most=200))
    change = ratio_text(after.ratio_to_reference) if after.ratio_to_reference is not None else ""
    remark = _threads(before, after)
    if after.ratio_ci95 is not None:
        low, high = after.ratio_ci95
        said = f"{after.change}, " if after.change in ("no difference", "cannot tell") else ""
        remark = f"[{low:.2f}, {high:.2f}] interleaved, {said}{remark}"
    return Row(
        "latency",
        "latency",
        _value(before.median_ns, before.kind, format_nanoseconds),
        _value(after.median_ns, after.kind, format_nanoseconds),
        change,
        tail=_with_reason(remark, after.kind, after.reason),
    )


def _threads(before: Latency, after: Latency) -> str:
    if before.kind == after.kind == "measured" and before.threads != after.threads:
        return f"{before.threads} against {count(after.threads, 'thread')}"
    return count(after.threads, "thread")


def _memory(before: Memory, after: Memory) -> Row:
    if after.kind == "unmeasured":
        return Row("memory", "memory", missing=clean(after.reason, most=200))
    is_process = "process" in after.process or not after.process
    remark = "peak of a process that runs only this model"
    if not is_process:  # What the target itself says: an arena, or the RAM of a firmware.
        remark = clean(after.process, most=200)
    alike = before.kind == after.kind and ("process" in before.process) == is_process
    return Row(
        "memory",
        "memory",
        _value(before.peak_bytes, before.kind, format_bytes),
        _value(after.peak_bytes, after.kind, format_bytes),
        _ratio(before.peak_bytes, after.peak_bytes) if alike else "",
        tail=_with_reason(remark, after.kind, after.reason),
    )


def _figure(figure: Figure, others: tuple[Figure, ...]) -> Row:
    """A row for what only this target knows; no limit is on it."""
    show = partial(format_figure, unit=figure.unit)
    before = next((item for item in others if item.name == figure.name), None)
    return Row(
        figure.name,
        clean(figure.name, most=30),
        _value(before.value, before.kind, show) if before else "",
        _value(figure.value, figure.kind, show),
        _ratio(before.value, figure.value) if before else "",
        tail=_with_reason("", figure.kind, figure.reason).strip(),
    )


def _value(value: int | None, kind: str, show: Callable[[float], str]) -> str:
    if value is None:
        return "–"
    return f"~{show(value)}" if kind == "estimated" else show(value)


def _with_reason(remark: str, kind: str, reason: str) -> str:
    extra = ": ".join([kind] * (kind == "estimated") + [clean(reason, most=200)] * bool(reason))
    return f"{remark} ({extra})" if extra else remark


def _other(key: str, report: Report) -> Row:
    """A row for a limit that no metric above shows."""
    own = [verdict for verdict in report.verdicts if row_of(verdict) == key]
    if own[0].value is None:
        return Row(key, clean(key), missing=_reason(own))
    return Row(key, clean(key), result=value_text(own[0]), tail=_reason(own))
