"""A limit is held against what was measured; unmeasured is never a pass."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from edgekit.core.data import Judgement, Score
from edgekit.core.limits import Limits, SourcedLimits, Verdict, judge, worst
from edgekit.core.measurement import Latency, Measurements, Memory
from edgekit.core.runner import OpPlacement, Placement

FLOAT = Score("accuracy", 0.98, (0.96, 0.99), 450, by_class={"cat": 0.9, "dog": 0.8})
INT8 = replace(FLOAT, value=0.975, by_class={"cat": 0.91, "dog": 0.7})
JUDGEMENT = Judgement(FLOAT, INT8, 0.99, 3, 1, 0.009, p_worse=0.05)
RESULT = Measurements(
    digest="d",
    size_bytes=1000,
    size_compressed_bytes=800,
    score=INT8,
    latency=Latency("measured", median_ns=500, ratio_to_reference=1.1, ratio_ci95=(0.9, 1.2)),
    memory=Memory("measured", peak_bytes=10_000),
    placement=Placement(
        (OpPlacement(0, "CONV", "NPU", "int8"), OpPlacement(1, "SOFTMAX", "CPU", "int8", "float"))
    ),
)
REFERENCE = replace(RESULT, size_compressed_bytes=2000)
UNMEASURED = replace(
    RESULT,
    latency=Latency("unmeasured", "the process crashed"),
    memory=Memory("unmeasured", "no /proc here"),
)


def verdict(
    limits: Limits, result: Measurements = RESULT, judgement: Judgement | None = JUDGEMENT
) -> Verdict:
    (found,) = judge((SourcedLimits(limits, "t.toml"),), result, judgement, reference=REFERENCE)
    return found


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        (Limits(max_size=1000), "pass"),
        (Limits(max_size=999), "fail"),
        (Limits(max_memory=9_999), "fail"),
        (Limits(max_latency=500), "pass"),
        (Limits(max_latency=499), "fail"),
        (Limits(max_accuracy_drop=0.005), "pass"),
        (Limits(max_accuracy_drop=0.004), "fail"),
        (Limits(min_agreement=0.99), "pass"),
        (Limits(min_agreement=0.991), "fail"),
        (Limits(max_latency_ratio=1.0), "pass"),
        (Limits(max_latency_ratio=0.89), "fail"),
        (Limits(max_compressed_ratio=0.4), "pass"),
        (Limits(max_compressed_ratio=0.39), "fail"),
        (Limits(min_p_worse=0.05), "pass"),
        (Limits(min_p_worse=0.06), "fail"),
    ],
)
def test_judges_each_limit_at_its_bound(limits: Limits, status: str) -> None:
    assert verdict(limits).status == status


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(max_latency=500), "the process crashed"),
        (Limits(max_latency_ratio=1.0), "the process crashed"),
        (Limits(max_memory=1), "no /proc here"),
        (Limits(max_accuracy_drop=0.01), "no validation data was given (--data)"),
        (Limits(min_agreement=0.9), "no validation data was given (--data)"),
        (Limits(min_p_worse=0.05), "no validation data was given (--data)"),
    ],
)
def test_what_was_not_measured_is_not_passed(limits: Limits, reason: str) -> None:
    found = verdict(limits, UNMEASURED, None)
    assert (found.value, found.status, found.reason) == (None, "unmeasured", reason)


def test_every_limit_that_exists_is_observed() -> None:
    every = Limits(**{item.name: 0.5 for item in fields(Limits)})
    found = judge((SourcedLimits(every, "t.toml"),), RESULT, JUDGEMENT, reference=REFERENCE)
    assert [item.metric for item in found] == [item.name for item in fields(Limits)]
    assert all(item.source == "t.toml" and item.value is not None for item in found)


def test_without_a_reference_no_ratio_is_passed() -> None:
    limits = SourcedLimits(Limits(max_compressed_ratio=0.5), "t.toml")
    (found,) = judge((limits,), RESULT, JUDGEMENT)
    assert (found.status, found.reason) == (
        "unmeasured", "there is no reference to compare with",
    )  # fmt: skip


def test_the_class_that_lost_most_is_named() -> None:
    found = verdict(Limits(worst_class_drop=0.05))
    assert (found.status, round(found.value or 0, 6), found.reason) == ("fail", 0.1, "class dog")
    bare = replace(JUDGEMENT, result=replace(INT8, by_class={}))
    assert verdict(Limits(worst_class_drop=0.05), judgement=bare).status == "unmeasured"


def test_what_a_delegate_took_is_a_share_of_all_ops() -> None:
    assert verdict(Limits(min_delegated=0.5)).status == "pass"
    assert verdict(Limits(min_delegated=1.0)).status == "fail"
    unknown = replace(RESULT, placement=Placement((), "the runtime does not say"))
    found = verdict(Limits(min_delegated=0.5), unknown)
    assert (found.status, found.reason) == ("unmeasured", "the runtime does not say")
    with pytest.raises(ValueError, match="min_delegated cannot be over 100 %"):
        Limits(min_delegated=1.5)


def test_times_of_another_machine_are_unmeasured() -> None:
    limits = SourcedLimits(Limits(max_size=2000, max_latency=1, max_memory=1), "t.toml")
    found = judge((limits,), RESULT, JUDGEMENT, elsewhere="measured on a desk")
    assert [(item.metric, item.status) for item in found] == [
        ("max_size", "pass"),
        ("max_latency", "unmeasured"),
        ("max_memory", "unmeasured"),
    ]
    assert found[1].reason == "measured on a desk"


def test_an_error_metric_that_rises_is_a_drop() -> None:
    error = replace(FLOAT, metric="error", value=0.02, higher_is_better=False)
    worse = Judgement(error, replace(error, value=0.04), None, None, None, None)
    assert verdict(Limits(max_accuracy_drop=0.01), judgement=worse).status == "fail"


def test_a_metric_that_is_no_share_has_no_points() -> None:
    mae = replace(FLOAT, metric="MAE", is_share=False)
    found = verdict(Limits(max_accuracy_drop=0.01), judgement=replace(JUDGEMENT, result=mae))
    assert (found.status, found.reason) == (
        "unmeasured", "MAE is not a share, so it has no points",
    )  # fmt: skip


def test_the_worst_verdict_is_the_status() -> None:
    passed, failed = verdict(Limits(max_size=1000)), verdict(Limits(max_size=1))
    unmeasured = verdict(Limits(max_memory=1), UNMEASURED)
    assert worst((passed, unmeasured, failed)) == "fail"
    assert worst((passed, unmeasured)) == "unmeasured"
    assert worst((passed,)) == worst(()) == "pass"


def test_a_broken_share_names_the_ops_and_an_estimate_says_so() -> None:
    ops = (
        OpPlacement(0, "CONV_2D", "NPU", "int8"),
        OpPlacement(1, "QUANTIZE", "CPU", "int8", "x"),
    )
    found = replace(
        RESULT,
        placement=Placement(ops),
        latency=Latency("estimated", "a compiler's word", median_ns=10),
    )
    limits = SourcedLimits(Limits(min_delegated=1.0, max_latency=20), "t")
    delegated, latency = judge((limits,), found, None)
    assert delegated.status == "fail"
    assert delegated.reason == "1 of 2 ops stay on the CPU: QUANTIZE (x)"
    assert (latency.status, latency.reason) == ("pass", "estimated: a compiler's word")
