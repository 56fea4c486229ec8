"""The tables of the pages, free of markup: Markdown and HTML draw the same."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.core.report import Report
from edgekit.reporters._rows import rows
from edgekit.reporters._wording import count
from edgekit.text import clean

__all__ = [
    "Table",
    "figures",
    "reproduce",
    "verdict_heading",
]


@dataclass(frozen=True)
class Table:
    """A heading, a sentence that says how to read it, and cells; `numeric` columns go right."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    caption: str = ""

    @property
    def short(self) -> frozenset[int]:
        """The columns whose cells are short enough to stand on one line."""
        columns = enumerate(zip(*self.rows, strict=True))
        return frozenset(i for i, cells in columns if max(map(len, cells)) <= 34)


def verdict_heading(report: Report) -> tuple[str, str]:
    """The verdict in two words, and the sentence under it."""
    total = len(report.verdicts)
    if not total:
        return (
            "No limits set",
            "Measured, but held against nothing: no recipe or target set a limit.",
        )
    if report.status == "pass":
        return "Within limits", f"{count(total, 'limit')} checked, all hold."
    failed = sum(verdict.status == "fail" for verdict in report.verdicts)
    unknown = sum(verdict.status == "unmeasured" for verdict in report.verdicts)
    broken = "A limit is broken" if failed == 1 else f"{failed} limits are broken"
    held = f"{total - failed - unknown} of {count(total, 'limit')} hold"
    missing = f", {unknown} could not be measured" if unknown else ""
    return broken if failed else "Not proven", f"{held}{missing}."


def figures(report: Report) -> Table:
    """The main table, as the terminal has it."""
    cells = []
    for row in rows(report):
        values = (row.reference, row.result, row.change)
        if row.missing is not None:
            values = ("", "unmeasured", "")
        remark = row.tail or (f"({row.missing})" if row.missing else "")
        for index, check in enumerate(row.checks or (None,)):
            judged = (check.limit, check.word, check.source) if check else ("", "", "")
            first = (row.label, *values) if index == 0 else ("", "", "", "")
            cells.append((*first, *judged, remark if index == 0 else ""))
    heads = ("", "reference", "result", "change", "limit", "verdict", "limit set by", "remarks")
    return Table("Figures", heads, tuple(cells), frozenset({1, 2, 3, 4}))


def reproduce(report: Report) -> str:
    """The command that does the same again, as it was given."""
    return clean(report.command, most=2000)
