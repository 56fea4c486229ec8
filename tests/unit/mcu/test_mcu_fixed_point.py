"""The reference kernels' arithmetic, against real numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.mcu._fixed_point import (
    clamp,
    divide_by_pot,
    exp_on_negative_values,
    float32,
    high_multiply,
    multiply,
    quantize_multiplier,
    round_away,
)
from edgekit.mcu.ops.mean import mean_multiplier
from edgekit.mcu.ops.softmax import exponentials

int32 = st.integers(-(2**31), 2**31 - 1)


@given(st.floats(width=64, allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30))
def test_float32_is_that_of_the_hardware(value: float) -> None:
    assert float32(value) == float(np.float32(value))


@given(st.floats(-1e9, 1e9))
def test_halves_are_rounded_away_from_zero(value: float) -> None:
    exact = Fraction(value)
    nearest = math.floor(abs(exact) + Fraction(1, 2))
    assert round_away(value) == (nearest if value >= 0 else -nearest)


@given(st.floats(2**-31, 2.0**30))
def test_a_multiplier_is_the_real_number_to_31_bits(real: float) -> None:
    multiplier, shift = quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert math.ldexp(multiplier, shift - 31) == pytest.approx(real, rel=2**-30)


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.0, (0, 0)),
        (1e-12, (0, 0)),
        (1.0, (2**30, 1)),
        (1 - 2**-40, (2**30, 1)),
    ],
)
def test_multipliers_at_the_edges(real: float, expected: tuple[int, int]) -> None:
    assert quantize_multiplier(real) == expected


@given(int32, st.integers(0, 31))
def test_division_rounds_to_the_nearest(value: int, exponent: int) -> None:
    exact = Fraction(abs(value), 2**exponent)
    nearest = math.floor(exact + Fraction(1, 2))
    assert divide_by_pot(value, exponent) == (nearest if value >= 0 else -nearest)


@given(int32, int32)
def test_high_multiplication_rounds_to_the_nearest(a: int, b: int) -> None:
    error = high_multiply(a, b) - Fraction(a * b, 2**31)
    assert abs(error) <= Fraction(1, 2) or (a, b) == (-(2**31), -(2**31))


def test_the_one_product_that_overflows_saturates() -> None:
    assert high_multiply(-(2**31), -(2**31)) == 2**31 - 1


@given(st.integers(-(2**20), 2**20), st.floats(1e-6, 100))
def test_multiplication_is_within_one_of_the_real_product(value: int, real: float) -> None:
    multiplier, shift = quantize_multiplier(real)
    if abs(value) << max(shift, 0) < 2**31:
        assert abs(multiply(value, multiplier, shift) - value * real) <= 1


@given(st.integers(-(2**31), 0))
def test_exp_is_within_a_millionth(raw: int) -> None:
    assert exp_on_negative_values(raw) / 2**31 == pytest.approx(math.exp(raw / 2**26), abs=1e-6)


@given(st.integers(), st.integers(-9, 0), st.integers(0, 9))
def test_clamp(value: int, low: int, high: int) -> None:
    assert clamp(value, low, high) == sorted((low, value, high))[1]


@given(st.floats(0.001, 4), st.integers(1, 5000))
def test_the_multiplier_of_a_mean_divides_by_the_count(real: float, count: int) -> None:
    multiplier, shift = mean_multiplier(real, count)
    assert math.ldexp(multiplier, shift - 31) == pytest.approx(real / count, rel=1e-8)
    assert multiplier < 2**31


def test_exponentials_stop_where_the_reference_takes_them_as_zero() -> None:
    assert len(exponentials(0.01)) == 256
    assert len(exponentials(1.0)) == 16
    assert exponentials(1.0)[1] / 2**31 == pytest.approx(math.exp(-1), abs=1e-6)
    assert exponentials(1e9) == [2**31 - 1]
    assert exponentials(0.0) == []
