"""Ops of one int8 value at a time: a table of 256 answers, made here as the kernels compute them.

LOGISTIC and TANH are tables in LiteRT too; the others multiply there, with the same answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from edgekit.mcu._code import Code
from edgekit.mcu._fixed_point import clamp, float32, multiply, quantize_multiplier, round_away
from edgekit.mcu._graph import Activation, Node
from edgekit.mcu.ops._ranges import stored

__all__ = ["logistic", "quantize", "relu", "relu6", "relu_n1_to_1", "tanh"]

_VALUES = range(-128, 128)


def logistic(node: Node, code: Code) -> None:
    """1 / (1 + exp(-x)); the output's scale is 1/256."""
    output = node.output(node.input(0).shape)
    if output.scale != 1 / 256:
        node.refuse(f"has an output of scale {output.scale}, where 1/256 is understood")
    _function(node, code, _sigmoid)


def tanh(node: Node, code: Code) -> None:
    """The hyperbolic tangent."""
    _function(node, code, math.tanh)


def quantize(node: Node, code: Code) -> None:
    """From one scale and zero point to another."""
    source = node.input(0)
    output = node.output(source.shape)
    _scaled(node, code, source.scale / output.scale, -128, 127)


def relu(node: Node, code: Code) -> None:
    """max(x, 0)."""
    _bounded(node, code, 0.0, None)


def relu6(node: Node, code: Code) -> None:
    """min(max(x, 0), 6)."""
    _bounded(node, code, 0.0, 6.0)


def relu_n1_to_1(node: Node, code: Code) -> None:
    """min(max(x, -1), 1)."""
    _bounded(node, code, -1.0, 1.0)


def _sigmoid(value: float) -> float:
    exponential = math.exp(-value) if value > -700 else math.inf
    return float32(1 / float32(1 + _finite32(exponential)))


def _finite32(value: float) -> float:
    return math.inf if value > 3.4e38 else float32(value)


def _function(node: Node, code: Code, function: Callable[[float], float]) -> None:
    """LUTPopulate: each step is rounded to float32."""
    source = node.input(0)
    output = node.output(source.shape)
    inverse = float32(1 / output.scale)
    table = []
    for value in _VALUES:
        answer = float32(function(float32(source.scale * (value - source.zero_point))))
        steps = round_away(float32(answer * inverse))
        table.append(clamp(steps + output.zero_point, -128, 127))
    _emit(code, source, output, table)


def _bounded(node: Node, code: Code, low: float, high: float | None) -> None:
    source = node.input(0)
    output = node.output(source.shape)
    top = 127 if high is None else stored(high, output)
    _scaled(node, code, float32(source.scale / output.scale), stored(low, output), top)


def _scaled(node: Node, code: Code, real: float, low: int, high: int) -> None:
    source = node.input(0)
    output = node.output(source.shape)
    multiplier, shift = quantize_multiplier(real)
    if shift > 22:
        node.refuse(f"has the scales {source.scale} and {output.scale}, too far apart for 32 bits")
    table = [
        clamp(multiply(value - source.zero_point, multiplier, shift) + output.zero_point, low, high)
        for value in _VALUES
    ]
    _emit(code, source, output, table)


def _emit(code: Code, source: Activation, output: Activation, table: list[int]) -> None:
    code.call(
        "ek_lookup",
        "ek_lookup",
        code.constant("int8_t", table),
        str(source.size),
        code.place(source),
        code.place(output),
    )
