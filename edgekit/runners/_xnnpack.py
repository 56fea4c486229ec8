"""Which op XNNPACK runs, read from the interpreter, and why not the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edgekit.core.runner import OpPlacement, Placement
from edgekit.runners._litert import Kernels

__all__ = ["QUANTIZED_OPS", "read_placement"]

QUANTIZED_OPS = frozenset(
    {"ADD", "CONCATENATION", "CONV_2D", "DEPTH_TO_SPACE", "DEPTHWISE_CONV_2D", "DEQUANTIZE"}
    | {"ELU", "FULLY_CONNECTED", "LEAKY_RELU", "LOGISTIC", "MAX_POOL_2D", "MEAN", "MUL", "PAD"}
    | {"QUANTIZE", "RESHAPE", "RESIZE_BILINEAR", "SLICE", "SPACE_TO_DEPTH", "SPLIT", "SUB"}
    | {"TANH", "TRANSPOSE", "TRANSPOSE_CONV"}
)
"""The ops with 8-bit kernels, from "Quantized Operators" in LiteRT's
`tflite/delegates/xnnpack/README.md`. Only reasons are taken from it, never a placement: an op that
is missing here and that the runtime reports as delegated is reported as delegated."""

_DELEGATE = "DELEGATE"
_EIGHT_BIT = frozenset({"int8", "uint8"})
_FLOATS = frozenset({"float32", "float16"})

Row = dict[str, Any]


def read_placement(interpreter: Any, kernels: Kernels) -> Placement:
    """Says for every op of the model whether a delegate took it.

    The runtime lists the model's own ops first and one DELEGATE row for each partition after them.
    It does not say which op went into which partition, but the graph does: an op is in a partition
    where its output is reached backwards from the partition's outputs before the partition's
    inputs are.
    """
    rows = interpreter._get_ops_details()
    nodes = [row for row in rows if row["op_name"] != _DELEGATE]
    delegated = _delegated(nodes, [row for row in rows if row["op_name"] == _DELEGATE])
    changing = {int(d["index"]) for d in interpreter.get_input_details()}.union(
        *(_tensors(node, "outputs") for node in nodes)
    )
    ops = []
    for node in nodes:
        taken, dtypes = node["index"] in delegated, _dtypes(node, changing)
        where = "XNNPACK" if taken else "CPU"
        reason = "" if taken else _reason(node["op_name"], dtypes, kernels)
        ops.append(OpPlacement(node["index"], node["op_name"], where, _label(dtypes), reason))
    return Placement(tuple(ops))


def _delegated(nodes: Sequence[Row], partitions: Iterable[Row]) -> set[int]:
    producer = {tensor: node for node in nodes for tensor in _tensors(node, "outputs")}
    found: set[int] = set()
    for partition in partitions:
        borders = set(_tensors(partition, "inputs"))
        waiting = list(_tensors(partition, "outputs"))
        while waiting:
            node = producer.get(waiting.pop())
            if node is not None and node["index"] not in found:
                found.add(node["index"])
                waiting += [t for t in _tensors(node, "inputs") if t not in borders]
    return found


def _tensors(row: Row, side: str) -> list[int]:
    """Tensor numbers; -1 stands for an optional operand that is left out."""
    return [int(tensor) for tensor in row[side] if tensor >= 0]


def _dtypes(node: Row, changing: set[int]) -> tuple[str, ...]:
    """The dtypes of the first activation in and the first one out; constants do not count.

    A shape or an index that another op computes is an input too, but not what the op works on.
    """
    import numpy as np

    names = []
    for side, types in (("inputs", "operand_types"), ("outputs", "result_types")):
        # The types leave out operands that are left out themselves, as `_tensors` does.
        activations = [
            np.dtype(kind).name
            for tensor, kind in zip(_tensors(node, side), node[types], strict=True)
            if tensor in changing
        ]
        names += activations[:1]
    return tuple(dict.fromkeys(names))


def _label(dtypes: tuple[str, ...]) -> str:
    """'int8', or 'float32 to int8' where an op changes the dtype."""
    return " to ".join(dtypes)


def _reason(kind: str, dtypes: tuple[str, ...], kernels: Kernels) -> str:
    if kernels != "xnnpack":
        return f"XNNPACK is off (kernels = {kernels})"
    for dtype in dtypes:
        if dtype not in _EIGHT_BIT | _FLOATS:
            return f"no {dtype} kernel in XNNPACK"
        if dtype in _EIGHT_BIT and kind not in QUANTIZED_OPS:
            return f"no {dtype} kernel in XNNPACK"
    return "XNNPACK did not take it (the runtime gives no reason)"
