"""report.html and its plots."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from edgekit.core.description import Weight
from edgekit.core.report import Report
from edgekit.reporters import html

HOSTILE = "<script>alert('x')</script>\"$\\frac&日本"
VOID = {"meta", "br", "hr", "img", "link"}


class _Page(HTMLParser):
    """Collects tags, ids and attributes, and checks that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def drawings(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, flags=re.S)


def hostile(report: Report) -> Report:
    """The report with every name that a file or a user can choose set to markup."""
    weights = tuple(
        Weight(f"{HOSTILE}{weight.name}", weight.shape, weight.dtype, weight.size_bytes)
        for weight in report.result_description.weights
    )
    score = report.result.score
    assert score is not None
    named = replace(score, metric=HOSTILE, by_class={f"{HOSTILE}{k}": 0.5 for k in score.by_class})
    ops = tuple(replace(op, kind=HOSTILE, reason=HOSTILE) for op in report.result.placement.ops)
    placement = replace(report.result.placement, ops=ops)
    return replace(
        report,
        title=HOSTILE,
        recipe=HOSTILE,
        machine={HOSTILE: {HOSTILE: HOSTILE}},
        steps=tuple(replace(step, name=HOSTILE) for step in report.steps),
        reference=replace(report.reference, score=named),
        result=replace(report.result, score=named, placement=placement),
        reference_description=replace(report.reference_description, weights=weights),
        result_description=replace(report.result_description, weights=weights),
        verdicts=tuple(replace(verdict, source=HOSTILE) for verdict in report.verdicts),
    )


def test_page_is_well_formed_with_ids_of_its_own(named_report: tuple[str, Report]) -> None:
    page = _Page(html.render(named_report[1]))
    assert max(Counter(page.ids).values(), default=1) == 1
    assert page.tags["h1"] == 1


def test_page_loads_nothing_and_runs_nothing(named_report: tuple[str, Report]) -> None:
    text = html.render(named_report[1])
    page = _Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    links = [
        value
        for name, value in page.attributes
        if name in ("src", "href", "xlink:href", "action") and not (value or "").startswith("#")
    ]
    assert links == []
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text


def test_names_with_markup_are_text_everywhere(report: Report) -> None:
    text = html.render(hostile(report))
    page = _Page(text)
    assert page.tags["script"] == 0
    assert "&lt;script&gt;" in text
    assert len(drawings(text)) == 3


def test_drawings_are_xml_with_a_label_each(failing_report: Report) -> None:
    found = drawings(html.render(failing_report))
    roots = [ElementTree.fromstring(drawing) for drawing in found]
    assert [root.get("role") for root in roots] == ["img"] * 3
    assert [root.get("aria-label") for root in roots] == [
        "Bytes by tensor: reference 23.0 kB, result 8.70 kB",
        "Latency distribution: reference median 43.0 us, result median 61.0 us",
        "Change by class: 4 of 10 classes differ.",
    ]
    texts = ["".join(root.itertext()) for root in roots]
    assert "dense/kernel" in texts[0]
    assert "-4.0 pt" in texts[2]


def test_drawings_have_the_colours_of_the_page(report: Report) -> None:
    for drawing in drawings(html.render(report)):
        assert "var(--" in drawing
        assert set(re.findall(r"#[0-9a-f]{6}\b", drawing)) <= {"#000000", "#ffffff"}


def test_same_report_gives_the_same_bytes(report: Report) -> None:
    assert html.render(report) == html.render(report)


def test_page_stays_small(failing_report: Report) -> None:
    assert len(html.render(failing_report).encode()) < 100_000


def test_users_matplotlib_settings_neither_matter_nor_change(report: Report) -> None:
    import matplotlib

    plain = html.render(report)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        assert html.render(report) == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_status_is_a_word_and_a_mark_not_a_colour_alone(failing_report: Report) -> None:
    text = html.render(failing_report)
    assert '<span class="status fail">✕&nbsp;FAIL</span>' in text
    assert '<span class="status pass">✓&nbsp;ok</span>' in text


def test_no_limits_is_not_shown_as_a_pass(report: Report) -> None:
    text = html.render(replace(report, verdicts=()))
    assert '<section class="verdict unmeasured"' in text
    assert "<strong>No limits set</strong>" in text


def test_what_the_time_axis_cuts_off_is_counted(failing_report: Report) -> None:
    assert "Cut off at 123.6 us: 17 of 400 of the reference, 59 of 400 of the result." in (
        html.render(failing_report)
    )


@pytest.mark.parametrize("faster", [20, 1])
def test_axis_is_logarithmic_only_where_the_models_are_far_apart(
    report: Report, faster: int
) -> None:
    latency = report.result.latency
    times = tuple(round(time / faster) for time in report.reference.latency.samples_ns)
    changed = replace(latency, samples_ns=times, median_ns=times[0])
    text = html.render(replace(report, result=replace(report.result, latency=changed)))
    assert ("Logarithmic axis." in text) == (faster > 5)


def test_many_tensors_and_classes_are_cut_to_the_largest_and_said(report: Report) -> None:
    weights = tuple(Weight(f"w{i}", (i + 1,), "int8", i + 1) for i in range(1500))
    made = replace(report.result_description, weights=weights, size_bytes=2_000_000)
    score = report.result.score
    assert score is not None
    old = replace(score, by_class={f"class {i}": 0.5 for i in range(120)})
    new = replace(score, by_class={f"class {i}": 0.5 - i / 1000 for i in range(120)})
    text = html.render(
        replace(
            report,
            result_description=made,
            reference_description=made,
            reference=replace(report.reference, score=old),
            result=replace(report.result, score=new),
        )
    )
    assert (
        "The 10 largest tensors of 1,500. The rest of the file, 1.99 MB and 1.99 MB, is not drawn."
    ) in text
    assert "119 of 120 classes differ. Shown: the 16 that changed most." in text
    assert "The 100 that changed most; report.json has all." in text
    assert "rest of the file, with 1,480 smaller tensors" in text


def test_report_without_figures_has_no_plots(unmeasured_report: Report) -> None:
    latency = replace(unmeasured_report.result.latency, samples_ns=())
    bare = replace(unmeasured_report.result_description, weights=(), bytes_by=())
    text = html.render(
        replace(
            unmeasured_report,
            result=replace(unmeasured_report.result, latency=latency),
            result_description=bare,
            reference_description=bare,
        )
    )
    assert "<svg" not in text
    assert "<figure" not in text
