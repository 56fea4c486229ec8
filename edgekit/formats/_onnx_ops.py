"""The ops and the dtypes and shapes of the values of an ONNX model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgekit.core.description import Op
from edgekit.formats import _onnx_macs, _onnx_weights
from edgekit.formats._onnx_macs import Shape
from edgekit.frameworks import onnx_files

__all__ = ["kind", "name", "ops", "tensor_type", "types"]

_STANDARD = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training"}
    | {"com.microsoft", "com.microsoft.nchwc"}
)


def types(model: Any) -> dict[str, tuple[str, Shape | None]]:
    """dtype and shape of every named value of which they are known."""
    found: dict[str, tuple[str, Shape | None]] = {}
    for graph in onnx_files.all_graphs(model):
        for value in (*graph.value_info, *graph.input, *graph.output):
            if value.type.WhichOneof("value") == "tensor_type":
                found[value.name] = tensor_type(value)
        for label, tensor in (*_initializers(graph), *_constants(graph)):
            found[label] = _onnx_weights.dtype_name(tensor.data_type), tuple(tensor.dims)
    return found


def _initializers(graph: Any) -> Iterator[tuple[str, Any]]:
    yield from ((tensor.name, tensor) for tensor in graph.initializer)


def _constants(graph: Any) -> Iterator[tuple[str, Any]]:
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield node.output[0], attribute.t


def tensor_type(value: Any) -> tuple[str, Shape | None]:
    """dtype and shape of a value that is a tensor."""
    known = value.type.tensor_type
    shape = None
    if known.HasField("shape"):
        shape = tuple(
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None
            for dim in known.shape.dim
        )
    return _onnx_weights.dtype_name(known.elem_type), shape


def ops(
    model: Any, known: dict[str, tuple[str, Shape | None]], constants: set[str]
) -> tuple[Op, ...]:
    """The nodes of all graphs but Constant ones; a call of a function is one op."""
    local = {(function.domain, function.name) for function in model.functions}
    shapes = {label: shape for label, (_, shape) in known.items() if shape is not None}
    graphs = list(onnx_files.all_graphs(model))
    constants = constants | {label for graph in graphs for label in _constant_outputs(graph)}
    nodes = [node for graph in graphs for node in graph.node if node.op_type != "Constant"]
    counts = _onnx_macs.count_all(nodes, shapes)
    found = []
    for index, node in enumerate(nodes):
        ends = [end for end in (*node.input, *node.output) if end and end not in constants]
        dtypes = dict.fromkeys(known[end][0] for end in ends if end in known)
        is_known = node.domain in _STANDARD or (node.domain, node.op_type) in local
        macs = counts[index]
        found.append(Op(index, kind(node), name(node, index), tuple(dtypes), macs, not is_known))
    return tuple(found)


def _constant_outputs(graph: Any) -> Iterator[str]:
    return (node.output[0] for node in graph.node if node.op_type == "Constant" and node.output)


def kind(node: Any) -> str:
    """The op, with its domain where that is not the default one."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def name(node: Any, index: int) -> str:
    """The node's name, or else that of its first output."""
    return node.name or next(iter(node.output), f"{node.op_type}_{index}")
