"""check.md as GitHub Markdown, for a job's summary or a merge request."""

from __future__ import annotations

from typing import Final

from edgekit.check_reports._problems import problems
from edgekit.check_reports._values import difference_text, threshold_text, value_text
from edgekit.check_reports._wording import (
    WORDS,
    about,
    error_text,
    heading,
    label,
    project_path,
    row_name,
    safe,
    short_source,
)
from edgekit.core.gate import CheckRow, Finding, GateResult, RowResult
from edgekit.drawing.markdown import escaped
from edgekit.units import format_seconds

__all__ = ["SUFFIX", "render"]

SUFFIX = "check.md"

_MARKS: Final = {"pass": "✅", "fail": "❌", "unmeasured": "⚠️", "improved": "🎉", "skipped": "➖"}
_HEADS: Final = ("metric", "value", "held against", "difference", "verdict", "set by")


def render(result: GateResult) -> str:
    """Returns the page; every name that came from a file is escaped."""
    mark = {0: _MARKS["pass"], 1: _MARKS["fail"]}.get(result.exit_code, _MARKS["unmeasured"])
    blocks = [
        f"## {mark} edgekit check: {escaped(heading(result))}",
        _problems(result),
        *(block for row in result.rows for block in _row(row)),
        _notes(result.notes),
        f"edgekit {escaped(safe(result.edgekit_version))}, {escaped(safe(result.started_utc))}, "
        f"{escaped(project_path(result))}",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _problems(result: GateResult) -> str:
    return "\n".join(
        f"- {_MARKS[problem.status]} **{escaped(safe(problem.row))}**: {escaped(problem.text)}"
        for problem in problems(result)
    )


def _row(result: RowResult) -> list[str]:
    """A row's findings as a table, folded away where it passed."""
    time = f", {format_seconds(result.seconds)}" if result.seconds else ""
    about_row = f"{escaped(about(result.row))}{time}"
    parts = [_table(result)] if result.findings else [escaped(error_text(result))]
    parts.append(_notes(result.notes))
    inner = [about_row, *(part for part in parts if part)]
    name = f"{_MARKS[result.status]} {_inline(row_name(result))}"
    is_open = " open" if result.status in ("fail", "unmeasured") else ""
    return [f"<details{is_open}><summary>{name}</summary>", *inner, "</details>"]


def _notes(notes: tuple[str, ...]) -> str:
    return "\n".join(f"- {escaped(safe(note, most=400))}" for note in notes)


def _inline(text: str) -> str:
    """Inside an HTML element Markdown's own characters mean something only to some readers."""
    return escaped(text).replace("\\", "")


def _table(result: RowResult) -> str:
    lines = [_HEADS, ("---", "---:", "---", "---:", "---", "---")]
    cells = [
        tuple(escaped(cell) for cell in _cells(finding, result.row)) for finding in result.findings
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (*lines, *cells))


def _cells(finding: Finding, row: CheckRow) -> tuple[str, ...]:
    reason = f" ({safe(finding.reason, most=400)})" if finding.reason else ""
    return (
        label(finding),
        value_text(finding),
        threshold_text(finding),
        f"{difference_text(finding)}{reason}".strip(),
        f"{_MARKS[finding.status]} {WORDS[finding.status]}",
        short_source(finding, row),
    )
