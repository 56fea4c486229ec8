"""report.md as GitHub Markdown, for a pull request or a wiki."""

from __future__ import annotations

import re
from html import escape
from itertools import groupby
from typing import Final

from edgekit.core.report import Report
from edgekit.drawing.markdown import escaped
from edgekit.reporters._notes import NoteGroup, checked, skipped
from edgekit.reporters._placement import placement_text
from edgekit.reporters._sections import parts, sections
from edgekit.reporters._tables import Table, figures, reproduce, verdict_heading
from edgekit.reporters._training import trained, training_line
from edgekit.reporters._wording import STATUS_WORDS, timing_text, verdict_sentence
from edgekit.text import clean

__all__ = ["SUFFIX", "render"]

SUFFIX = ".md"

_NOTHING: Final = "Nothing was skipped or done in another way than asked for."
_MARKS: Final = {"pass": "✅", "fail": "❌", "unmeasured": "⚠️"}


def render(report: Report) -> str:
    """Returns the page; every name that came from a file is escaped."""
    heading, sentence = verdict_heading(report)
    timing = escaped(timing_text(report.seconds))
    mark = _MARKS[report.status] if report.verdicts else "➖"
    blocks = [
        f"# {escaped(clean(report.title, most=200))}",
        f"{mark} **{heading}.** {sentence} {timing}",
        _table(figures(report)),
        f"placement: {escaped(placement_text(report.result.placement, most=10))}",
        *_verdicts(report),
        *_training(report),
        *(block for table in (*sections(report), parts(report)) for block in _section(table)),
        "## Notes",
        *(_notes(skipped(report)) or [_NOTHING]),
        *_checked(report),
        "## How to reproduce",
        _reproduce(report),
    ]
    return "\n\n".join(block.rstrip() for block in blocks) + "\n"


def _verdicts(report: Report) -> list[str]:
    if not report.verdicts:
        return []
    lines = (
        f"- {_MARKS[verdict.status]} {STATUS_WORDS[verdict.status]}: "
        f"{escaped(verdict_sentence(verdict, report))}"
        for verdict in report.verdicts
    )
    return ["## Limits", "\n".join(lines)]


def _section(table: Table) -> list[str]:
    caption = [escaped(table.caption)] if table.caption else []
    return [f"## {escaped(table.title)}", *caption, _table(table)]


def _table(table: Table) -> str:
    marks = ("---:" if i in table.numeric else "---" for i in range(len(table.heads)))
    lines = [table.heads, tuple(marks)]
    cells = [tuple(escaped(cell) for cell in row) for row in table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [*lines, *cells])


def _training(report: Report) -> list[str]:
    lines = [f"- {escaped(training_line(step))}" for _, step in trained(report)]
    return ["## Training", "\n".join(lines)] if lines else []


def _checked(report: Report) -> list[str]:
    blocks = _notes(checked(report))
    return ["## Checked", *blocks] if blocks else []


def _notes(groups: tuple[NoteGroup, ...]) -> list[str]:
    """A heading a step, then a list of few notes of a kind, and many folded away as a table."""
    blocks: list[str] = []
    for origin, found in groupby(groups, key=lambda group: group.origin):
        of_origin = list(found)
        lines = [line for group in of_origin if not group.is_long for line in group.lines]
        blocks.append(f"### {escaped(origin)}")
        if lines:
            blocks.append("\n".join(f"- {escaped(line)}" for line in lines))
        blocks += [_folded(group) for group in of_origin if group.is_long]
    return blocks


def _folded(group: NoteGroup) -> str:
    head = f"<details><summary>{escape(group.summary)}</summary>"
    return f"{head}\n\n{_table(group.table)}\n\n</details>"


def _reproduce(report: Report) -> str:
    command = reproduce(report)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", command)), default=0))
    return (
        f"{fence}console\n$ {command}\n{fence}\n\n"
        f"edgekit {escaped(clean(report.edgekit_version))}; "
        f"model digest {clean(report.source.digest)[:12]}, "
        f"result digest {clean(report.result.digest)[:12]}."
    )
