"""The printed table: plain text in columns, colour only where asked for."""

from __future__ import annotations

from typing import Final

from edgekit.core.report import Report
from edgekit.reporters._ladder import ladder_lines
from edgekit.reporters._notes import first_lines
from edgekit.reporters._placement import placement_text
from edgekit.reporters._rows import Check, Row, rows
from edgekit.reporters._training import trained, training_line
from edgekit.reporters._wording import STATUS_WORDS, timing_text, verdict_sentence
from edgekit.text import clean

__all__ = ["SUFFIX", "render"]

SUFFIX = ""
"""Printed, not written to a file."""

_HEAD: Final = ("", "reference", "result", "change", "limit", "")
_MOST_NOTES: Final = 5
_CODES: Final = {"ok": "32", "FAIL": "1;31", "unmeasured": "33"}
_Line = tuple[tuple[str, ...], str, str]


def render(report: Report, *, color: bool = False) -> str:
    """Returns the lines with a newline at the end; no line is wrapped, so any width will do."""
    lines = [_line(row, check, first) for row in rows(report) for check, first in _checks(row)]
    widths = _widths(lines)
    table = [_head(widths), *(_shown(line, widths, color) for line in lines)]
    spanning = [
        ("placement", placement_text(report.result.placement)),
        *_ladder(report),
        *_training(report),
    ]
    table += [f"  {label.ljust(widths[0])}  {text}" for label, text in spanning]
    parts = [_title(report, widths), *table, *_broken(report, color), *_notes(report)]
    return "".join(f"{line.rstrip()}\n" for line in parts)


def _ladder(report: Report) -> list[tuple[str, str]]:
    return [("" if i else "ladder", line) for i, line in enumerate(ladder_lines(report))]


def _training(report: Report) -> list[tuple[str, str]]:
    steps = trained(report)
    return [("" if i else "training", training_line(step)) for i, (_, step) in enumerate(steps)]


def _title(report: Report, widths: list[int]) -> str:
    title, timing = clean(report.title, most=200), timing_text(report.seconds)
    width = sum(widths) + 2 * len(widths)
    return title + timing.rjust(max(len(timing) + 2, width - len(title))) if timing else title


def _checks(row: Row) -> list[tuple[Check | None, bool]]:
    """The lines of a row: a second limit on the same metric gets a line of its own."""
    if not row.checks:
        return [(None, True)]
    return [(check, index == 0) for index, check in enumerate(row.checks)]


def _line(row: Row, check: Check | None, first: bool) -> _Line:
    """The cells in columns, a text that spans the value columns, and the remark behind them."""
    limit, word, source = (check.limit, check.word, check.source) if check else ("", "", "")
    if not first:
        return ("", "", "", "", limit, word), "", source
    if row.missing is None:
        cells = (row.label, row.reference, row.result, row.change, limit, word)
        return cells, "", "  ".join(text for text in (source, row.tail) if text)
    span, tail = f"unmeasured ({row.missing})" if row.missing else "unmeasured", ""
    if len(span) > 24:
        span, tail = "unmeasured", f"({row.missing})"
    return (
        (row.label, "", "", "", limit, word),
        span,
        "  ".join(text for text in (source, tail) if text),
    )


def _widths(lines: list[_Line]) -> list[int]:
    cells = [cells for cells, _, _ in lines]
    return [
        max(len(_HEAD[column]), 9 if column == 0 else 0, *(len(row[column]) for row in cells))
        for column in range(len(_HEAD))
    ]


def _head(widths: list[int]) -> str:
    return "  " + "  ".join(text.rjust(width) for text, width in zip(_HEAD, widths, strict=True))


def _shown(line: _Line, widths: list[int], color: bool) -> str:
    (label, *values, limit, word), span, remark = line
    if span:
        middle = span.ljust(sum(widths[1:4]) + 4)
    else:
        middle = "  ".join(text.rjust(w) for text, w in zip(values, widths[1:4], strict=True))
    status = _painted(word, word.ljust(widths[5]), color)
    start = f"  {label.ljust(widths[0])}  {middle}  {limit.rjust(widths[4])}"
    return f"{start}  {status}  {remark}"


def _painted(word: str, text: str, color: bool) -> str:
    return f"\x1b[{_CODES[word]}m{text}\x1b[0m" if color and word in _CODES else text


def _broken(report: Report, color: bool) -> list[str]:
    """One line for every limit that does not hold: what, by how much, and where to change it."""
    lines = []
    for verdict in report.verdicts:
        if verdict.status != "pass":
            word = STATUS_WORDS[verdict.status]
            sentence = verdict_sentence(verdict, report)
            lines.append(f"  {_painted(word, word, color)} {sentence}")
    return lines


def _notes(report: Report) -> list[str]:
    shown, left = first_lines(report, _MOST_NOTES)
    lines = [f"  note: {line}" for line in shown]
    return [*lines, f"  (+{left} more in report.md)"] if left else lines
