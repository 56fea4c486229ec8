"""The four outputs of three whole reports, compared with the files in tests/golden."""

from __future__ import annotations

import re
from collections.abc import Callable

from edgekit.core.report import Report
from edgekit.reporters import html, json, markdown, terminal

Compare = Callable[[str, str], None]


def test_terminal_is_as_agreed(named_report: tuple[str, Report], golden: Compare) -> None:
    name, report = named_report
    golden(f"report_{name}.txt", terminal.render(report))


def test_json_is_as_agreed(named_report: tuple[str, Report], golden: Compare) -> None:
    name, report = named_report
    golden(f"report_{name}.json", json.render(report))


def test_markdown_is_as_agreed(named_report: tuple[str, Report], golden: Compare) -> None:
    name, report = named_report
    golden(f"report_{name}.md", markdown.render(report))


def test_html_without_drawings_is_as_agreed(
    named_report: tuple[str, Report], golden: Compare
) -> None:
    name, report = named_report
    page = re.sub(r"<svg.*?</svg>", "<svg></svg>", html.render(report), flags=re.S)
    page = re.sub(r"<style>.*?</style>", "<style></style>", page, flags=re.S)
    golden(f"report_{name}.html", page.replace("</tr>", "</tr>\n").replace("</div>", "</div>\n"))
