"""Everything that somebody must see, worst first: what failed, was not measured, was skipped."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from edgekit.check_reports._wording import error_text, finding_text, label, row_name, source_text
from edgekit.core.gate import Finding, GateResult, RowResult

__all__ = ["Problem", "problems"]

_ORDER: Final = {"fail": 0, "unmeasured": 1, "skipped": 2, "improved": 3}


@dataclass(frozen=True)
class Problem:
    """One finding, or a whole row, that did not simply pass. `by` is its share beyond the bound.

    `check` names what was checked (`limit/max_size`); with the row and `source`, where the limit
    is set, it is the same in every run.
    """

    status: Literal["fail", "unmeasured", "skipped", "improved"]
    row: str
    title: str
    check: str
    text: str
    source: str = ""
    by: float = 0.0


def problems(result: GateResult) -> tuple[Problem, ...]:
    """All of them; of two failures the one further beyond its bound stands first."""
    found = [problem for row in result.rows for problem in _of_row(row)]
    return tuple(sorted(found, key=lambda problem: (_ORDER[problem.status], -problem.by)))


def _of_row(result: RowResult) -> Iterator[Problem]:
    name, row = row_name(result), result.row
    for finding in result.findings:
        if finding.status != "pass":
            title, check = f"{name}: {label(finding)}", f"{finding.kind}/{finding.metric}"
            text = finding_text(finding, row)
            yield Problem(
                finding.status, row.name, title, check, text, source_text(finding), _beyond(finding)
            )
    if result.error:
        title = f"{name}: could not be measured"
        yield Problem("unmeasured", row.name, title, "row", error_text(result))
    elif result.skipped:
        yield Problem("skipped", row.name, f"{name}: skipped", "row", error_text(result))


def _beyond(finding: Finding) -> float:
    value, bound = finding.value, finding.bound
    if value is None or bound is None or not (math.isfinite(value) and math.isfinite(bound)):
        return 0.0
    return abs(value - bound) / max(abs(bound), 1e-9)
