"""What one row of the gate asks for: a model that a recipe makes, or one that is there already."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgekit.core.artifact import Artifact
from edgekit.core.gate import CheckRow, MaxRegression
from edgekit.core.limits import Limits, Verdict, judge
from edgekit.core.measurement import Measurements
from edgekit.core.recipe import load_recipe
from edgekit.core.report import Report
from edgekit.core.target import Target
from edgekit.engine.compress import (
    Built,
    DataRequest,
    build,
    measure_built,
    open_for,
    prepare,
    target_versions,
)
from edgekit.engine.delegation import NO_DELEGATION
from edgekit.engine.fallbacks import delegated, explained, fallback_notes
from edgekit.engine.machine import fingerprint
from edgekit.engine.measure import (
    Subject,
    bench_inputs,
    measure_one,
    on_target,
    score_one,
    unreal_reason,
    why_unjudged,
)
from edgekit.engine.models import ZOO_PREFIX, with_scaling, zoo_name
from edgekit.engine.open_model import open_model
from edgekit.engine.progress import Progress
from edgekit.engine.targets import check_runs, device_facts, elsewhere, open_target, target_for
from edgekit.engine.validate import compare_models
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.engine.data import LoadedData

__all__ = ["Candidate", "Found", "check_names", "prepare_row", "with_data_scaling"]


@dataclass(frozen=True)
class Found:
    """What was measured of a row's model. `report` is there where it has a reference.

    `notes` are what did not run where it was to run.
    """

    subject: Subject
    measured: Measurements
    verdicts: tuple[Verdict, ...]
    data: LoadedData | None
    target: Target
    machine: Mapping[str, Any]
    report: Report | None = None
    notes: tuple[str, ...] = ()

    @property
    def unjudged(self) -> str:
        """Why there is no accuracy; '' where there is."""
        if self.data is not None and self.data.can_judge and not unreal_reason(self.subject):
            return ""
        return why_unjudged(self.subject, self.data)


class Candidate(Protocol):
    """A row of which everything that can be refused early was."""

    def build(self) -> None:
        """Makes the model, or takes it from the cache."""

    def measure(self) -> Found:
        """Measures it, and holds it against the limits."""


def check_names(row: CheckRow) -> None:
    """Looks up all that a row names: recipe, target, device, model; quick, and reads no model.

    Raises:
        UsageError: one of them does not exist, or nothing at all would be judged.
    """
    limits = [row.limits, _target(row).limits]
    if row.recipe:
        limits.append(load_recipe(row.recipe).promise)
    if zoo_name(row.model) is not None and not row.recipe:
        raise UsageError(
            f"model '{row.model}': a zoo model is trained for a recipe, and the row has none",
            hint='add recipe = "..."',
        )
    for model in (row.model, row.reference):
        if model and not model.startswith(ZOO_PREFIX) and not Path(model).exists():
            raise UsageError(f"model '{model}': no such file or folder")
    if row.max_regression == MaxRegression() and all(item.limits == Limits() for item in limits):
        raise UsageError(
            "has no limit, and neither its target nor a recipe has one: it would always pass",
            hint='add max_size, max_accuracy_drop ..., or max_regression = { size = "1 %" }',
        )


def prepare_row(row: CheckRow, bars: Progress) -> Candidate:
    """Opens the model and the data, and asks every step whether it can work on them.

    Raises:
        UsageError: something of that is wrong.
        UnmeasuredError: the target does not work here.
    """
    target = _target(row)
    check_runs(target)
    return _Compressed(row, target, bars) if row.recipe else _AsItIs(row, bars)


def _target(row: CheckRow) -> Target:
    target = open_target(row.target, threads=row.threads, on=row.on or None)
    return delegated(target, NO_DELEGATION)


def _request(row: CheckRow) -> DataRequest | None:
    if not row.data:
        return None
    return DataRequest(row.data, row.data_options, row.task or None, row.output or None)


class _Compressed:
    """A model that a recipe makes: what `edgekit compress` does, without an output folder."""

    def __init__(self, row: CheckRow, target: Target, bars: Progress) -> None:
        self.row, self.target = row, target
        self._prepared = prepare(
            row.model,
            load_recipe(row.recipe),
            target,
            data=_request(row),
            seed=row.seed,
            bars=bars,
            inputs=row.inputs,
        )
        self._built: Built | None = None

    def build(self) -> None:
        self._built = build(*self._prepared)

    def measure(self) -> Found:
        assert self._built is not None, "built before it is measured"
        report = measure_built(self._built, limits=(self.row.limits,))
        return Found(
            on_target(self._built.climbed.result, self.target),
            report.result,
            report.verdicts,
            self._built.run.data,
            self.target,
            report.machine,
            report,
            _told(self.target, report.result),
        )


class _AsItIs:
    """A model file, with or without one to compare it with."""

    def __init__(self, row: CheckRow, bars: Progress) -> None:
        self.row, self._bars = row, bars
        artifact = open_model(row.model, row.inputs)
        self.target = target_for(artifact, row.target, threads=row.threads, on=row.on or None)
        self._artifact, self._data = open_for(artifact, _request(row), seed=row.seed)
        if row.reference:
            open_model(row.reference, row.inputs)

    def build(self) -> None:
        """Nothing is to be made."""

    def measure(self) -> Found:
        subject = on_target(self._artifact, self.target)
        if self.row.reference:
            return self._against_reference(subject)
        measured = self._alone(subject)
        machine = fingerprint(target_versions(self.target), device=device_facts(self.target))
        verdicts = judge(
            (self.row.limits, self.target.limits),
            measured,
            None,
            unjudged="the row has no reference to compare with",
            elsewhere=elsewhere(self.target),
        )
        return Found(
            subject,
            measured,
            explained(verdicts, self.target, measured.placement),
            self._data,
            self.target,
            machine,
            notes=_told(self.target, measured),
        )

    def _alone(self, subject: Subject) -> Measurements:
        data, score = self._data, None
        if data is not None and data.can_judge and not unreal_reason(subject):
            score = score_one(subject, data=data, bars=self._bars)
        inputs = bench_inputs(subject, data, seed=self.row.seed)
        return measure_one(subject, inputs=inputs, score=score)

    def _against_reference(self, subject: Subject) -> Found:
        row = self.row
        report = compare_models(
            row.model,
            row.reference,
            data=_request(row),
            target=row.target,
            seed=row.seed,
            inputs=row.inputs,
            threads=row.threads,
            on=row.on or None,
            bars=self._bars,
        )
        own = judge(
            (row.limits,),
            report.result,
            report.judgement,
            reference=report.reference,
            unjudged=why_unjudged(subject, self._data),
            elsewhere=elsewhere(self.target),
        )
        own = explained(own, self.target, report.result.placement)
        report = dataclasses.replace(report, verdicts=(*own, *report.verdicts))
        return Found(
            subject,
            report.result,
            report.verdicts,
            self._data,
            self.target,
            report.machine,
            report,
            _told(self.target, report.result),
        )


def _told(target: Target, measured: Measurements) -> tuple[str, ...]:
    notes = fallback_notes(target, measured.placement)
    return tuple(f"{note.what}: {note.item}: {note.reason}" for note in notes)


def with_data_scaling(artifact: Artifact, data: LoadedData | None) -> Artifact:
    """A model of before, fed as today's is: a scaling among the data options overrides its own."""
    return with_scaling(artifact, data.scaling_override if data is not None else None)
