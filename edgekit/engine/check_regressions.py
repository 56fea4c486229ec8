"""Holds a model against its baseline: both are run now, here, on the same samples, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.core.data import Judgement
from edgekit.core.equivalence import equivalence_text
from edgekit.core.gate import CheckRow, Finding, FindingStatus
from edgekit.core.measurement import Latency, Measurements
from edgekit.engine.bench import measure_memory
from edgekit.engine.check_baseline import Old
from edgekit.engine.check_latency import compare_twice, is_slower
from edgekit.engine.measure import Subject, bench_inputs, bench_model, judge_pair, unreal_reason
from edgekit.engine.progress import Progress
from edgekit.statistics import mcnemar_p_worse
from edgekit.units import format_nanoseconds, format_points

if TYPE_CHECKING:
    from edgekit.engine.data import LoadedData

__all__ = ["Against", "New", "against_baseline"]

_LEVEL = 0.05
_EDGE = 1e-9
"""A value that is its bound but for rounding holds."""


@dataclass(frozen=True)
class New:
    """What a row's model is now. `elsewhere` is why times and memory here are not the target's."""

    subject: Subject
    measured: Measurements
    data: LoadedData | None
    unjudged: str
    elsewhere: str
    seed: int
    bars: Progress


@dataclass(frozen=True)
class Against:
    """What came of it; `ratio` is the time of today's model to that of the baseline's."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    ratio: float | None = None


def against_baseline(row: CheckRow, new: New, old: Old) -> Against:
    """Judges what `max_regression` bounds, and the placement.

    A regression lies beyond its threshold and can be told from chance; one of time or memory is
    measured once more in new processes before it counts.

    Raises:
        UsageError: the baseline's model cannot be run.
    """
    judge = _Judge(row, new, old)
    found = [finding for finding in judge.all() if finding is not None]
    return Against(tuple(found), tuple(judge.notes), judge.ratio)


class _Judge:
    """One row held against its baseline."""

    def __init__(self, row: CheckRow, new: New, old: Old) -> None:
        self.row, self.new, self.old = row, new, old
        self.notes = [old.changed] if old.changed else []
        self.ratio: float | None = None

    def all(self) -> list[Finding | None]:
        most, before = self.row.max_regression, self.old.baseline
        measured = self.new.measured
        return [
            self._bytes("size", measured.size_bytes, before.size_bytes, most.size),
            self._bytes(
                "compressed",
                measured.size_compressed_bytes,
                before.size_compressed_bytes,
                most.compressed,
            ),
            self._accuracy(most.accuracy),
            self._latency(most.latency),
            self._memory(most.memory),
            self._delegated(most.delegated),
        ]

    def _finding(self, metric: str, status: FindingStatus, **fields: object) -> Finding:
        return Finding(
            metric=metric,
            kind="regression",
            status=status,
            source=f"{self.row.where}: max_regression.{metric}",
            baseline_file=self.old.file,
            **{"value": None, "bound": None, **fields},  # type: ignore[arg-type]
        )

    def _bytes(self, metric: str, value: int, before: int, most: float | None) -> Finding | None:
        if most is None:
            return None
        return self._finding(
            metric,
            _status(value / before, most),
            unit="bytes",
            value=value,
            bound=before * (1 + most),
            baseline=before,
        )

    def _accuracy(self, most: float | None) -> Finding | None:
        if most is None:
            return None
        reason = self.new.unjudged or self.old.missing
        if reason or self.new.data is None or self.old.subject is None:
            return self._finding("accuracy", "unmeasured", unit="share", reason=reason)
        before = self.old.baseline.score
        if before is not None and before.data != self.new.data.digest:
            self.notes.append(
                "the data is not that of the baseline: both models were judged on today's"
            )
        judgement = judge_pair(
            self.old.subject, self.new.subject, data=self.new.data, bars=self.new.bars
        )
        return self._judged(judgement, most)

    def _judged(self, judgement: Judgement, most: float) -> Finding:
        before, now = judgement.reference, judgement.result
        if not now.is_share:
            reason = f"{now.metric} is not a share, so it has no points"
            return self._finding("accuracy", "unmeasured", unit="share", reason=reason)
        sign = 1.0 if now.higher_is_better else -1.0
        drop = sign * (before.value - now.value)
        is_worse, is_better, how = _told_from_chance(judgement, sign)
        how = "; ".join(filter(None, (how, equivalence_text(judgement, most))))
        status: FindingStatus = "pass"
        if drop > most + _EDGE:
            status = "fail" if is_worse else "pass"
            how = how if is_worse else f"beyond the limit, but it may be chance: {how}"
        elif -drop > most + _EDGE and is_better:
            status = "improved"
        return self._finding(
            "accuracy",
            status,
            unit="share",
            value=now.value,
            bound=before.value - sign * most,
            baseline=before.value,
            interval=now.ci95,
            reason=how,
        )

    def _latency(self, most: float | None) -> Finding | None:
        if most is None:
            return None
        reason = self._unmeasurable()
        if reason or self.old.subject is None:
            return self._finding("latency", "unmeasured", unit="ratio", reason=reason)
        runs = self._timed(self.old.subject, most)
        before, now = runs[-1]
        if len(runs) == 2 and now.ratio_ci95 is None:
            before, now = runs[0]
        if now.ratio_to_reference is None or now.ratio_ci95 is None:
            reason = now.reason or before.reason or "the two could not be timed side by side"
            return self._finding("latency", "unmeasured", unit="ratio", reason=reason)
        return self._timing(before, now, most, self._confirmation(runs, most))

    def _timing(self, before: Latency, now: Latency, most: float, reason: str) -> Finding:
        assert now.ratio_to_reference is not None
        assert now.ratio_ci95 is not None
        low, high = now.ratio_ci95
        status: FindingStatus = "fail" if is_slower(now, most) else "pass"
        if high < 1 - most:
            status = "improved"
        elif status == "pass" and high > 1 + most and not reason:
            reason = f"cannot be told from its limit here: [{low:.3f}, {high:.3f}]"
        self.ratio = now.ratio_to_reference
        return self._finding(
            "latency",
            status,
            unit="ratio",
            value=now.ratio_to_reference,
            bound=1 + most,
            baseline=1.0,
            interval=now.ratio_ci95,
            reason="; ".join(filter(None, (_side_by_side(before, now), reason))),
        )

    def _timed(self, old: Subject, most: float) -> tuple[tuple[Latency, Latency], ...]:
        new = self.new
        inputs = [bench_inputs(item, new.data, seed=new.seed) for item in (old, new.subject)]
        with new.bars("latency, against the baseline", 1) as bar:
            runs = compare_twice(
                bench_model(old),
                bench_model(new.subject),
                inputs=inputs[1],
                reference_inputs=inputs[0],
                threshold=most,
            )
            bar.advance()
        return runs

    def _confirmation(self, runs: tuple[tuple[Latency, Latency], ...], most: float) -> str:
        """What a second look in new processes said; '' where the first raised no suspicion."""
        if len(runs) < 2:
            return ""
        (_, first), (_, again) = runs
        if again.ratio_to_reference is None or again.ratio_ci95 is None:
            return "it could not be timed a second time"
        text = f"{first.ratio_to_reference:.3f}x"
        if is_slower(again, most):
            return f"confirmed in new processes, {text} before"
        self.notes.append(
            f"latency: {text} the first time, which new processes did not confirm "
            f"({again.ratio_to_reference:.3f}x)"
        )
        return f"{text} the first time, not confirmed"

    def _memory(self, most: float | None) -> Finding | None:
        if most is None:
            return None
        reason = self._unmeasurable()
        if reason or self.old.subject is None:
            return self._finding("memory", "unmeasured", unit="bytes", reason=reason)
        before, reason_before = self._peak(self.old.subject)
        now, reason_now = self.new.measured.memory.peak_bytes, self.new.measured.memory.reason
        if before is None or now is None:
            why = reason_now or reason_before
            return self._finding("memory", "unmeasured", unit="bytes", reason=why)
        reason = ""
        if now > before * (1 + most):
            before, now, reason = self._peaks_again(self.old.subject, before, now, most)
        return self._finding(
            "memory",
            _status(now / before, most),
            unit="bytes",
            value=now,
            bound=before * (1 + most),
            baseline=before,
            reason=reason,
        )

    def _peak(self, subject: Subject) -> tuple[int | None, str]:
        inputs = bench_inputs(subject, self.new.data, seed=self.new.seed)
        memory = measure_memory(bench_model(subject), inputs=inputs)
        return memory.peak_bytes, memory.reason

    def _peaks_again(
        self, old: Subject, before: int, now: int, most: float
    ) -> tuple[int, int, str]:
        again = self._peak(old)[0], self._peak(self.new.subject)[0]
        if again[0] is None or again[1] is None:
            return before, now, "it could not be measured a second time"
        if again[1] > again[0] * (1 + most):
            return again[0], again[1], "confirmed in new processes"
        self.notes.append(f"memory: {now / before:.3f}x the first time, which was not confirmed")
        return again[0], again[1], "more the first time, not confirmed"

    def _delegated(self, most: float) -> Finding | None:
        before = self.old.baseline.delegated
        if before is None:
            return None
        placed = self.new.measured.placement
        if placed.delegated is None:
            return self._finding("delegated", "unmeasured", unit="share", reason=placed.reason)
        share = placed.delegated
        status: FindingStatus = "pass"
        if share < before - most - _EDGE:
            status = "fail"
        elif share > before + _EDGE:
            status = "improved"
        return self._finding(
            "delegated",
            status,
            unit="share",
            value=share,
            bound=before - most,
            baseline=before,
            reason="ops fell back to the plain CPU kernels" if status == "fail" else "",
        )

    def _unmeasurable(self) -> str:
        """Why no time and no memory can be compared; '' where both can."""
        return unreal_reason(self.new.subject) or self.new.elsewhere or self.old.missing


def _status(ratio: float, most: float) -> FindingStatus:
    if ratio > 1 + most + _EDGE:
        return "fail"
    return "improved" if ratio < 1 - most - _EDGE else "pass"


def _told_from_chance(judgement: Judgement, sign: float) -> tuple[bool, bool, str]:
    """Whether worse, and whether better, is more than chance; and the figures that say so."""
    lost, won = judgement.right_to_wrong, judgement.wrong_to_right
    if lost is not None and won is not None:
        p_worse, p_better = mcnemar_p_worse(lost, won), mcnemar_p_worse(won, lost)
        sees = judgement.smallest_visible_drop
        text = f"{lost} right to wrong, {won} wrong to right, p {p_worse:.2g}"
        if sees is not None:
            text += f"; these {judgement.result.n} samples see drops over {_points(sees)}"
        return p_worse < _LEVEL, p_better < _LEVEL, text
    # No right and wrong: then the other's value lies outside of the whole interval.
    low, high = judgement.result.ci95
    before = judgement.reference.value
    above, below = low > before, high < before
    worse, better = (below, above) if sign > 0 else (above, below)
    return worse, better, f"95 % interval [{low:.4g}, {high:.4g}]"


def _points(value: float) -> str:
    return format_points(value).lstrip("+")


def _side_by_side(before: Latency, now: Latency) -> str:
    if before.median_ns is None or now.median_ns is None:
        return ""
    times = f"{format_nanoseconds(now.median_ns)} against {format_nanoseconds(before.median_ns)}"
    return f"{times}, side by side"
