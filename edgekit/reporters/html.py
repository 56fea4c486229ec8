"""report.html, one self-contained page: verdict, figures, plots, tables."""

from __future__ import annotations

from html import escape
from typing import Final

from edgekit.core.limits import Status
from edgekit.core.report import Report, StepRecord
from edgekit.drawing.page import page
from edgekit.reporters._curves import MOST_CURVES, curve_plots
from edgekit.reporters._elements import (
    MARKS,
    figure,
    folded,
    note_list,
    section,
    status_word,
    table_element,
)
from edgekit.reporters._notes import checked, skipped
from edgekit.reporters._placement import placement_text
from edgekit.reporters._plots import Plot, plots
from edgekit.reporters._rows import Row, rows
from edgekit.reporters._sections import parts, sections
from edgekit.reporters._settings import settings
from edgekit.reporters._tables import Table, figures, reproduce, verdict_heading
from edgekit.reporters._training import trained, training_line, training_table
from edgekit.reporters._wording import file_name, timing_text, verdict_sentence
from edgekit.text import clean

__all__ = ["SUFFIX", "render"]

SUFFIX = ".html"

_MOST_ROWS: Final = 8
"""A longer table of trainings is folded away under its drawings."""
_KEY: Final = (
    '<p class="muted">Loss and metric by epoch on <span class="line train"></span> the train split '
    'and <span class="line select"></span> the select split, which no step is trained on. '
    "The ring marks the epoch whose weights were kept.</p>"
)


def render(report: Report) -> str:
    """Returns the page: no script, no request, every name that came from a file escaped."""
    body = (
        *_header(report),
        "<main>",
        _verdict(report),
        _cards(report),
        _plots(plots(report), parts(report)),
        section(figures(report)),
        _training(report),
        _sections(report),
        _notes(report),
        _checked(report),
        _reproduce(report),
        "</main>",
        _footer(report),
    )
    return page(f"{clean(report.title, most=200)} – edgekit report", body)


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
    mark = MARKS[status] if report.verdicts else "–"
    items = "".join(
        f"<li>{status_word(verdict.status)} {escape(verdict_sentence(verdict, report))}</li>"
        for verdict in report.verdicts
        if verdict.status != "pass"
    )
    return (
        f'<section class="verdict {status}" aria-label="Verdict">'
        f'<span class="mark" aria-hidden="true">{mark}</span><strong>{escape(heading)}</strong>'
        f"<p>{escape(sentence)}</p>{f'<ul>{items}</ul>' if items else ''}</section>"
    )


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
    badge = status_word(row.checks[0].status) if row.checks else ""
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
    boxes = [figure(plot) for plot in drawn]
    if kinds.rows:
        boxes.insert(1, f"<figure><h3>{escape(kinds.title)}</h3>{table_element(kinds)}</figure>")
    return f'<section class="plots" aria-label="Plots">{"".join(boxes)}</section>' if boxes else ""


def _training(report: Report) -> str:
    """The curves of every training step, and their figures as a table."""
    steps = trained(report)
    if not steps:
        return ""
    table = training_table(report)
    shown = table_element(table) if table.rows else ""
    if len(table.rows) > _MOST_ROWS:
        shown = folded("The kept and the last epoch of every training", shown)
    lines = "".join(f"<li>{escape(_trained(number, step))}</li>" for number, step in steps)
    boxes = "".join(figure(plot) for plot in curve_plots(report))
    return (
        f'<section><h2>Training</h2><ul class="notes">{lines}</ul>{_KEY}'
        f'<div class="curves">{boxes}</div>{shown}</section>'
    )


def _trained(number: int, step: StepRecord) -> str:
    left = len(step.curves) - MOST_CURVES
    rest = f"; the last {MOST_CURVES} are drawn" if left > 0 else ""
    return f"step {number}, {training_line(step)}{rest}"


def _sections(report: Report) -> str:
    """The detailed tables; under the steps stand the parameters that their line leaves out."""
    drawn = (
        section(table, _parameters(report) if table.title == "Steps" else "")
        for table in sections(report)
    )
    return f'<div class="tables">{"".join(drawn)}</div>'


def _parameters(report: Report) -> str:
    parts = []
    for number, step in enumerate(report.steps, 1):
        found = settings(step.parameters)
        if found.is_cut:
            summary = f"All {len(found.every)} parameters of step {number}, {clean(step.name)}"
            table = Table(summary, ("parameter", "value"), found.every)
            parts.append(folded(summary, table_element(table)))
    return "".join(parts)


def _notes(report: Report) -> str:
    nothing = '<p class="muted">Nothing was skipped or done in another way than asked for.</p>'
    return f"<section><h2>Notes</h2>{note_list(skipped(report)) or nothing}</section>"


def _checked(report: Report) -> str:
    body = note_list(checked(report))
    return f"<section><h2>Checked</h2>{body}</section>" if body else ""


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
