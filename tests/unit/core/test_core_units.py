"""Units are read and printed the same way everywhere."""

from __future__ import annotations

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit import units


def unit_of(annotated: object) -> units.Unit:
    return typing.get_args(annotated)[1]


@pytest.mark.parametrize(
    ("annotated", "text", "value"),
    [
        (units.Bytes, "256 kB", 256_000),
        (units.Bytes, "1.5MiB", 1_572_864),
        (units.Bytes, "12 B", 12),
        (units.Nanoseconds, "2.5 ms", 2_500_000),
        (units.Points, "1 pt", 0.01),
        (units.Share, "97 %", 0.97),
    ],
)
def test_reads_a_number_with_its_unit(annotated: object, text: str, value: float) -> None:
    assert unit_of(annotated).parse(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("annotated", "text", "message"),
    [
        (units.Bytes, 256, "256 has no unit; write a size like '256 kB'"),
        (units.Bytes, "256", "'256' has no unit; a size is in B, kB, MB, GB, KiB, MiB, GiB, "),
        (units.Bytes, "256 kb", "'256 kb' has the unit 'kb'; a size is in B, kB"),
        (units.Bytes, "-1 kB", "'-1 kB' is negative"),
        (units.Points, "1 %", "'1 %' has the unit '%'; a difference of percentages is in pt"),
        (units.Share, "lots", "'lots' is not a share; write it like '97 %'"),
    ],
)
def test_refuses_what_has_no_right_unit(annotated: object, text: object, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(")):
        unit_of(annotated).parse(text)


@given(st.integers(0, 10**12))
def test_a_printed_size_reads_back_within_its_digits(size: int) -> None:
    printed = units.format_bytes(size)
    assert unit_of(units.Bytes).parse(printed) == pytest.approx(size, rel=0.006)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "±0.0 pt"), (-0.0004, "±0.0 pt"), (-0.01, "-1.0 pt"), (0.0042, "+0.4 pt")],
)
def test_prints_points_with_a_sign(value: float, text: str) -> None:
    assert units.format_points(value) == text


def test_prints_times_from_ns_to_minutes() -> None:
    shown = [units.format_nanoseconds(ns) for ns in (812, 2_500, 1_250_000, 3_000_000_000)]
    assert shown == ["812 ns", "2.50 us", "1.25 ms", "3.00 s"]
    assert [units.format_seconds(s) for s in (0.41, 9.2, 61, 600)] == [
        "0.4 s", "9.2 s", "61 s", "10 min",
    ]  # fmt: skip
