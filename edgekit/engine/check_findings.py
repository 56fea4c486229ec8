"""Limits as findings of the gate: each with its unit, its interval, and the key to edit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgekit.core.baseline import Baseline
from edgekit.core.data import Judgement
from edgekit.core.gate import Finding, Unit
from edgekit.core.limits import Verdict
from edgekit.core.measurement import Measurements
from edgekit.engine.check_history import same_machine
from edgekit.units import format_points

__all__ = ["limit_findings"]

_UNITS: Final[Mapping[str, Unit]] = {
    "max_size": "bytes",
    "max_memory": "bytes",
    "max_latency": "ns",
    "max_latency_ratio": "ratio",
    "max_compressed_ratio": "ratio",
    "max_accuracy_drop": "points",
    "worst_class_drop": "points",
    "min_agreement": "share",
    "min_delegated": "share",
    "min_p_worse": "p",
}


def limit_findings(
    verdicts: tuple[Verdict, ...],
    measured: Measurements,
    judgement: Judgement | None,
    *,
    machine: Mapping[str, Any],
    baseline: tuple[Baseline, str] | None,
) -> tuple[Finding, ...]:
    """One finding a limit; `baseline` and its file stand beside the values that it has too."""
    return tuple(
        Finding(
            metric=verdict.metric,
            kind="limit",
            status=verdict.status,
            unit=_UNITS.get(verdict.metric, "count"),
            value=verdict.value,
            bound=verdict.bound,
            source=f"{verdict.source}: {verdict.metric}",
            interval=measured.latency.ratio_ci95 if verdict.metric == "max_latency_ratio" else None,
            reason=_reason(verdict, judgement, machine, baseline),
            **_before(verdict.metric, machine, baseline),
        )
        for verdict in verdicts
    )


def _before(
    metric: str, machine: Mapping[str, Any], baseline: tuple[Baseline, str] | None
) -> dict[str, Any]:
    if baseline is None or (metric == "max_latency" and not _is_of(baseline[0], machine)):
        return {}
    known = {
        "max_size": baseline[0].size_bytes,
        "max_memory": baseline[0].memory_peak_bytes,
        "max_latency": baseline[0].latency_median_ns,
        "min_delegated": baseline[0].delegated,
    }
    value = known.get(metric)
    return {} if value is None else {"baseline": value, "baseline_file": baseline[1]}


def _reason(
    verdict: Verdict,
    judgement: Judgement | None,
    machine: Mapping[str, Any],
    baseline: tuple[Baseline, str] | None,
) -> str:
    parts = [verdict.reason]
    if verdict.metric in ("max_accuracy_drop", "min_agreement", "min_p_worse") and judgement:
        parts.append(_flips(judgement))
    if verdict.metric == "max_latency" and verdict.value is not None and baseline is not None:
        same = _is_of(baseline[0], machine)
        here = "is the baseline's" if same else "is not the baseline's: their times do not compare"
        parts.append(f"measured on this machine, which {here}")
    return "; ".join(filter(None, parts))


def _is_of(baseline: Baseline, machine: Mapping[str, Any]) -> bool:
    """Whether a baseline's times are of this machine."""
    known = {name: value for name, value in same_machine(machine).items() if value is not None}
    return dict(baseline.machine) == known


def _flips(judgement: Judgement) -> str:
    if judgement.right_to_wrong is None or judgement.wrong_to_right is None:
        return ""
    text = f"{judgement.right_to_wrong} right to wrong, {judgement.wrong_to_right} wrong to right"
    sees = judgement.smallest_visible_drop
    if sees is None:
        return text
    drops = format_points(sees).lstrip("+")
    return f"{text}; these {judgement.result.n} samples see drops over {drops}"
