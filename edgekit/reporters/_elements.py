"""Pieces of the HTML page: tables, drawings, lists that fold; every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from itertools import groupby
from typing import Final

from edgekit.core.limits import Status
from edgekit.reporters._notes import NoteGroup
from edgekit.reporters._plots import Plot
from edgekit.reporters._tables import Table
from edgekit.reporters._wording import STATUS_WORDS

__all__ = ["MARKS", "figure", "folded", "note_list", "section", "status_word", "table_element"]

MARKS: Final[Mapping[Status, str]] = {"pass": "✓", "fail": "✕", "unmeasured": "?"}


def status_word(status: Status) -> str:
    """A verdict as a mark and a word, so that its colour says nothing alone."""
    word = STATUS_WORDS[status]
    return f'<span class="status {status}">{MARKS[status]}&nbsp;{word}</span>'


def figure(plot: Plot) -> str:
    """A drawing with its heading and how to read it."""
    heading = f"<h3>{escape(plot.title)}</h3>"
    return f"<figure>{heading}{plot.svg}<figcaption>{escape(plot.caption)}</figcaption></figure>"


def folded(summary: str, body: str) -> str:
    """Something long behind a line that opens it; it needs no script."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def section(table: Table, extra: str = "") -> str:
    """A heading, a sentence, the table, and what belongs under it."""
    caption = f'<p class="muted">{escape(table.caption)}</p>' if table.caption else ""
    body = f"{caption}{table_element(table)}{extra}"
    return f"<section><h2>{escape(table.title)}</h2>{body}</section>"


def note_list(groups: tuple[NoteGroup, ...]) -> str:
    """A heading a step, then a list of few notes of a kind, and many folded away as a table."""
    parts: list[str] = []
    for origin, found in groupby(groups, key=lambda group: group.origin):
        of_origin = list(found)
        lines = [line for group in of_origin if not group.is_long for line in group.lines]
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        parts.append(f'<h3 class="origin">{escape(origin)}</h3>')
        parts += [f'<ul class="notes">{items}</ul>'] * bool(items)
        parts += [folded(g.summary, table_element(g.table)) for g in of_origin if g.is_long]
    return "".join(parts)


def table_element(table: Table) -> str:
    """A table that scrolls inside its box where the page is narrow."""
    head = ""
    if any(table.heads):
        cells = (_cell("th", text, i, table, 'scope="col"') for i, text in enumerate(table.heads))
        head = f"<thead><tr>{''.join(cells)}</tr></thead>"
    body = "".join(_row(cells, table) for cells in table.rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(table.title)}">'
        f"<table>{head}<tbody>{body}</tbody></table></div>"
    )


def _row(cells: Iterable[str], table: Table) -> str:
    first, *rest = cells
    start = _cell("th", first, 0, table, 'scope="row"')
    return f"<tr>{start}{''.join(_cell('td', c, i, table) for i, c in enumerate(rest, 1))}</tr>"


def _cell(tag: str, text: str, column: int, table: Table, extra: str = "") -> str:
    words = {word: status for status, word in STATUS_WORDS.items()}
    content = escape(text)
    if tag == "td" and table.heads[column] == "verdict" and text in words:
        content = status_word(words[text])
    name = "n" if column in table.numeric else "k" if column in table.short else ""
    attributes = f"{extra and ' '}{extra}{f' class={name!r}' if name else ''}".replace("'", '"')
    return f"<{tag}{attributes}>{content}</{tag}>"
