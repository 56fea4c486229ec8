"""Multiply-accumulates of TFLite ops, from tensor shapes alone."""

from __future__ import annotations

import math
from collections.abc import Callable

from edgekit.frameworks.tflite import Operation, Tensor

__all__ = ["count"]

_Shapes = list[tuple[int, ...]]


def count(operation: Operation, tensors: tuple[Tensor, ...]) -> int | None:
    """The multiply-accumulates of an op, or None where no rule counts them."""
    rule = _RULES.get(operation.kind)
    if rule is None or not operation.outputs:
        return None
    shapes = [tensors[index].shape if index >= 0 else () for index in operation.inputs]
    output = tensors[operation.outputs[0]].shape
    if any(size < 0 for shape in (*shapes, output) for size in shape):
        return None
    try:
        return rule(shapes, output)
    except (IndexError, ZeroDivisionError):
        return None


def _conv(inputs: _Shapes, output: tuple[int, ...]) -> int:
    """The filter is (out, height, width, in / groups)."""
    return math.prod(output) * math.prod(inputs[1][1:])


def _depthwise(inputs: _Shapes, output: tuple[int, ...]) -> int:
    """The filter is (1, height, width, out)."""
    return math.prod(output) * inputs[1][1] * inputs[1][2]


def _conv_3d(inputs: _Shapes, output: tuple[int, ...]) -> int:
    """The filter is (depth, height, width, in, out)."""
    return math.prod(output) * math.prod(inputs[1][:4])


def _transpose_conv(inputs: _Shapes, output: tuple[int, ...]) -> int:
    """Inputs are the output shape, the filter (out, height, width, in), and the activation."""
    return math.prod(inputs[2]) * math.prod(inputs[1][:3])


def _fully_connected(inputs: _Shapes, output: tuple[int, ...]) -> int:
    """The weights are (units, depth)."""
    return math.prod(output) * inputs[1][1]


def _batch_matmul(inputs: _Shapes, output: tuple[int, ...]) -> int:
    """Holds with either operand transposed: its last two axes are the rows and the depth."""
    depth = math.prod(inputs[0][-2:]) // output[-2]
    return math.prod(output) * depth


_RULES: dict[str, Callable[[_Shapes, tuple[int, ...]], int]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "CONV_3D": _conv_3d,
    "TRANSPOSE_CONV": _transpose_conv,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
}
