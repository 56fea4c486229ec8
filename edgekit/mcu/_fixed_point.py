"""The reference kernels' integer arithmetic, for what is computed when the code is generated.

Names and rounding are those of LiteRT's kernels/internal and of gemmlowp's fixedpoint.h; a value
here is the same value there. float32 steps are kept as float32, because multipliers depend on them.
"""

from __future__ import annotations

import math
import struct

__all__ = [
    "clamp",
    "divide_by_pot",
    "exp_on_negative_values",
    "float32",
    "multiply",
    "quantize_multiplier",
    "round_away",
]

INT32_MAX = 2**31 - 1
_ONE_QUARTER = 1 << 24
"""1/4 with 5 integer and 26 fractional bits."""
_EXP_OF_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-2^k) for k = -2 to 4, with 31 fractional bits."""


def float32(value: float) -> float:
    """Rounds to the nearest float32; of one operation on two float32, what the hardware gives."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def clamp(value: int, low: int, high: int) -> int:
    """The nearest value in the range."""
    return max(low, min(high, value))


def round_away(value: float) -> int:
    """Rounds to the nearest integer, halves away from zero, as C's round()."""
    whole = math.trunc(value)
    return whole + (value - whole >= 0.5) - (value - whole <= -0.5)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """`real` as (multiplier with 31 fractional bits, shift): real = multiplier / 2^31 * 2^shift.

    Tiny values become 0 (QuantizeMultiplier in quantization_util.cc).
    """
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    fixed = round_away(fraction * 2**31)
    if fixed == 2**31:
        fixed, shift = fixed // 2, shift + 1
    return (0, 0) if shift < -31 else (fixed, shift)


def multiply(value: int, multiplier: int, shift: int) -> int:
    """MultiplyByQuantizedMultiplier, with two roundings."""
    return divide_by_pot(high_multiply(value << max(shift, 0), multiplier), max(-shift, 0))


def high_multiply(a: int, b: int) -> int:
    """SaturatingRoundingDoublingHighMul: a * b / 2^31, halves towards plus infinity."""
    if a == b == -(2**31):
        return INT32_MAX
    product = a * b
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    return nudged // 2**31 if nudged >= 0 else -(-nudged // 2**31)


def divide_by_pot(value: int, exponent: int) -> int:
    """RoundingDivideByPOT: value / 2^exponent, halves away from zero."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (value < 0)
    return (value >> exponent) + ((value & mask) > threshold)


def exp_on_negative_values(value: int) -> int:
    """exp of a value <= 0 with 5 integer bits, as a number with 31 fractional bits."""
    if value == 0:
        return INT32_MAX
    below_quarter = (value & (_ONE_QUARTER - 1)) - _ONE_QUARTER
    result = _exp_near_zero(below_quarter << 5)
    remainder = below_quarter - value
    for power, constant in enumerate(_EXP_OF_POWERS, start=24):
        if remainder >> power & 1:
            result = high_multiply(result, constant)
    return result


def _exp_near_zero(value: int) -> int:
    """exp on [-1/4, 0), by a Taylor series around -1/8; all numbers have 31 fractional bits."""
    constant, third = 1895147668, 715827883
    x = value + (1 << 28)
    x2 = high_multiply(x, x)
    x3, x4 = high_multiply(x2, x), high_multiply(x2, x2)
    series = divide_by_pot(high_multiply(divide_by_pot(x4, 2) + x3, third) + x2, 1)
    return constant + high_multiply(constant, x + series)
