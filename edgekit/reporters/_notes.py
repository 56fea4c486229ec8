"""The notes by where they come from and what they say: forty alike are one group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from edgekit.core.notes import Note
from edgekit.core.report import Report
from edgekit.reporters._tables import Table
from edgekit.reporters._wording import count, said
from edgekit.text import clean

__all__ = ["FEW", "NoteGroup", "checked", "first_lines", "skipped"]

FEW: Final = 6
"""So many lines of one kind, or twice as many names, stand open; more are folded away."""
_FEW_REASONS: Final = 3
_FILES: Final = "Files"


@dataclass(frozen=True)
class NoteGroup:
    """The notes of one place (a step, the data, the run) that say the same of several items."""

    origin: str
    what: str
    notes: tuple[Note, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """One line for the items of which the same is said, with all their names."""
        return tuple(_line(notes, most=len(notes)) for notes in self.merged)

    @property
    def merged(self) -> tuple[list[Note], ...]:
        """The notes by their reason."""
        found: dict[str, list[Note]] = {}
        for note in self.notes:
            found.setdefault(note.reason, []).append(note)
        return tuple(found.values())

    @property
    def is_long(self) -> bool:
        """Whether there are too many lines or names to read."""
        return len(self.merged) > FEW or len(self.notes) > 2 * FEW

    @property
    def summary(self) -> str:
        """Writes 'skipped: 40 items', and why, where it is for few reasons."""
        head = f"{clean(self.what)}: {count(len(self.notes), 'item')}"
        if len(self.merged) > _FEW_REASONS:
            return head
        found = (f"{clean(notes[0].reason, most=200)} ({len(notes)})" for notes in self.merged)
        return f"{head}: {'; '.join(found)}"

    @property
    def table(self) -> Table:
        """One row a note."""
        cells = tuple((clean(note.item), clean(note.reason, most=400)) for note in self.notes)
        return Table(self.summary, ("item", "found" if self.notes[0].is_evidence else "why"), cells)


def skipped(report: Report) -> tuple[NoteGroup, ...]:
    """Everything that was skipped, dropped or done in another way, complete."""
    read = dict.fromkeys(
        Note("reading", artifact.path.name, text)
        for artifact, description in (
            (report.reference_artifact, report.reference_description),
            (report.result_artifact, report.result_description),
        )
        for text in description.notes
    )
    found = _groups(report, lambda note: not note.is_evidence)
    return (*found, *_by_what(_FILES, tuple(read)))


def checked(report: Report) -> tuple[NoteGroup, ...]:
    """Everything that was checked and found in order."""
    return _groups(report, lambda note: note.is_evidence)


def _groups(report: Report, wanted: Callable[[Note], bool]) -> tuple[NoteGroup, ...]:
    return tuple(
        group
        for origin, notes in _sources(report)
        for group in _by_what(origin, tuple(filter(wanted, notes)))
    )


def _sources(report: Report) -> Iterator[tuple[str, tuple[Note, ...]]]:
    """Where notes come from, in the order of the work; a step's name with its number."""
    if report.data is not None:
        yield "Data", report.data.notes
    for number, step in enumerate(report.steps, 1):
        yield f"Step {number}, {clean(step.name)}", step.notes
    yield "Run", report.notes


def _by_what(origin: str, notes: tuple[Note, ...]) -> Iterator[NoteGroup]:
    for what in dict.fromkeys(note.what for note in notes):
        yield NoteGroup(origin, what, tuple(note for note in notes if note.what == what))


def first_lines(report: Report, most: int) -> tuple[tuple[str, ...], int]:
    """At most `most` lines, some of each kind before more of one, and how many notes are left.

    Items of which the same is said share a line.
    """
    groups = [group.merged for group in skipped(report) if group.origin != _FILES]
    depth = max(map(len, groups), default=0)
    order = [(place, row) for row in range(depth) for place, g in enumerate(groups) if row < len(g)]
    chosen = sorted(order[:most])
    left = sum(len(groups[place][row]) for place, row in order[most:])
    return tuple(_line(groups[place][row]) for place, row in chosen), left


def _line(notes: list[Note], *, most: int = 3) -> str:
    names = ", ".join(clean(note.item) for note in notes[:most] if note.item)
    more = f" and {len(notes) - most} more" if len(notes) > most else ""
    return said(notes[0].what, f"{names}{more}", notes[0].reason)
