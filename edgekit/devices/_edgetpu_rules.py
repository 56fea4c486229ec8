"""Which ops the Edge TPU takes, by the documentation of its compiler (coral.ai, compiler 16).

The compiler has more rules than it documents, so what these let pass may still stay on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.frameworks.tflite import Operation, Subgraph, Tensor, TfliteModel

__all__ = ["AFTER", "BY_RULES", "CACHE_BYTES", "NPU", "Row", "dtype", "parameter_bytes", "place"]

Row = tuple[int, str, str, str, str]
"""index, kind, where, dtype and reason, as run.py gives them."""

NPU, BY_RULES = "Edge TPU", "Edge TPU (by rules)"
CACHE_BYTES = 8 * 2**20
"""Of parameters that stay on the chip between inferences, at most."""
AFTER = (
    "behind an op that stays on the CPU, and the compiler makes one partition only: "
    "replace the first op that stays there"
)
_CPU, _INT8 = "CPU", ("int8", "uint8")
_EDGES = ("QUANTIZE", "DEQUANTIZE")
_QUANTIZE = "quantize it with the recipe int8"
_INTEGER_IO = 'take integer inputs and outputs: io = "integer" in the recipe\'s quantize step'
_SOFTMAX = 16_000
_SPATIAL = (1, 2)
Rule = Callable[["TfliteModel", "Subgraph", "Operation"], str]


def place(model: TfliteModel, ops: Mapping[str, int]) -> list[Row]:
    """Every op: on the Edge TPU up to the first that it does not take, but for QUANTIZE ops at
    the model's inputs; `ops` are the kinds that it knows."""
    graph, rows, stopped = model.subgraphs[0], [], False
    for op in graph.operations:
        at_input = op.kind == "QUANTIZE" and bool({*graph.inputs} & {*op.inputs})
        why = _against(model, graph, op, ops)
        reason = why or (AFTER if stopped else "")
        stopped = stopped or bool(why and not at_input)
        where = _CPU if reason else BY_RULES
        rows.append((op.index, op.custom_code or op.kind, where, dtype(graph, op), reason))
    return rows


def parameter_bytes(model: TfliteModel) -> int:
    """The bytes of all constants."""
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    return sum({t.buffer: t.size_bytes for t in tensors if t.is_constant}.values())


def dtype(graph: Subgraph, op: Operation) -> str:
    """The dtypes of the first activation in and the first one out."""
    first = _activations(graph, op)[:1]
    made = [graph.tensors[index] for index in op.outputs[:1]]
    return " to ".join(dict.fromkeys(tensor.dtype for tensor in (*first, *made)))


def _against(model: TfliteModel, graph: Subgraph, op: Operation, ops: Mapping[str, int]) -> str:
    tensors = [*_activations(graph, op), *(graph.tensors[index] for index in op.outputs)]
    other = next((t.dtype for t in tensors if t.dtype not in _INT8), "")
    if other and op.kind in _EDGES and {*graph.inputs, *graph.outputs} & {*op.inputs, *op.outputs}:
        return f"works on {other}: {_INTEGER_IO}"
    if op.is_custom or op.kind not in ops:
        return "is none of the ops that the Edge TPU knows: replace it"
    if other:
        return f"works on {other}, and the Edge TPU on 8-bit integers: {_QUANTIZE}"
    if any(None in tensor.shape_signature for tensor in tensors):
        return "has an open shape: fix the shapes of the model's inputs"
    if any(math.prod(tensor.shape[:-3]) > 1 for tensor in tensors):
        return "has a tensor with more than 3 axes over 1: take batches of one, and 3 axes"
    rule = _RULES.get(op.kind)
    return rule(model, graph, op) if rule else ""


def _activations(graph: Subgraph, op: Operation) -> list[Tensor]:
    found = [graph.tensors[index] for index in op.inputs if index >= 0]
    return [tensor for tensor in found if not tensor.is_constant]


def _values(model: TfliteModel, graph: Subgraph, op: Operation, position: int) -> list[int] | None:
    """The int32 values of a constant input; None where it is none."""
    index = op.inputs[position] if position < len(op.inputs) else -1
    if index < 0 or not graph.tensors[index].is_constant:
        return None
    tensor = graph.tensors[index]
    if tensor.dtype != "int32":
        return None
    return list(model.buffer(tensor.buffer).cast("i"))


def _constant_weights(model: TfliteModel, graph: Subgraph, op: Operation) -> str:
    given = [graph.tensors[index] for index in op.inputs[1:] if index >= 0]
    if all(tensor.is_constant for tensor in given):
        return ""
    return "has weights that are computed: make them constants of the model"


def _softmax(model: TfliteModel, graph: Subgraph, op: Operation) -> str:
    shape = graph.tensors[op.inputs[0]].shape
    if math.prod(shape) == (shape or (1,))[-1] <= _SOFTMAX:
        return ""
    return f"takes one axis of at most {_SOFTMAX:,} values: take it out of the model"


def _reduces(spatial: bool) -> Rule:
    def rule(model: TfliteModel, graph: Subgraph, op: Operation) -> str:
        rank = len(graph.tensors[op.inputs[0]].shape)
        axes = _values(model, graph, op, 1)
        if axes is None:
            return "has axes that are computed: make them constants of the model"
        positive = {axis % rank for axis in axes} if rank else set()
        if spatial and rank == 4 and not positive <= {*_SPATIAL}:
            return "reduces along x and y only: take a global pooling over height and width"
        return "cannot reduce the batch axis: change it to the others" if 0 in positive else ""

    return rule


def _pad(model: TfliteModel, graph: Subgraph, op: Operation) -> str:
    pads = _values(model, graph, op, 1)
    if pads is None:
        return "has paddings that are computed: make them constants of the model"
    padded = {number // 2 for number, size in enumerate(pads) if size}
    if len(pads) == 8 and not padded <= {*_SPATIAL}:
        return "pads along x and y only: change it to pad no batch and no channels"
    return ""


def _concatenation(model: TfliteModel, graph: Subgraph, op: Operation) -> str:
    given = [graph.tensors[index] for index in op.inputs if index >= 0]
    constants = [tensor for tensor in given if tensor.is_constant]
    zero = all(_is_zero(model, tensor) for tensor in constants)
    if not constants or (len(given) == 2 and zero):
        return ""
    return "takes a constant only where it is zero and one of two: replace it by another op"


def _is_zero(model: TfliteModel, tensor: Tensor) -> bool:
    points = tensor.quantization.zero_points if tensor.quantization else ()
    zero = (points[0] if points else 0) % 256
    return {*bytes(model.buffer(tensor.buffer))} <= {zero}


def _strided_slice(model: TfliteModel, graph: Subgraph, op: Operation) -> str:
    strides = _values(model, graph, op, 3)
    if strides is not None and all(stride == 1 for stride in strides):
        return ""
    return "takes strides of 1 only: replace the steps by pooling"


def _prelu(model: TfliteModel, graph: Subgraph, op: Operation) -> str:
    alpha = graph.tensors[op.inputs[1]].shape
    if math.prod(alpha) == (alpha or (1,))[-1]:
        return ""
    return "takes one slope a channel: change it to share them over height and width"


_RULES: Mapping[str, Rule] = {
    "CONV_2D": _constant_weights,
    "DEPTHWISE_CONV_2D": _constant_weights,
    "FULLY_CONNECTED": _constant_weights,
    "SOFTMAX": _softmax,
    "MEAN": _reduces(spatial=True),
    "SUM": _reduces(spatial=False),
    "REDUCE_MAX": _reduces(spatial=False),
    "REDUCE_MIN": _reduces(spatial=False),
    "PAD": _pad,
    "CONCATENATION": _concatenation,
    "STRIDED_SLICE": _strided_slice,
    "PRELU": _prelu,
}
