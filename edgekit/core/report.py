"""The report: steps, reference, result, verdicts, machine; every output is drawn from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekit.core.artifact import Artifact
from edgekit.core.data import Judgement
from edgekit.core.description import Description
from edgekit.core.ladder import Climb
from edgekit.core.limits import Status, Verdict, worst
from edgekit.core.measurement import Measurements
from edgekit.core.notes import Note
from edgekit.core.training import Curve

__all__ = ["SCHEMA", "DataFacts", "Report", "StepRecord"]

SCHEMA = "edgekit-report/1"
"""The version of `report.json`; docs/report.schema.json describes it."""


@dataclass(frozen=True)
class StepRecord:
    """One step that was done: what it made, how long it took, and what it noted.

    `cached` says that a former run's result was reused; `seconds` is then that run's time.
    `curves` are the trainings that it did.
    """

    name: str
    kind: str
    format: str
    parameters: Mapping[str, Any]
    digest: str
    size_bytes: int
    seconds: float
    cached: bool
    notes: tuple[Note, ...] = ()
    curves: tuple[Curve, ...] = ()


@dataclass(frozen=True)
class DataFacts:
    """The data that calibrated and judged: digest, task, and the size of each split."""

    name: str
    digest: str
    task: str
    splits: Mapping[str, int]
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything that one run of `compress` or `validate` found.

    `command` is the command line that does the same again; `ladder` is what was tried where the
    recipe keeps its promise by trying.
    """

    title: str
    source: Artifact
    recipe: str | None
    target: str
    seed: int
    edgekit_version: str
    machine: Mapping[str, Any]
    steps: tuple[StepRecord, ...]
    reference_artifact: Artifact
    reference: Measurements
    reference_description: Description
    result_artifact: Artifact
    result: Measurements
    result_description: Description
    data: DataFacts | None
    judgement: Judgement | None
    verdicts: tuple[Verdict, ...]
    notes: tuple[Note, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    command: str = ""
    ladder: Climb | None = None

    @property
    def status(self) -> Status:
        """The worst of the verdicts."""
        return worst(self.verdicts)

    @property
    def exit_code(self) -> int:
        """0 within limits, 1 a limit is broken, 3 something could not be measured."""
        return {"pass": 0, "fail": 1, "unmeasured": 3}[self.status]

    @property
    def skipped(self) -> tuple[Note, ...]:
        """What was left out or done in another way, in the data, the steps and the run."""
        return tuple(note for note in self._notes if not note.is_evidence)

    @property
    def evidence(self) -> tuple[Note, ...]:
        """What was checked and found in order."""
        return tuple(note for note in self._notes if note.is_evidence)

    @property
    def _notes(self) -> tuple[Note, ...]:
        own = self.data.notes if self.data else ()
        return (*own, *(note for step in self.steps for note in step.notes), *self.notes)
