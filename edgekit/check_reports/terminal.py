"""The printed lines: what failed and what to edit; a row that passed is one line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edgekit.check_reports._values import value_text
from edgekit.check_reports._wording import (
    WORDS,
    about,
    error_text,
    finding_text,
    heading,
    label,
    row_name,
    safe,
)
from edgekit.core.gate import FindingStatus, GateResult, RowResult
from edgekit.units import format_seconds

__all__ = ["SUFFIX", "render", "sentences"]

SUFFIX = ""
"""Printed, not written to a file."""

_CODES: Final = {"pass": "32", "improved": "32", "fail": "1;31", "unmeasured": "33"}
_TOLD: Final[tuple[FindingStatus, ...]] = ("fail", "unmeasured", "improved")
_MOST_NOTES: Final = 3


def render(result: GateResult, *, color: bool = False) -> str:
    """Returns the lines with a newline at the end; no line is wrapped, so any width will do.

    Notes of the whole run go to stderr, beside the progress: they are no part of the result.
    """
    width = max((len(row_name(row)) for row in result.rows), default=0)
    lines = [line for row in result.rows for line in _row(row, width, color)]
    return "".join(f"{line.rstrip()}\n" for line in (*lines, heading(result)))


def sentences(result: RowResult) -> tuple[str, ...]:
    """What is to be said of a row that did not pass: a sentence a finding, or why it has none."""
    said = [
        finding_text(finding, result.row)
        for status in _TOLD[:2]
        for finding in result.findings
        if finding.status == status
    ]
    return (*said, error_text(result)) if error_text(result) else tuple(said)


def _row(result: RowResult, width: int, color: bool) -> Iterator[str]:
    """A row's own line, and below it what is to be done or known."""
    word = _painted(result.status, color)
    name, time = row_name(result).ljust(width), f"({format_seconds(result.seconds)})"
    yield f"{word}  {name}  {_summary(result)}  {time if result.seconds else ''}"
    for status in _TOLD:
        for finding in result.findings:
            if finding.status == status:
                yield f"    {_painted(status, color)}  {finding_text(finding, result.row)}"
    if result.error:
        yield f"    {_painted('unmeasured', color)}  {error_text(result)}"
    yield from (f"    note: {safe(note, most=400)}" for note in result.notes[:_MOST_NOTES])
    left = len(result.notes) - _MOST_NOTES
    if left > 0:
        yield f"    (+{left} more in result.json)"


def _summary(result: RowResult) -> str:
    """The values of a row that passed; of another one what it is, the rest stands below it."""
    if result.status == "skipped":
        return error_text(result)
    if result.status != "pass":
        return about(result.row)
    held = [finding for finding in result.findings if finding.value is not None]
    found = {label(finding): value_text(finding) for finding in held}
    return ", ".join(f"{name} {value}" for name, value in found.items()) or "measured, no limits"


def _painted(status: str, color: bool) -> str:
    text = WORDS[status].ljust(len("unmeasured"))  # type: ignore[index]
    return f"\x1b[{_CODES[status]}m{text}\x1b[0m" if color and status in _CODES else text
