"""Where the bytes of an ONNX model are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit import lazy
from edgekit.core.description import Weight
from edgekit.frameworks import onnx_files
from edgekit.frameworks._onnx_tensors import expected_bytes

__all__ = ["bytes_by", "dtype_name", "tensors", "trained_names", "weight"]


def dtype_name(code: int) -> str:
    onnx = lazy.require("onnx", extra="onnx", needed_for="an ONNX model")
    try:
        name = onnx.TensorProto.DataType.Name(code).lower()
    except ValueError:
        return f"type{code}"
    return {"float": "float32", "double": "float64"}.get(name, str(name))


def tensors(outline: onnx_files.Outline) -> list[tuple[Any, int]]:
    """The tensors that hold values, each with the bytes that these take."""
    found = []
    for place, tensor in enumerate(onnx_files.all_tensors(outline.model)):
        # The initializers of the main graph come first, so a place here is one there.
        size = outline.cut[place][1] if place in outline.cut else _stored(tensor)
        if tensor.dims or size:
            found.append((tensor, size))
    return found


def weight(tensor: Any, size: int) -> Weight:
    return Weight(tensor.name, tuple(tensor.dims), dtype_name(tensor.data_type), size)


def _stored(tensor: Any) -> int:
    """The bytes that a tensor's values take, in the file or beside it."""
    if onnx_files.is_external(tensor):
        return onnx_files.external_info(tensor)[2] or expected_bytes(tensor) or 0
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    bare = type(tensor)()
    bare.CopyFrom(tensor)
    for field in ("dims", "data_type", "name", "doc_string", "external_data", "data_location"):
        bare.ClearField(field)
    return int(bare.ByteSize())


def trained_names(model: Any) -> set[str]:
    """Integer tensors that stand for trained values: quantized weights and biases."""
    return {
        name
        for graph in onnx_files.all_graphs(model)
        for node in graph.node
        for position, name in enumerate(node.input)
        if (node.op_type, position) in (("DequantizeLinear", 0), ("QLinearConv", 8))
    }


def bytes_by(
    path: Path, model: Any, found: list[tuple[Any, int]]
) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Splits the file and its external data; shared external data counts once."""
    inside = sum(size for tensor, size in found if not onnx_files.is_external(tensor))
    outside = sum(file.stat().st_size for file in onnx_files.external_files(path, model))
    spans = {
        (*onnx_files.external_info(tensor)[:2], size)
        for tensor, size in found
        if onnx_files.is_external(tensor)
    }
    referred = min(outside, sum(length for _, _, length in spans))
    strings, metadata = _name_bytes(model), _metadata_bytes(model)
    size = path.stat().st_size
    graph = size - inside - strings - metadata
    return size + outside, (
        ("weights", inside + referred),
        ("graph", graph),
        ("strings", strings),
        ("metadata", metadata),
        ("padding", outside - referred),
    )


def _name_bytes(model: Any) -> int:
    total = 0
    for graph in onnx_files.all_graphs(model):
        for node in graph.node:
            total += sum(len(name.encode()) for name in (node.name, *node.input, *node.output))
        for item in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
            total += len(item.name.encode())
    return total


def _metadata_bytes(model: Any) -> int:
    texts = [model.doc_string, model.producer_name, model.producer_version, model.domain]
    for holder in (model, *onnx_files.all_graphs(model)):
        texts += [text for item in holder.metadata_props for text in (item.key, item.value)]
    for graph in onnx_files.all_graphs(model):
        texts += [graph.doc_string]
        for node in graph.node:
            texts += [node.doc_string]
            texts += [text for item in node.metadata_props for text in (item.key, item.value)]
    return sum(len(text.encode()) for text in texts)
