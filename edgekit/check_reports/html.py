"""check.html, one self-contained page: what failed, every row, its history drawn."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from edgekit.check_reports._chart import chart
from edgekit.check_reports._figures import series
from edgekit.check_reports._problems import problems
from edgekit.check_reports._values import difference_text, threshold_text, value_text
from edgekit.check_reports._wording import (
    WORDS,
    RowStatus,
    about,
    error_text,
    heading,
    label,
    project_path,
    row_name,
    safe,
    short_source,
)
from edgekit.core.gate import CheckRow, Finding, FindingStatus, GateResult, RowResult
from edgekit.drawing.page import page
from edgekit.units import format_seconds

__all__ = ["SUFFIX", "render"]

SUFFIX = "check.html"

_MARKS: Final = {"pass": "✓", "fail": "✕", "unmeasured": "?", "improved": "↓", "skipped": "–"}
_VERDICTS: Final = {0: ("pass", "Passed"), 1: ("fail", "Failed")}
_UNPROVEN: Final = ("unmeasured", "Not proven")
_CSS: Final = """\
.status.improved { color: var(--pass); }
.status.skipped { color: var(--muted); }
a { color: var(--result); }
td.held, td.note, td.key { white-space: normal; }
td.held, td.note { min-width: 11em; }
td.key { min-width: 8em; }
.row th, .row td { padding-right: 16px; }
th[scope="row"] { white-space: nowrap; }
.row > h2 { display: flex; flex-wrap: wrap; gap: 2px 12px; align-items: baseline; }
.row > h2 + .muted { margin-bottom: 10px; }
.row > ul.notes { margin-top: 10px; }
.row > p.error { margin-top: 6px; }
.runs {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr));
  gap: 12px; margin: 14px 0 0;
}
.runs figure { margin: 0; min-width: 0; }
figure svg.history { max-width: 330px; }
svg.history text { font: 11px var(--sans); fill: var(--muted); }
svg.history text.end { text-anchor: end; }
svg.history text.bound {
  fill: var(--worse); stroke: var(--card); stroke-width: 4px; paint-order: stroke;
}
svg.history line.grid { stroke: var(--rule); }
svg.history line.bound { stroke: var(--worse); stroke-dasharray: 5 3; }
svg.history line.run { stroke: var(--reference); stroke-width: 1.5; stroke-linecap: round; }
svg.history circle.run { fill: var(--reference); }
svg.history circle.now { fill: var(--result); }
"""


def render(result: GateResult) -> str:
    """Returns the page: no script, no request, every name that came from a file escaped."""
    body = (
        _header(result),
        "<main>",
        _verdict(result),
        _overview(result) if len(result.rows) > 1 else "",
        *(_row(row, f"row-{number}") for number, row in enumerate(result.rows, 1)),
        _notes(result.notes),
        _machine(result),
        "</main>",
        f'<footer class="muted">edgekit {escape(safe(result.edgekit_version))}. '
        "result.json has every figure.</footer>",
    )
    return page(f"{WORDS[_status(result)]}: edgekit check", body, css=_CSS)


def _status(result: GateResult) -> RowStatus:
    found = {row.status for row in result.rows}
    return "fail" if "fail" in found else "unmeasured" if "unmeasured" in found else "pass"


def _header(result: GateResult) -> str:
    words = (project_path(result), safe(result.started_utc))
    line = " · ".join(escape(word) for word in words if word)
    return f'<header>\n<h1>edgekit check</h1>\n<p class="eyebrow">{line}</p>\n</header>'


def _verdict(result: GateResult) -> str:
    status, said = _VERDICTS.get(result.exit_code, _UNPROVEN)
    items = "".join(
        f"<li>{_word(problem.status)} <b>{escape(safe(problem.row))}</b> "
        f"{escape(problem.text)}</li>"
        for problem in problems(result)
    )
    return (
        f'<section class="verdict {status}" aria-label="Verdict">'
        f'<span class="mark" aria-hidden="true">{_MARKS[status]}</span><strong>{said}</strong>'
        f"<p>{escape(heading(result))}.</p>{f'<ul>{items}</ul>' if items else ''}</section>"
    )


def _word(status: RowStatus | FindingStatus) -> str:
    """A verdict as a mark and a word, so that its colour says nothing alone."""
    return f'<span class="status {status}">{_MARKS[status]}&nbsp;{WORDS[status]}</span>'


def _overview(result: GateResult) -> str:
    heads = ("row", "verdict", "size", "accuracy", "latency ratio")
    rows = [
        [
            f'<a href="#row-{number}">{escape(row_name(row))}</a>',
            _word(row.status),
            *_now(row),
        ]
        for number, row in enumerate(result.rows, 1)
    ]
    return f"<section><h2>Rows</h2>{_table('Rows', heads, rows)}</section>"


def _now(result: RowResult) -> list[str]:
    """The value of this run by kind, '' where there is none."""
    found = {made.kind.key: made for made in series(result)}
    cells = []
    for key in ("size_bytes", "accuracy", "latency_ratio"):
        made = found.get(key)
        value = made.values[-1] if made else None
        cells.append("" if made is None or value is None else escape(made.kind.show(value)))
    return cells


def _row(result: RowResult, anchor: str) -> str:
    title = f'<h2 id="{anchor}">{escape(row_name(result))} {_word(result.status)}</h2>'
    time = f" · {format_seconds(result.seconds)}" if result.seconds else ""
    parts = [title, f'<p class="muted">{escape(about(result.row))}{time}</p>']
    if result.error or result.skipped:
        parts.append(f'<p class="error">{escape(error_text(result))}</p>')
    if result.findings:
        heads = ("metric", "value", "held against", "difference", "verdict", "set by")
        cells = [list(_cells(finding, result.row)) for finding in result.findings]
        parts.append(_table(f"Findings of {row_name(result)}", heads, cells))
    parts += [_history(result), _notes(result.notes)]
    return f'<section class="row">{"".join(parts)}</section>'


def _cells(finding: Finding, row: CheckRow) -> Iterator[str]:
    reason = escape(safe(finding.reason, most=400))
    below = f'<div class="muted">{reason}</div>' if reason else ""
    yield escape(label(finding))
    yield escape(value_text(finding)) or "–"
    yield escape(threshold_text(finding))
    yield f"{escape(difference_text(finding))}{below}"
    yield _word(finding.status)
    yield escape(short_source(finding, row)).replace("max_regression.", "max_regression.<wbr>")


def _history(result: RowResult) -> str:
    boxes = []
    for made in series(result):
        drawn, caption = chart(made)
        boxes.append(
            f"<figure><h3>{escape(made.kind.title)}</h3>{drawn}"
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    return f'<div class="runs">{"".join(boxes)}</div>' if boxes else ""


def _notes(notes: tuple[str, ...]) -> str:
    items = "".join(f"<li>{escape(safe(note, most=400))}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>' if items else ""


def _machine(result: GateResult) -> str:
    rows = [
        [escape(safe(name)), escape(safe(value, most=200))]
        for name, value in result.machine.items()
        if value is not None and value != ""
    ]
    table = _table("Machine", ("", ""), rows)
    return f"<details><summary>The machine that measured</summary>{table}</details>" if rows else ""


def _cell(head: str, content: str) -> str:
    """Long texts may break, figures and verdicts may not."""
    name = {"held against": "k held", "difference": "k note", "set by": "k key"}.get(head, "k")
    return f'<td class="{name}">{content}</td>'


def _table(title: str, heads: tuple[str, ...], rows: list[list[str]]) -> str:
    """A table that scrolls inside its box where the page is narrow; cells are markup already."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    top = f"<thead><tr>{head}</tr></thead>" if any(heads) else ""
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(map(_cell, heads[1:], rest))}</tr>'
        for first, *rest in rows
    )
    box = f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(title)}">'
    return f"{box}<table>{top}<tbody>{body}</tbody></table></div>"
