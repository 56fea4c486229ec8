"""The printed lines of a check, and the words that all its outputs share."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.check_reports import _values as values
from edgekit.check_reports import _wording as wording
from edgekit.check_reports import terminal
from edgekit.core.gate import CheckRow, Finding, GateResult, RowResult
from edgekit.core.limits import Limits, SourcedLimits

ROW = CheckRow("kws", "kws.keras", "cpu-litert", SourcedLimits(Limits(), "edgekit.toml"))


def finding(metric: str = "max_size", unit: Any = "bytes", **changes: Any) -> Finding:
    made = Finding(metric, "limit", "fail", unit, 61_200, 60_000, f"edgekit.toml: {metric}")
    return replace(made, **changes)


def regression(metric: str, unit: Any, value: float, baseline: float, bound: float) -> Finding:
    source = f"edgekit.toml: max_regression.{metric}"
    file = "baselines/kws.json"
    return Finding(
        metric, "regression", "fail", unit, value, bound, source, baseline, baseline_file=file
    )


def run_of(*rows: RowResult) -> GateResult:
    return GateResult(rows, "edgekit.toml", "0.1.0", "", {})


def test_a_broken_limit_names_value_limit_difference_and_key() -> None:
    assert wording.finding_text(finding(), ROW) == (
        "size: 61.2 kB, limit 60 kB, 1.20 kB over; to accept it, edit edgekit.toml: max_size"
    )


def test_a_regression_names_baseline_change_file_and_command() -> None:
    text = wording.finding_text(regression("size", "bytes", 61_200, 58_100, 58_681), ROW)
    assert text == (
        "size: 61.2 kB, baseline 58.1 kB, allowed up to 58.7 kB (+1 %), +5.34 %; to accept it, run "
        "`edgekit check --accept kws` (it rewrites baselines/kws.json), "
        "or edit edgekit.toml: max_regression.size"
    )


def test_accuracy_changes_are_points_and_may_fall_to_a_bound() -> None:
    text = wording.finding_text(regression("accuracy", "share", 0.93, 0.94, 0.935), ROW)
    assert "93 %, baseline 94 %, allowed down to 93.5 % (-0.5 pt), -1.0 pt;" in text


def test_a_change_too_small_for_one_digit_is_seen() -> None:
    text = values.difference_text(regression("accuracy", "share", 0.9399, 0.94, 0.9399))
    assert text == "-0.010 pt"


def test_values_that_round_to_the_same_text_keep_all_digits() -> None:
    text = wording.finding_text(finding(value=60_001), ROW)
    assert "60,001 B, limit 60,000 B" in text
    text = wording.finding_text(finding("max_latency", "ns", value=2_500_001, bound=2_500_000), ROW)
    assert "2,500,001 ns, limit 2,500,000 ns" in text


def test_a_small_change_within_the_bound_needs_no_more_digits() -> None:
    found = regression("memory", "bytes", 42_938_368, 42_926_080, 45_072_384)
    assert wording.finding_text(replace(found, status="pass"), ROW) == (
        "memory: 42.9 MB, baseline 42.9 MB, allowed up to 45.1 MB (+5 %), +0.0286 %"
    )


def test_no_change_of_a_share_is_no_change() -> None:
    assert values.difference_text(regression("delegated", "share", 1.0, 1.0, 1.0)) == "±0.0 pt"


def test_a_latency_ratio_side_by_side_is_of_the_baseline() -> None:
    found = replace(regression("latency", "ratio", 1.05, 1.0, 1.03), interval=(1.04, 1.06))
    text = wording.finding_text(found, ROW)
    assert text.startswith("latency: 1.05x [1.04x, 1.06x], allowed up to 1.03x of the baseline, +5")


@pytest.mark.parametrize(
    ("unit", "interval", "shown"),
    [
        ("ns", (1.02, 1.06), "+5 % [1.02x, 1.06x]"),
        ("share", (-0.02, 0.0), "+5.0 pt [-2.0 pt, ±0.0 pt]"),
        ("ns", (0.9, 1.1), "+5 %"),
    ],
)
def test_an_interval_beside_the_value_is_of_the_change(
    unit: Any, interval: tuple[float, float], shown: str
) -> None:
    value = {"ns": 1.05, "share": 1.0}[unit] if interval == (0.9, 1.1) else None
    if value is not None:
        found = replace(regression("x", unit, 1.05, 1.0, 2.0), interval=interval)
        assert "[1 ns, 1 ns]" in values.value_text(found)
    else:
        before = {"ns": 1000.0, "share": 0.9}[unit]
        after = {"ns": 1050.0, "share": 0.95}[unit]
        found = replace(regression("x", unit, after, before, 2.0), interval=interval)
    assert values.difference_text(found) == shown


def test_least_values_say_so() -> None:
    found = finding("min_agreement", "share", value=0.96, bound=0.97)
    assert "96 %, limit ≥ 97 %, 1.0 pt under" in wording.finding_text(found, ROW)


def test_what_could_not_be_measured_says_why_and_what_to_remove() -> None:
    found = finding(status="unmeasured", value=None, reason="emulated")
    assert wording.finding_text(found, ROW) == (
        "size: could not be measured: emulated; it is held against the limit 60 kB: "
        "measure it, or remove edgekit.toml: max_size"
    )
    silent = replace(found, reason="", bound=None, source="")
    assert wording.finding_text(silent, ROW) == ("size: could not be measured: no reason was given")


def test_an_improvement_asks_to_tighten_the_limit() -> None:
    found = replace(regression("size", "bytes", 50_000, 58_100, 58_681), status="improved")
    text = wording.finding_text(found, ROW)
    assert "-13.9 %; tighten the limit: run `edgekit check --accept kws`" in text
    of_limit = finding(status="improved", value=50_000)
    assert "tighten the limit: edit edgekit.toml: max_size" in wording.finding_text(of_limit, ROW)


def test_equal_bound_and_baseline_know_which_way_is_worse() -> None:
    down = regression("accuracy", "share", 0.93, 0.94, 0.94)
    up = regression("size", "bytes", 61_200, 58_100, 58_100)
    assert "allowed down to 94 %" in values.threshold_text(down)
    assert "allowed up to 58.1 kB (no change)" in values.threshold_text(up)


def test_a_baseline_of_nothing_has_no_per_cent() -> None:
    text = values.difference_text(regression("memory", "bytes", 10, 0, 0))
    assert text == "10 B more"


def test_absolute_paths_do_not_travel() -> None:
    found = finding(source="/home/somebody/p/edgekit.toml: max_size")
    assert "/home" not in wording.finding_text(found, ROW)
    row = replace(ROW, model="/home/somebody/kws.keras", data="npz:/home/somebody/kws.npz")
    assert wording.about(row) == "kws.keras · cpu-litert · npz:kws.npz"


@given(
    unit=st.sampled_from(["bytes", "ns", "points", "share", "ratio", "p", "count"]),
    numbers=st.tuples(*[st.one_of(st.none(), st.floats(width=32))] * 3),
    kind=st.sampled_from(["limit", "regression"]),
    status=st.sampled_from(["pass", "fail", "unmeasured", "improved"]),
)
def test_any_numbers_make_one_line(unit: Any, numbers: Any, kind: Any, status: Any) -> None:
    value, bound, baseline = numbers
    ends = (value, value) if value is not None and not math.isnan(value) else None
    made = Finding("x", kind, status, unit, value, bound, "s", baseline, ends)
    text = wording.finding_text(made, ROW)
    assert text.startswith("x: ")
    assert "\n" not in text


def test_colour_only_where_asked_for(failed_run: GateResult) -> None:
    assert "\x1b" not in terminal.render(failed_run)
    assert "\x1b[1;31mFAIL" in terminal.render(failed_run, color=True)


def test_more_notes_than_fit_are_counted() -> None:
    text = terminal.render(run_of(RowResult(ROW, notes=tuple("abcde"))))
    assert "note: c\n    (+2 more in result.json)\n" in text


def test_a_run_of_nothing_is_one_line() -> None:
    assert terminal.render(run_of()) == "0 rows\n"


def test_sentences_of_a_row_are_all_that_failed_and_why() -> None:
    result = RowResult(
        ROW, (finding(), finding(status="pass")), error="the board is gone", hint="plug it in"
    )
    limit, error = terminal.sentences(result)
    assert limit.startswith("size: 61.2 kB, limit 60 kB")
    assert error == "the board is gone (hint: plug it in)"


def test_hostile_names_stay_in_their_line(hostile_run: GateResult) -> None:
    text = terminal.render(hostile_run)
    starts = {line.split()[0] for line in text.splitlines()}
    assert starts == {"FAIL", "unmeasured", "improved", "skipped", "note:", "(+2", "3"}
    assert "##[" not in text
