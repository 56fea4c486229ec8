"""check.html and check.md: well-formed, self-contained, and no name is markup."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from check_runs import RUNS

from edgekit.check_reports import html, markdown
from edgekit.check_reports._chart import chart
from edgekit.check_reports._figures import series
from edgekit.core.gate import GateResult, RowResult

VOID = {"meta", "wbr"}


class _Page(HTMLParser):
    """Collects tags and attributes, and checks that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def drawings(text: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", text, flags=re.S)


def test_page_is_well_formed_and_asks_for_nothing(any_run: GateResult) -> None:
    text = html.render(any_run)
    page = _Page(text)
    names = {name for name, _ in page.attributes}
    assert not page.tags.keys() & {"script", "link", "img", "iframe", "object", "form", "base"}
    assert not {name for name in names if name.startswith("on") or name in ("src", "srcset")}
    ids = [value for name, value in page.attributes if name == "id"]
    links = [value or "" for name, value in page.attributes if name == "href"]
    assert {link.removeprefix("#") for link in links} <= {*ids}
    assert max(Counter(ids).values(), default=1) == 1
    assert "url(" not in text
    assert "default-src 'none'" in text
    for drawing in drawings(text):
        ElementTree.fromstring(drawing)


def test_page_shows_what_failed_and_the_history(failed_run: GateResult) -> None:
    text = html.render(failed_run)
    assert "<strong>Failed</strong>" in text
    assert len(drawings(text)) == 7
    assert 'aria-label="Size of 15 runs. 61.2 kB now, 14 earlier runs."' in text
    assert ">edgekit.toml: max_size</td>" in text


@pytest.mark.parametrize(
    ("name", "word"), [("pass", "Passed"), ("unmeasured", "Not proven"), ("skipped", "Passed")]
)
def test_page_says_how_it_ended(name: str, word: str, request: pytest.FixtureRequest) -> None:
    assert f"<strong>{word}</strong>" in html.render(RUNS[name]())


def row_with(failed_run: GateResult, *values: Any, key: str = "size_bytes") -> RowResult:
    history = tuple({"utc": "2026-11-01", key: value} for value in values)
    return replace(failed_run.rows[0], history=history)


def test_history_that_is_no_number_leaves_a_gap(failed_run: GateResult) -> None:
    row = row_with(failed_run, 58_000, "58 kB", None, True, float("nan"), 1e300, 59_000, 59_100)
    size = series(row)[0]
    assert size.values == (58_000, None, None, None, None, None, 59_000, 59_100, 61_200)
    drawn, caption = chart(size)
    assert caption == "61.2 kB now, 3 earlier runs."
    assert drawn.count('<line class="run"') == 2
    assert drawn.count('<circle class="run"') == 4


def test_a_first_run_is_one_dot(failed_run: GateResult) -> None:
    drawn, caption = chart(series(row_with(failed_run))[0])
    assert caption == "61.2 kB now, 0 earlier runs."
    assert drawn.count("<circle") == 2
    assert "oldest" not in drawn


def test_a_run_without_the_value_says_so(failed_run: GateResult) -> None:
    row = replace(row_with(failed_run, 58_000, 58_000), measured=None)
    drawn, caption = chart(series(row)[0])
    assert caption == "not measured in this run, 2 earlier runs."
    assert 'class="now"' not in drawn


def test_a_bound_far_away_does_not_press_the_line_flat(failed_run: GateResult) -> None:
    findings = (replace(failed_run.rows[0].findings[0], bound=10_000_000.0),)
    row = replace(row_with(failed_run, 61_000, 61_100), findings=findings)
    drawn, caption = chart(series(row)[0])
    assert caption.endswith("; the limit, 10 MB, lies off the plot.")
    assert 'class="bound"' not in drawn


def test_only_the_last_runs_are_drawn(failed_run: GateResult) -> None:
    assert len(series(row_with(failed_run, *range(1, 500)))[0].values) == 61


def test_hostile_names_are_text_in_the_page(hostile_run: GateResult) -> None:
    text = html.render(hostile_run)
    assert "<script" not in text
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in text


def test_hostile_names_mean_nothing_in_markdown(hostile_run: GateResult) -> None:
    text = markdown.render(hostile_run)
    assert not re.search(r"<(?!/?(details|summary)\b)", text)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {7}


def test_markdown_folds_what_passed_and_opens_what_failed(failed_run: GateResult) -> None:
    text = markdown.render(failed_run)
    assert text.startswith("## ❌ edgekit check: 5 rows: 1 FAIL, 2 unmeasured, 1 skipped, 1 ok\n")
    assert "<details open><summary>❌ kws-int8</summary>" in text
    assert "<details><summary>✅ vww-int8</summary>" in text
    assert "- history.jsonl: 1 line was cut off" in text
