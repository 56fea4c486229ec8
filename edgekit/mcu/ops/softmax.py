"""SOFTMAX along the last axis, in fixed point."""

from __future__ import annotations

import math

from edgekit.mcu._code import Code
from edgekit.mcu._fixed_point import exp_on_negative_values, high_multiply, quantize_multiplier
from edgekit.mcu._graph import Node

__all__ = ["exponentials", "softmax"]

_INTEGER_BITS = 5
_STEPS = 256


def softmax(node: Node, code: Code) -> None:
    """exp() is a table, with an entry for each distance that a value can have to the largest."""
    source = node.input(0)
    output = node.output(source.shape)
    if output.zero_point != -128 or abs(output.scale * 256 - 1) > 0.001:
        node.refuse(
            f"has an output of scale {output.scale} and zero point {output.zero_point}, where "
            "1/256 and -128 are understood"
        )
    if not source.shape:
        node.refuse("has an input without axes")
    depth = source.shape[-1]
    table = exponentials(node.options.real(0) * source.scale)
    if not table:
        node.refuse(
            f"has the scale {source.scale} and beta {node.options.real(0)}, too small or too large"
        )
    if depth >= 1 << 12:
        node.refuse(f"has {depth} classes, where 4095 fit the sum")
    struct = code.struct(
        "EkSoftmax",
        {
            "rows": source.size // depth,
            "depth": depth,
            "steps": len(table),
            "exponentials": code.constant("int32_t", table),
        },
    )
    code.call("ek_softmax", "ek_softmax", struct, code.place(source), code.place(output))


def exponentials(scale: float) -> list[int]:
    """exp(-scale * d) with 31 fractional bits for d = 0, 1, ...; the rest counts as 0.

    Empty where the reference kernel refuses the scale.
    """
    real = min(scale * (1 << (31 - _INTEGER_BITS)), 2.0**31 - 1)
    if not real > 1:
        return []
    multiplier, shift = quantize_multiplier(real)
    radius = math.floor(((1 << _INTEGER_BITS) - 1) * (1 << (31 - _INTEGER_BITS)) / (1 << shift))
    return [
        exp_on_negative_values(high_multiply(-distance << shift, multiplier))
        for distance in range(min(radius + 1, _STEPS))
    ]
