"""report.html, one self-contained page: verdict, figures, plots, tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

from edgekit.core.limits import Status
from edgekit.core.report import Report
from edgekit.reporters._css import CSS
from edgekit.reporters._placement import placement_text
from edgekit.reporters._plots import Plot, plots
from edgekit.reporters._rows import Row, rows
from edgekit.reporters._sections import parts, sections
from edgekit.reporters._tables import (
    Table,
    evidence,
    figures,
    notes,
    reproduce,
    verdict_heading,
)
from edgekit.reporters._wording import (
    STATUS_WORDS,
    file_name,
    timing_text,
    verdict_sentence,
)
from edgekit.text import clean

__all__ = ["SUFFIX", "render"]

SUFFIX = ".html"

_MARKS: Final[Mapping[Status, str]] = {"pass": "✓", "fail": "✕", "unmeasured": "?"}
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""No script and no request, whatever a name in the report may try."""


def render(report: Report) -> str:
    """Returns the page: no script, no request, every name that came from a file escaped."""
    title = escape(clean(report.title, most=200))
    body = (
        *_header(report),
        "<main>",
        _verdict(report),
        _cards(report),
        _plots(plots(report), parts(report)),
        _section(figures(report)),
        f'<div class="tables">{"".join(_section(table) for table in sections(report))}</div>',
        _notes(report),
        _evidence(report),
        _reproduce(report),
        "</main>",
        _footer(report),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{title} – edgekit report</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def _header(report: Report) -> list[str]:
    words = [f"recipe {report.recipe}"] if report.recipe is not None else []
    words += [f"target {report.target}"]
    words += [f"data {file_name(report.data.name)}"] if report.data else []
    words += [f"seed {report.seed}", timing_text(report.seconds).strip("()")]
    line = " · ".join(escape(clean(word, most=120)) for word in words if word)
    title = escape(clean(report.title, most=200))
    return ["<header>", f"<h1>{title}</h1>", f'<p class="eyebrow">{line}</p>', "</header>"]


def _verdict(report: Report) -> str:
    heading, sentence = verdict_heading(report)
    status: Status = report.status if report.verdicts else "unmeasured"
    mark = _MARKS[status] if report.verdicts else "–"
    items = "".join(
        f"<li>{_status(verdict.status)} {escape(verdict_sentence(verdict, report))}</li>"
        for verdict in report.verdicts
        if verdict.status != "pass"
    )
    return (
        f'<section class="verdict {status}" aria-label="Verdict">'
        f'<span class="mark" aria-hidden="true">{mark}</span><strong>{escape(heading)}</strong>'
        f"<p>{escape(sentence)}</p>{f'<ul>{items}</ul>' if items else ''}</section>"
    )


def _status(status: Status) -> str:
    word = STATUS_WORDS[status]
    return f'<span class="status {status}">{_MARKS[status]}&nbsp;{word}</span>'


def _cards(report: Report) -> str:
    cards = [_card(row) for row in rows(report)]
    placed = report.result.placement
    first, _, rest = placement_text(placed).partition(", ")
    if not placed.ops:
        first, rest = "unmeasured", clean(placed.reason, most=200)
    style = "value" if placed.ops else "value none"
    text = f'<p class="{style}">{escape(first)}</p><p class="rest">{escape(rest)}</p>'
    card = f'<div class="card wide"><h3>placement</h3>{text}</div>'
    return f'<section class="cards" aria-label="Key figures">{"".join([*cards, card])}</section>'


def _card(row: Row) -> str:
    status = row.checks[0].status if row.checks else ""
    badge = _status(row.checks[0].status) if row.checks else ""
    head = f'<div class="top"><h3>{escape(row.label)}</h3>{badge}</div>'
    bounds = "".join(
        f'<p class="rest">limit {escape(check.limit)}, {escape(check.source)}</p>'
        for check in row.checks
    )
    if row.missing is not None:
        value = f'<p class="value none">unmeasured</p><p class="rest">{escape(row.missing)}</p>'
        return f'<div class="card {status}">{head}{value}{bounds}</div>'
    change = f"<p>{_change(row)}</p>" if row.change or row.reference else ""
    tail = f'<p class="rest">{escape(row.tail.strip("()"))}</p>' if row.tail else ""
    value = f'<p class="value">{escape(row.result)}</p>'
    return f'<div class="card {status}">{head}{value}{change}{bounds}{tail}</div>'


def _change(row: Row) -> str:
    if row.change.endswith("x"):
        return f"{escape(row.change)} of {escape(row.reference)}"
    return f"{escape(row.change)} from {escape(row.reference)}".strip()


def _plots(drawn: tuple[Plot, ...], kinds: Table) -> str:
    """The drawings in two columns; the bytes by kind stand under the bytes by tensor."""
    boxes = [
        f"<figure><h3>{escape(plot.title)}</h3>{plot.svg}"
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
        for plot in drawn
    ]
    if kinds.rows:
        boxes.insert(1, f"<figure><h3>{escape(kinds.title)}</h3>{_table(kinds)}</figure>")
    return f'<section class="plots" aria-label="Plots">{"".join(boxes)}</section>' if boxes else ""


def _section(table: Table) -> str:
    caption = f'<p class="muted">{escape(table.caption)}</p>' if table.caption else ""
    return f"<section><h2>{escape(table.title)}</h2>{caption}{_table(table)}</section>"


def _table(table: Table) -> str:
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
        content = _status(words[text])
    name = "n" if column in table.numeric else "k" if column in table.short else ""
    attributes = f"{extra and ' '}{extra}{f' class={name!r}' if name else ''}".replace("'", '"')
    return f"<{tag}{attributes}>{content}</{tag}>"


def _notes(report: Report) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in notes(report))
    nothing = '<p class="muted">Nothing was skipped or done in another way than asked for.</p>'
    body = f'<ul class="notes">{items}</ul>' if items else nothing
    return f"<section><h2>Notes</h2>{body}</section>"


def _evidence(report: Report) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in evidence(report))
    body = f'<ul class="notes">{items}</ul>'
    return f"<section><h2>Checked</h2>{body}</section>" if items else ""


def _reproduce(report: Report) -> str:
    digests = (
        f"Model digest {report.source.digest[:12]}, result digest {report.result.digest[:12]}."
    )
    return (
        f"<section><h2>How to reproduce</h2><pre>{escape(reproduce(report))}</pre>"
        f'<p class="muted">{escape(clean(digests))}</p></section>'
    )


def _footer(report: Report) -> str:
    version = escape(clean(report.edgekit_version))
    return f'<footer class="muted">edgekit {version}. report.json has every figure.</footer>'
