"""What CI servers and benchmark services read: JUnit, annotations, code quality, figures, JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from check_runs import BARE, BROKEN, run_of
from hypothesis import given
from hypothesis import strategies as st

from edgekit.check_reports import (
    bencher,
    github_annotations,
    github_benchmark,
    gitlab,
    junit,
)
from edgekit.check_reports import json as result_json
from edgekit.core.gate import GateResult, RowResult

ROOT = Path(__file__).parents[3]
RULES = json.loads((ROOT / "docs/check-result.schema.json").read_text(encoding="utf-8"))
LINE = re.compile(r"::(error|warning|notice) file=([^,:]*),line=1,title=([^,:\n]*)::(.*)")

SUITE = {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"}
INSIDE = {"skipped", "error", "failure", "system-out", "system-err"}
"""The attributes and elements of Jenkins' junit-10.xsd that we use or may use."""


def suite_of(text: str) -> ElementTree.Element:
    root = ElementTree.fromstring(text)
    assert root.tag == "testsuites"
    (suite,) = root
    return suite


def test_junit_keeps_the_schema_of_jenkins(any_run: GateResult) -> None:
    suite = suite_of(junit.render(any_run))
    assert suite.tag == "testsuite"
    assert set(suite.attrib) == SUITE
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    properties, *cases = suite
    assert [child.tag for child in properties] == ["property"] * 2
    for case in cases:
        assert case.tag == "testcase"
        assert set(case.attrib) == {"classname", "name", "time"}
        assert {child.tag for child in case} <= INSIDE
        assert len(case) <= 1
        if case and case[0].tag in ("failure", "error"):
            assert set(case[0].attrib) == {"message", "type"}
    ended = [child.tag for case in cases for child in case]
    assert suite.attrib["tests"] == str(len(cases))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert suite.attrib[attribute] == str(ended.count(tag))
    total = sum(float(case.attrib["time"]) for case in cases)
    assert total == pytest.approx(float(suite.attrib["time"]), abs=0.01)


def test_junit_cases_are_rows_and_metrics(failed_run: GateResult) -> None:
    suite = suite_of(junit.render(failed_run))
    cases = {(case.attrib["classname"], case.attrib["name"]): case for case in suite[1:]}
    assert len(cases) == len(suite) - 1
    failure = cases["edgekit.kws-int8", "size against baseline"][0]
    assert failure.attrib["type"] == "regression"
    assert "baseline 58.1 kB" in failure.attrib["message"]
    assert cases["edgekit.ic-int8", "latency"][0].tag == "error"
    assert cases["edgekit.ad-int8", "measured"][0].tag == "error"
    assert cases["edgekit.board-int8", "measured"][0].tag == "skipped"


def test_junit_names_a_second_limit_on_the_same_metric(failed_run: GateResult) -> None:
    row = failed_run.rows[0]
    twice = replace(row, findings=(row.findings[0],) * 2)
    suite = suite_of(junit.render(replace(failed_run, rows=(twice,))))
    assert [case.attrib["name"] for case in suite[1:]] == ["size", "size 2"]


@pytest.mark.parametrize(
    ("started", "written"),
    [
        ("2026-11-22T21:00:00.5+01:00", "2026-11-22T20:00:00"),
        ("2026-11-22T21:00:00Z", "2026-11-22T21:00:00"),
        ("yesterday", "1970-01-01T00:00:00"),
    ],
)
def test_junit_time_is_utc_without_a_zone(
    started: str, written: str, failed_run: GateResult
) -> None:
    suite = suite_of(junit.render(replace(failed_run, started_utc=started)))
    assert suite.attrib["timestamp"] == written


@given(text=st.text(max_size=40))
def test_any_text_makes_xml_that_parses(text: str) -> None:
    hostile = replace(BROKEN, row=replace(BROKEN.row, name=text), error=text or "x", hint=text)
    suite_of(junit.render(run_of(hostile, edgekit_version=text, started_utc=text)))


def test_annotations_are_one_line_each_worst_first(failed_run: GateResult) -> None:
    lines = github_annotations.render(failed_run).splitlines()
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found)
    commands = [match[1] for match in found if match]
    assert commands == ["error"] * 7 + ["warning", "notice"]
    assert lines[0].startswith(
        "::error file=edgekit.toml,line=1,title=kws-int8%3A worst class drop::worst class drop: 3.4"
    )
    assert "+5.34 %25; to accept it" in lines[1]


def test_more_than_ten_annotations_say_how_many_are_left(failed_run: GateResult) -> None:
    many = replace(failed_run, rows=failed_run.rows[:1] * 3)
    lines = github_annotations.render(many).splitlines()
    assert len(lines) == 10
    assert lines[-1] == "::error file=edgekit.toml,line=1,title=edgekit check::and 6 more"
    assert len(github_annotations.render(replace(many, rows=many.rows[:2])).splitlines()) == 10


def test_hostile_names_give_no_command_to_the_runner(hostile_run: GateResult) -> None:
    lines = github_annotations.render(hostile_run).split("\n")[:-1]
    assert all(LINE.fullmatch(line) for line in lines)
    assert not [line for line in lines if "\r" in line or "##[" in line]


def test_annotations_of_a_run_that_passed_are_none() -> None:
    assert github_annotations.render(run_of(BARE)) == ""
    assert json.loads(gitlab.render(run_of(BARE))) == []


def test_code_quality_has_what_gitlab_needs(any_run: GateResult) -> None:
    found = json.loads(gitlab.render(any_run))
    for item in found:
        assert set(item) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert item["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert re.fullmatch("[0-9a-f]{32}", item["fingerprint"])
        assert item["location"]["lines"] == {"begin": 1}
        assert not item["location"]["path"].startswith(("/", "./"))


def test_fingerprints_outlive_new_values_and_tell_findings_apart(failed_run: GateResult) -> None:
    row = failed_run.rows[0]
    grown = tuple(replace(finding, value=7e5, reason="other") for finding in row.findings)
    before = json.loads(gitlab.render(replace(failed_run, rows=(row,))))
    failing = {finding.metric for finding in row.findings if finding.status == "fail"}
    after = json.loads(gitlab.render(replace(failed_run, rows=(replace(row, findings=grown),))))
    prints = [item["fingerprint"] for item in before]
    assert len({*prints}) == len(prints) == 5
    assert {*prints} == {item["fingerprint"] for item in after}
    assert failing


def test_result_json_keeps_its_schema(any_run: GateResult) -> None:
    text = result_json.render(any_run)
    assert "NaN" not in text
    jsonschema.validate(json.loads(text), RULES)


def test_the_schema_refuses_what_is_not_ours(failed_run: GateResult) -> None:
    facts = json.loads(result_json.render(failed_run))
    facts["rows"][0]["status"] = "fine"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(facts, RULES)


def test_result_json_has_no_number_that_is_none(failed_run: GateResult) -> None:
    row = failed_run.rows[0]
    odd = replace(row.findings[0], value=float("nan"), bound=float("inf"))
    text = result_json.render(replace(failed_run, rows=(replace(row, findings=(odd,)),)))
    finding = json.loads(text)["rows"][0]["findings"][0]
    assert (finding["value"], finding["bound"]) == (None, None)


def test_result_json_names_no_folder_of_ours(failed_run: GateResult) -> None:
    row = failed_run.rows[0]
    named = replace(row.row, model="/home/x/kws.keras", data="npz:/home/x/kws.npz")
    run = replace(failed_run, project_file="/home/x/edgekit.toml", rows=(replace(row, row=named),))
    facts = json.loads(result_json.render(run))
    assert facts["project_file"] == "edgekit.toml"
    assert (facts["rows"][0]["model"], facts["rows"][0]["data"]) == ("kws.keras", "npz:kws.npz")


def entries(run: GateResult) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in json.loads(github_benchmark.render(run))}


def test_benchmark_entries_are_all_smaller_is_better(failed_run: GateResult) -> None:
    found = entries(failed_run)
    assert found["kws-int8 / size"]["value"] == 61_200
    missing = found["kws-int8 / 100 % - accuracy"]
    assert missing["value"] == pytest.approx(6.88)
    assert missing["range"] == "5.98 to 7.98"
    assert found["kws-int8 / latency ratio"]["range"] == "0.51 to 0.54"
    for entry in found.values():
        assert set(entry) <= {"name", "unit", "value", "range", "extra"}
        assert isinstance(entry["value"], int | float)
    assert not [name for name in found if "ad-int8" in name]


def scored(row: RowResult, **changes: Any) -> RowResult:
    assert row.measured is not None
    assert row.measured.score is not None
    score = replace(row.measured.score, **changes)
    return replace(row, measured=replace(row.measured, score=score))


def test_a_score_that_cannot_be_turned_round_is_left_out(failed_run: GateResult) -> None:
    row = scored(failed_run.rows[0], metric="psnr", value=31.2, is_share=False)
    run = replace(failed_run, rows=(row,))
    assert not [name for name in entries(run) if "psnr" in name]
    error = scored(failed_run.rows[0], metric="mae", is_share=False, higher_is_better=False)
    assert "kws-int8 / mae" in entries(replace(failed_run, rows=(error,)))


def test_bencher_metrics_have_a_value_between_their_ends(any_run: GateResult) -> None:
    for measures in json.loads(bencher.render(any_run)).values():
        for slug, metric in measures.items():
            assert re.fullmatch("[a-z-]+", slug)
            assert set(metric) in ({"value"}, {"value", "lower_value", "upper_value"})
            assert metric.get("lower_value", -1e99) <= metric["value"]


def test_figures_that_were_not_measured_are_left_out(failed_run: GateResult) -> None:
    row = failed_run.rows[0]
    assert row.measured is not None
    gone = replace(row.measured.latency, median_ns=None, ratio_to_reference=None)
    memory = replace(row.measured.memory, peak_bytes=None)
    bare = replace(row.measured, latency=gone, memory=memory, score=None)
    run = replace(failed_run, rows=(replace(row, measured=bare),))
    assert set(json.loads(bencher.render(run))["kws-int8"]) == {"file-size", "compressed-size"}
    broken = scored(row, value=float("nan"))
    assert "accuracy" not in json.loads(bencher.render(replace(run, rows=(broken,))))["kws-int8"]
