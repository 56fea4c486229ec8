"""Climbs a ladder: tries a step's rungs in order, and takes the first that keeps the promise.

Decided on the select split; the test split is not opened here.
"""

from __future__ import annotations

import dataclasses
import glob
import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Artifact
from edgekit.core.data import Score
from edgekit.core.ladder import Climb, Rung, RungRecord
from edgekit.core.limits import BY_DATA, judge_by_data
from edgekit.core.notes import Note
from edgekit.core.plan import Plan, Step
from edgekit.core.report import StepRecord
from edgekit.engine.bench import compare_latency
from edgekit.engine.files import size_bytes
from edgekit.engine.measure import (
    KnownOutputs,
    bench_inputs,
    bench_model,
    judge_pair,
    on_target,
    unreal_reason,
)
from edgekit.engine.models import paths_of
from edgekit.engine.passes import rungs_of
from edgekit.engine.steps import Run
from edgekit.errors import EdgekitError, PromiseError, UsageError

if TYPE_CHECKING:
    from edgekit.core.data import Judgement

__all__ = ["Climbed", "check", "climb"]

_LEVEL = 0.05
_SECONDS = 0.6
"""Of timing for each rung: enough to tell slower from faster, not to report a figure of."""


@dataclass(frozen=True)
class Climbed:
    """The plan that was taken in the end, what it made, and how it was found."""

    plan: Plan
    result: Artifact
    records: tuple[StepRecord, ...]
    climb: Climb | None
    notes: tuple[Note, ...] = ()


def climb(run: Run, plan: Plan, source: Artifact, reference: Artifact) -> Climbed:
    """Runs a plan; where one of its steps has a ladder, as often as the promise needs.

    Raises:
        UsageError: no rung can work on this model; or there are two ladders, or no promise.
        PromiseError: every rung failed.
    """
    places = [i for i, step in enumerate(plan.steps) if rungs_of(step)]
    if not places:
        result, records = run.plan(plan, source)
        return Climbed(plan, result, records, None)
    check(plan)
    return _Ladder(run, plan, source, reference, places[0]).climb()


def check(plan: Plan) -> None:
    """Refuses a ladder that has nothing to climb for, and a second one.

    Raises:
        UsageError: says which.
    """
    where = plan.recipe.promise.source
    climbing = [step.name for step in plan.steps if rungs_of(step)]
    if len(climbing) > 1:
        raise UsageError(
            f"{where}: '{climbing[0]}' and '{climbing[1]}' both have a ladder, and one is possible",
            hint="leave `ladder` out of one of them",
        )
    promise = plan.recipe.promise.limits
    if climbing and all(getattr(promise, name) is None for name in BY_DATA):
        raise UsageError(
            f"{where}: '{climbing[0]}' has a ladder, and the recipe no promise to climb for",
            hint='add max_accuracy_drop = "1 pt" under [promise]',
        )


_Tried = tuple[RungRecord, Climbed | None]


@dataclass
class _Ladder:
    run: Run
    plan: Plan
    source: Artifact
    reference: Artifact
    place: int
    ranking: tuple[tuple[str, float], ...] | None = None
    reference_score: Score | None = None
    known: KnownOutputs = field(default_factory=KnownOutputs)

    def climb(self) -> Climbed:
        """Tries rung after rung; where none holds, the one with the smallest drop is taken."""
        rungs, unjudged = rungs_of(self._step), self._unjudged()
        tried: list[_Tried] = []
        failures: list[EdgekitError] = []
        for rung in rungs:
            try:
                made = self._try(rung, judged=not unjudged)
            except (PromiseError, UsageError) as error:
                failures.append(error)
                tried.append((RungRecord(rung.label, "failed", error.message), None))
                continue
            tried.append(made)
            if unjudged or made[0].status == "holds":
                break
        return self._finish(rungs, tried, failures, unjudged)

    @property
    def _step(self) -> Step:
        return self.plan.steps[self.place]

    def _try(self, rung: Rung, *, judged: bool) -> tuple[RungRecord, Climbed]:
        step = dataclasses.replace(self._step, parameters=self._parameters(rung))
        steps = (*self.plan.steps[: self.place], step, *self.plan.steps[self.place + 1 :])
        plan = dataclasses.replace(self.plan, steps=steps)
        result, records = self.run.plan(plan, self.source)
        return self._judged(rung, step, result, judged=judged), Climbed(plan, result, records, None)

    def _parameters(self, rung: Rung) -> Any:
        if not rung.spare:
            return rung.parameters
        ranking = self._ranking(rung)
        spared = [name for name, _ in ranking[: math.ceil(rung.spare * len(ranking))]]
        held = getattr(rung.parameters, rung.fills)
        patterns = (*held, *(glob.escape(name) for name in spared))
        return dataclasses.replace(rung.parameters, **{rung.fills: patterns})

    def _ranking(self, rung: Rung) -> tuple[tuple[str, float], ...]:
        if self.ranking is None:
            head = dataclasses.replace(self.plan, steps=self.plan.steps[: self.place])
            before, _ = self.run.plan(head, self.source)
            step = dataclasses.replace(self._step, parameters=rung.parameters)
            self.ranking = self.run.rank(step, before)
        return self.ranking

    def _judged(self, rung: Rung, step: Step, result: Artifact, *, judged: bool) -> RungRecord:
        target = self.plan.target
        subjects = [on_target(self.reference, target, is_reference=True), on_target(result, target)]
        sizes = [sum(map(size_bytes, paths_of(item.artifact))) for item in subjects]
        record = RungRecord(
            rung.label,
            "holds",
            parameters=step.settings,
            digest=result.digest,
            size_bytes=sizes[1],
            size_ratio=sizes[1] / sizes[0],
        )
        data = self.run.data
        if not judged or data is None:
            return record
        judgement = judge_pair(
            *subjects, data=data, bars=self.run.bars, split="select", known=self.known
        )
        inputs = [
            bench_inputs(subject, data, seed=self.run.seed, split="select") for subject in subjects
        ]
        _, latency = compare_latency(
            *map(bench_model, subjects),
            inputs=inputs[1],
            reference_inputs=inputs[0],
            seconds=_SECONDS,
            processes=1,
        )
        self.reference_score = judgement.reference
        bound = _drop_bound(judgement, rungs=len(rungs_of(self._step)))
        broken = self._broken(judgement) or self._unsure(bound)
        return dataclasses.replace(
            record,
            status="breaks" if broken else "holds",
            reason=broken,
            score=judgement.result,
            drop=_drop(judgement),
            drop_bound=bound,
            latency=latency,
        )

    def _broken(self, judgement: Judgement) -> str:
        """The first limit of the promise that does not hold on the select split."""
        verdicts = judge_by_data(self.plan.recipe.promise, judgement)
        found = next((verdict for verdict in verdicts if verdict.status != "pass"), None)
        if found is None:
            return ""
        return found.reason if found.value is None and found.reason else found.metric

    def _unsure(self, highest: float | None) -> str:
        """Why a drop within the limit is not taken: the samples are too few to be sure of it.

        Of many rungs the first that looks good by luck would be taken, and the test split would
        show it.
        """
        limit = self.plan.recipe.promise.limits.max_accuracy_drop
        if limit is None or highest is None or highest <= limit + 1e-12:
            return ""
        return f"max_accuracy_drop holds, but {100 * highest:.1f} pt could be as well"

    def _unjudged(self) -> str:
        """Why no rung can be judged, '' where it can."""
        data = self.run.data
        unreal = unreal_reason(on_target(self.reference, self.plan.target, is_reference=True))
        if unreal or data is None:
            return unreal or "there is no data"
        if not data.can_judge:
            return f"{data.where} has no labels"
        return ""

    def _finish(
        self,
        rungs: tuple[Rung, ...],
        tried: list[_Tried],
        failures: list[EdgekitError],
        unjudged: str,
    ) -> Climbed:
        made = [(record, done) for record, done in tried if done is not None]
        if not made:
            raise failures[0]
        record, done = next(
            (item for item in made if item[0].status == "holds"),
            min(made, key=lambda item: _or_infinity(item[0].drop)),
        )
        rest = [
            RungRecord(rung.label, "not tried", "an earlier one was taken")
            for rung in rungs[len(tried) :]
        ]
        records = (*(item for item, _ in tried), *rest)
        samples = self.run.data.split_sizes["select"] if self.run.data and not unjudged else 0
        found = Climb(self._step.name, samples, self.reference_score, records, record.label)
        return dataclasses.replace(done, climb=found, notes=self._notes(record, unjudged))

    def _notes(self, taken: RungRecord, unjudged: str) -> tuple[Note, ...]:
        if unjudged:
            reason = f"'{taken.label}' was taken without asking whether it keeps the promise"
            return (Note("ladder not climbed", self._step.name, f"{unjudged}; {reason}"),)
        notes = []
        if taken.status != "holds":
            reason = f"no rung does; '{taken.label}' has the smallest drop on the select split"
            notes.append(Note("promise not kept", self._step.name, reason))
        if taken.is_slower:
            reason = "the rung that keeps the promise is slower than the float model"
            notes.append(Note("slower", taken.label, reason))
        return tuple(notes)


def _drop(judgement: Judgement) -> float:
    sign = 1.0 if judgement.result.higher_is_better else -1.0
    return sign * (judgement.reference.value - judgement.result.value)


def _drop_bound(judgement: Judgement, *, rungs: int) -> float | None:
    """The upper end of the drop's one-sided 95 % interval, by the normal approximation.

    It holds for all rungs together (Bonferroni): the more are tried, the likelier it is that one of
    them looks good by luck.
    The standard error is sqrt(samples on which one model alone is right) / samples, where that is
    known (McNemar), else that of the paired differences.
    """
    quantile = NormalDist().inv_cdf(1 - _LEVEL / rungs)
    lost, won = judgement.right_to_wrong, judgement.wrong_to_right
    if lost is not None and won is not None:
        return _drop(judgement) + quantile * math.sqrt(lost + won) / judgement.result.n
    visible = judgement.smallest_visible_drop
    return None if visible is None else _drop(judgement) + quantile * visible / 1.96


def _or_infinity(value: float | None) -> float:
    return math.inf if value is None or math.isnan(value) else value
