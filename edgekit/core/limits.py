"""Limits, where they come from, and the verdict on each."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from edgekit.units import Bytes, Nanoseconds, Points, Share

if TYPE_CHECKING:
    from edgekit.core.data import Judgement
    from edgekit.core.measurement import Kind, Measurements
    from edgekit.core.runner import Placement

__all__ = [
    "BY_DATA",
    "Limits",
    "SourcedLimits",
    "Status",
    "Verdict",
    "judge",
    "judge_by_data",
    "worst",
]

BY_DATA = ("max_accuracy_drop", "worst_class_drop", "min_agreement", "min_p_worse")
"""The limits that validation data decides."""

_OF_A_MACHINE = ("max_latency", "max_latency_ratio", "max_memory")

Status = Literal["pass", "fail", "unmeasured"]


@dataclass(frozen=True)
class Limits:
    """The bounds that a recipe promises or a target demands; None is no bound.

    `max_compressed_ratio` is of the compressed bytes to those of the float reference. `min_p_worse`
    bounds the p-value of McNemar's exact test that the result is worse: at 0.05 a loss that is
    significant breaks it. `worst_class_drop` is that of the class which lost most;
    `min_delegated` the share of the model's ops that do not run on the plain CPU kernels.
    """

    max_size: Bytes | None = None
    max_compressed_ratio: float | None = None
    max_accuracy_drop: Points | None = None
    worst_class_drop: Points | None = None
    min_p_worse: float | None = None
    min_agreement: Share | None = None
    min_delegated: Share | None = None
    max_latency: Nanoseconds | None = None
    max_latency_ratio: float | None = None
    max_memory: Bytes | None = None

    def __post_init__(self) -> None:
        for name in ("min_agreement", "min_delegated"):
            share = getattr(self, name)
            if share is not None and share > 1:
                raise ValueError(f"{name} cannot be over 100 %, and is {100 * share:g} %")
        for name in ("max_latency_ratio", "max_compressed_ratio"):
            ratio = getattr(self, name)
            if ratio is not None and not 0 < ratio <= 1000:
                raise ValueError(f"{name} must be above 0 and at most 1000, not {ratio:g}")
        if self.min_p_worse is not None and not 0 < self.min_p_worse < 1:
            raise ValueError(f"min_p_worse must be between 0 and 1, not {self.min_p_worse:g}")


@dataclass(frozen=True)
class SourcedLimits:
    """Limits and the file they stand in, which a broken limit's message names."""

    limits: Limits
    source: str


@dataclass(frozen=True)
class Verdict:
    """One limit held against one measured value. "Could not measure" is never a pass."""

    metric: str
    value: float | None
    bound: float
    status: Status
    source: str
    reason: str = ""


@dataclass(frozen=True)
class _Observed:
    value: float | None
    lowest: float | None = None
    reason: str = ""


def judge(
    limits: tuple[SourcedLimits, ...],
    result: Measurements,
    judgement: Judgement | None,
    *,
    reference: Measurements | None = None,
    unjudged: str = "no validation data was given (--data)",
    elsewhere: str = "",
) -> tuple[Verdict, ...]:
    """Holds every limit against what was measured.

    A latency ratio breaks its limit when the whole 95 % interval lies above it: on a shared machine
    the point estimate alone would cry wolf. Every other limit is judged on the value itself.
    `unjudged` is the reason where there is no judgement, `elsewhere` why times and memory are those
    of another machine than the one that the limits are of.
    """
    verdicts = []
    for sourced in limits:
        for item in fields(sourced.limits):
            bound = getattr(sourced.limits, item.name)
            if bound is not None:
                if elsewhere and item.name in _OF_A_MACHINE:
                    observed = _Observed(None, reason=elsewhere)
                elif item.name == "max_compressed_ratio":
                    observed = _compressed(result, reference)
                else:
                    observed = _observe(item.name, bound, result, judgement, unjudged)
                verdicts.append(_verdict(item.name, bound, sourced.source, observed))
    return tuple(verdicts)


def judge_by_data(promise: SourcedLimits, judgement: Judgement) -> tuple[Verdict, ...]:
    """Holds those limits against a judgement that it decides: drop, agreement, significance."""
    return tuple(
        _verdict(name, bound, promise.source, _of_data(name, judgement, bound))
        for name in BY_DATA
        if (bound := getattr(promise.limits, name)) is not None
    )


def worst(verdicts: tuple[Verdict, ...]) -> Status:
    """The status of a whole run: one failure fails it, one unmeasured limit leaves it so."""
    found = {verdict.status for verdict in verdicts}
    return "fail" if "fail" in found else "unmeasured" if "unmeasured" in found else "pass"


def _verdict(name: str, bound: float, source: str, observed: _Observed) -> Verdict:
    value = observed.value
    if value is None:
        return Verdict(name, None, bound, "unmeasured", source, observed.reason)
    if name.startswith("min_"):
        holds = value >= bound
    else:
        holds = (observed.lowest if observed.lowest is not None else value) <= bound + 1e-12
    return Verdict(name, value, bound, "pass" if holds else "fail", source, observed.reason)


def _observe(
    name: str, bound: float, result: Measurements, judgement: Judgement | None, unjudged: str
) -> _Observed:
    latency, memory = result.latency, result.memory
    match name:
        case "max_size":
            return _Observed(result.size_bytes)
        case "max_memory":
            return _Observed(memory.peak_bytes, reason=_source(memory.kind, memory.reason))
        case "max_latency":
            return _Observed(latency.median_ns, reason=_source(latency.kind, latency.reason))
        case "max_latency_ratio":
            low = latency.ratio_ci95[0] if latency.ratio_ci95 else None
            return _Observed(latency.ratio_to_reference, low, latency.reason)
        case "min_delegated":
            return _Observed(result.placement.delegated, reason=_undelegated(result.placement))
        case _ if name in BY_DATA:
            return (
                _of_data(name, judgement, bound) if judgement else _Observed(None, reason=unjudged)
            )
        case _:
            raise AssertionError(f"no rule observes {name}")


def _source(kind: Kind, reason: str) -> str:
    return f"estimated: {reason}" if kind == "estimated" else reason


def _undelegated(placed: Placement) -> str:
    """Which ops stay on the CPU, and the runtime's reason where it gives one."""
    from edgekit.core.runner import PLAIN_CPU  # What only explains a plan starts without it.

    left = [op for op in placed.ops if op.where == PLAIN_CPU]
    if not left:
        return placed.reason
    kinds = ", ".join(dict.fromkeys(op.kind for op in left))
    reasons = "; ".join(dict.fromkeys(op.reason for op in left if op.reason))
    text = f"{len(left)} of {len(placed.ops)} ops stay on the CPU: {kinds}"
    return f"{text} ({reasons})" if reasons else text


def _of_data(name: str, judgement: Judgement, bound: float) -> _Observed:
    match name:
        case "max_accuracy_drop":
            return _drop(judgement, bound)
        case "worst_class_drop":
            return _class_drop(judgement)
        case "min_agreement":
            reason = "" if judgement.agreement is not None else "the task has no agreement"
            return _Observed(judgement.agreement, reason=reason)
        case "min_p_worse":
            reason = "" if judgement.p_worse is not None else "the task has no right and wrong"
            return _Observed(judgement.p_worse, reason=reason)
        case _:
            raise AssertionError(f"no rule observes {name}")


def _compressed(result: Measurements, reference: Measurements | None) -> _Observed:
    if reference is None:
        return _Observed(None, reason="there is no reference to compare with")
    return _Observed(result.size_compressed_bytes / reference.size_compressed_bytes)


def _drop(judgement: Judgement, bound: float) -> _Observed:
    from edgekit.core.equivalence import equivalence_text

    reference, result = judgement.reference, judgement.result
    if not result.is_share:
        return _Observed(None, reason=f"{result.metric} is not a share, so it has no points")
    sign = 1.0 if result.higher_is_better else -1.0
    drop = sign * (reference.value - result.value)
    return _Observed(drop, reason=equivalence_text(judgement, bound))


def _class_drop(judgement: Judgement) -> _Observed:
    """The drop of the class that lost most, which the metric of all samples may hide."""
    before, after = judgement.reference.by_class, judgement.result.by_class
    drops = {name: before[name] - after[name] for name in before if name in after}
    if not drops:
        return _Observed(None, reason="the task has no classes")
    worst_class = max(drops, key=lambda name: drops[name])
    return _Observed(drops[worst_class], reason=f"class {worst_class}")
