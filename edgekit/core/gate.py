"""The gate's nouns: rows of `edgekit.toml`, what was found of each, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgekit.core.limits import SourcedLimits
from edgekit.core.measurement import Measurements
from edgekit.core.report import Report
from edgekit.units import Points, Share

__all__ = ["CheckRow", "Finding", "FindingStatus", "GateResult", "MaxRegression", "RowResult"]

FindingStatus = Literal["pass", "fail", "unmeasured", "improved"]
"""`improved` passes too: it is better than the baseline by more than the threshold."""

Unit = Literal["bytes", "ns", "points", "share", "ratio", "p", "count"]


@dataclass(frozen=True)
class MaxRegression:
    """How much worse than the baseline a row may be; None is not held against it.

    `delegated` is always held: an op that falls back to the plain CPU kernels does so silently.
    """

    size: Share | None = None
    compressed: Share | None = None
    latency: Share | None = None
    accuracy: Points | None = None
    memory: Share | None = None
    delegated: Points = 0.0


@dataclass(frozen=True)
class CheckRow:
    """One `[[check]]` of `edgekit.toml`.

    Without a recipe the model is judged as it is, against `reference` where that is given. A row
    that is not `required` is skipped, with the reason, where its target does not work. `where` is
    the file and the row, as messages name it.
    """

    name: str
    model: str
    target: str
    limits: SourcedLimits
    recipe: str = ""
    reference: str = ""
    data: str = ""
    data_options: str = ""
    task: str = ""
    output: str = ""
    inputs: tuple[str, ...] = ()
    seed: int = 0
    threads: int | None = None
    on: str = ""
    required: bool = True
    max_regression: MaxRegression = field(default_factory=MaxRegression)
    where: str = ""


@dataclass(frozen=True)
class Finding:
    """One value held against a limit, or against the baseline.

    `value` and `baseline` are in `unit`, a regression's `bound` too (what the value may not pass).
    `interval` is that of the value, or of its change, where it has one. `source` is the file and
    the key to edit; `baseline_file` is where the baseline stands.
    """

    metric: str
    kind: Literal["limit", "regression"]
    status: FindingStatus
    unit: Unit
    value: float | None
    bound: float | None
    source: str
    baseline: float | None = None
    interval: tuple[float, float] | None = None
    baseline_file: str = ""
    reason: str = ""


@dataclass(frozen=True)
class RowResult:
    """How one row ended. `error` is why it could not be measured; `skipped` why it was not run.

    `report` is that of the compression or comparison; a model that is judged as it is has none, and
    `measured` is what was measured of it all the same. `history` are the values of earlier runs,
    oldest first (`history.jsonl`).
    """

    row: CheckRow
    findings: tuple[Finding, ...] = ()
    report: Report | None = None
    seconds: float = 0.0
    error: str = ""
    hint: str = ""
    skipped: str = ""
    notes: tuple[str, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    measured: Measurements | None = None

    @property
    def status(self) -> Literal["pass", "fail", "unmeasured", "skipped"]:
        """The worst of its findings."""
        found = {finding.status for finding in self.findings}
        if "fail" in found:
            return "fail"
        if self.error or "unmeasured" in found:
            return "unmeasured"
        return "skipped" if self.skipped else "pass"


@dataclass(frozen=True)
class GateResult:
    """One run of `edgekit check`: everything that it writes is drawn from this.

    `notes` are of the whole run, such as a history that was repaired.
    """

    rows: tuple[RowResult, ...]
    project_file: str
    edgekit_version: str
    started_utc: str
    machine: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 ok, 1 a limit or regression, 3 something could not be measured."""
        found = {row.status for row in self.rows}
        return 1 if "fail" in found else 3 if "unmeasured" in found else 0
