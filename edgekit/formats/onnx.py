"""ONNX: an .onnx file, with its external data beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit import lazy
from edgekit.core.artifact import InputScaling, Signature, TensorSpec
from edgekit.core.description import Description, Op
from edgekit.formats import _onnx_macs, _onnx_weights
from edgekit.formats._onnx_macs import Shape
from edgekit.frameworks import files, onnx_files, scaling

__all__ = [
    "SUFFIXES",
    "check",
    "describe",
    "digest",
    "read_scaling",
    "sniff",
    "write_scaling",
]

SUFFIXES = (".onnx",)

_STANDARD = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training"}
    | {"com.microsoft", "com.microsoft.nchwc"}
)
_INDEX_DTYPES = frozenset({"int32", "int64", "uint32", "uint64", "bool", "string"})


def sniff(path: Path) -> bool:
    """By the first protobuf fields."""
    return path.is_file() and onnx_files.looks_like_onnx(path)


def check(path: Path) -> None:
    """Checks the outer fields; with the package onnx, everything."""
    onnx_files.check_wire(path)
    if lazy.is_installed("onnx"):
        onnx_files.check_model(path)


def digest(path: Path) -> str:
    """The digest of the file, or of the file and its external data."""
    parts = onnx_files.digests(path)
    return parts[""] if len(parts) == 1 else files.digest_parts(parts)


def describe(path: Path) -> Description:
    """Reads signature, nodes of all graphs, weights, and bytes; shapes are inferred."""
    model = onnx_files.load(path)
    types, notes = _inferred(model)
    tensors = [
        tensor
        for tensor in onnx_files.all_tensors(model)
        if tensor.dims or _onnx_weights.stored(tensor)
    ]
    weights = tuple(_onnx_weights.weight(tensor) for tensor in tensors)
    size, split = _onnx_weights.bytes_by(path, model, tensors)
    constants = {tensor.name for tensor in tensors}
    trained = _onnx_weights.trained_names(model)
    return Description(
        format="onnx",
        signature=_signature(model),
        ops=_ops(model, types, constants),
        weights=weights,
        size_bytes=size,
        bytes_by=split,
        parameters=sum(
            weight.parameters
            for weight in weights
            if weight.name in trained or weight.dtype not in _INDEX_DTYPES
        ),
        notes=notes,
    )


def read_scaling(path: Path) -> InputScaling | None:
    """Reads the metadata property 'edgekit'."""
    properties = {item.key: item.value for item in onnx_files.load(path).metadata_props}
    text = properties.get(scaling.KEY)
    return None if text is None else scaling.load(text, where=str(path))


def write_scaling(path: Path, value: InputScaling) -> None:
    """Writes the metadata property 'edgekit'; external data stays where it is."""
    model = onnx_files.load(path)
    kept = [item for item in model.metadata_props if item.key != scaling.KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=scaling.KEY, value=scaling.dump(value).decode())
    with files.replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def _inferred(model: Any) -> tuple[dict[str, tuple[str, Shape | None]], tuple[str, ...]]:
    """dtype and shape of every named value that is known, and what could not be inferred."""
    inference = lazy.require("onnx.shape_inference", extra="onnx", needed_for="an ONNX model")
    notes: tuple[str, ...] = ()
    try:
        model = inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        notes = (f"shapes could not be inferred: {str(error).splitlines()[0][:200]}",)
    types: dict[str, tuple[str, Shape | None]] = {}
    for graph in onnx_files.all_graphs(model):
        for value in (*graph.value_info, *graph.input, *graph.output):
            if value.type.WhichOneof("value") == "tensor_type":
                types[value.name] = _type(value)
        for tensor in graph.initializer:
            types[tensor.name] = _onnx_weights.dtype_name(tensor.data_type), tuple(tensor.dims)
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.HasField("t"):
                    types[node.output[0]] = (
                        _onnx_weights.dtype_name(attribute.t.data_type),
                        tuple(attribute.t.dims),
                    )
    return types, notes


def _type(value: Any) -> tuple[str, Shape | None]:
    kind = value.type.tensor_type
    shape = None
    if kind.HasField("shape"):
        shape = tuple(
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None
            for dim in kind.shape.dim
        )
    return _onnx_weights.dtype_name(kind.elem_type), shape


def _signature(model: Any) -> Signature:
    weights = {tensor.name for tensor in model.graph.initializer}
    return Signature(
        tuple(_spec(value) for value in model.graph.input if value.name not in weights),
        tuple(_spec(value) for value in model.graph.output),
    )


def _spec(value: Any) -> TensorSpec:
    if value.type.WhichOneof("value") != "tensor_type":
        return TensorSpec(value.name, (), str(value.type.WhichOneof("value") or "unknown"))
    dtype, shape = _type(value)
    return TensorSpec(value.name, shape or (), dtype)


def _ops(
    model: Any, types: dict[str, tuple[str, Shape | None]], constants: set[str]
) -> tuple[Op, ...]:
    local = {(function.domain, function.name) for function in model.functions}
    shapes = {name: shape for name, (_, shape) in types.items() if shape is not None}
    nodes = [
        node
        for graph in onnx_files.all_graphs(model)
        for node in graph.node
        if node.op_type != "Constant"
    ]
    constants = constants | {
        node.output[0]
        for graph in onnx_files.all_graphs(model)
        for node in graph.node
        if node.op_type == "Constant" and node.output
    }
    ops = []
    for index, node in enumerate(nodes):
        ends = [name for name in (*node.input, *node.output) if name and name not in constants]
        dtypes = dict.fromkeys(types[name][0] for name in ends if name in types)
        known = node.domain in _STANDARD or (node.domain, node.op_type) in local
        kind = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        name = node.name or next(iter(node.output), f"{node.op_type}_{index}")
        macs = _onnx_macs.count(node, shapes)
        ops.append(Op(index, kind, name, tuple(dtypes), macs, not known))
    return tuple(ops)
