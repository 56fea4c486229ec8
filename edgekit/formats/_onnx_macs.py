"""Multiply-accumulates of ONNX nodes, from inferred shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["Shape", "count", "count_all"]

Shape = tuple[int | None, ...]

_WEIGHT_INPUT = {
    **dict.fromkeys(("Conv", "ConvInteger", "ConvTranspose", "Gemm", "MatMul"), 1),
    "MatMulInteger": 1,
    "QLinearConv": 3,
    "QLinearMatMul": 3,
}


def _is_counted(node: Any) -> bool:
    """There is a rule for this op."""
    weight = _WEIGHT_INPUT.get(node.op_type)
    return weight is not None and node.domain in ("", "ai.onnx") and len(node.input) > weight


def count_all(nodes: Sequence[Any], shapes: dict[str, Shape]) -> list[int | None]:
    """The counts of all nodes; none where open sizes hide one: a part would look like the whole."""
    found = [count(node, shapes) for node in nodes]
    hidden = any(
        macs is None and _is_counted(node) for node, macs in zip(nodes, found, strict=True)
    )
    return [None] * len(found) if hidden else found


def count(node: Any, shapes: dict[str, Shape]) -> int | None:
    """The multiply-accumulates of a node for a batch of 1 where the batch is dynamic, or None."""
    if not _is_counted(node):
        return None
    weight = _WEIGHT_INPUT[node.op_type]
    names = (node.input[0], node.input[weight], node.output[0])
    known = [_sizes(shapes.get(name)) for name in names]
    data, kernel, output = known
    if data is None or kernel is None or output is None:
        return None
    if node.op_type == "ConvTranspose":
        return math.prod(data) * math.prod(kernel[1:])
    if "Conv" in node.op_type:
        return math.prod(output) * math.prod(kernel[1:])
    if not data:
        return None
    transposed = any(item.name == "transA" and item.i for item in node.attribute)
    return math.prod(output) * data[0 if transposed else -1]


def _sizes(shape: Shape | None) -> tuple[int, ...] | None:
    if shape is None or any(size is None for size in shape[1:]):
        return None
    return tuple(1 if size is None else size for size in shape)
