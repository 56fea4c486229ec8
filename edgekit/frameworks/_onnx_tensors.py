"""The tensors of an ONNX model: where they are, where their values lie, and those values."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import lazy
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = [
    "all_graphs",
    "all_nodes",
    "all_tensors",
    "expected_bytes",
    "external_files",
    "external_info",
    "external_span",
    "is_external",
    "read_span",
    "tensor_array",
]

_BITS = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}
"""Element types of which several share a byte."""


def all_graphs(model: Any) -> Iterator[Any]:
    """The main graph and those inside If, Loop and Scan, each before what is inside it."""
    todo = [model.graph]
    while todo:
        graph = todo.pop(0)
        yield graph
        todo += _inside(graph.node)


def _inside(nodes: Any) -> list[Any]:
    """The graphs that are attributes of nodes."""
    found = []
    for node in nodes:
        for attribute in node.attribute:
            found += [attribute.g] if attribute.HasField("g") else []
            found += list(attribute.graphs)
    return found


def _function_nodes(model: Any) -> Iterator[Any]:
    """The nodes of the functions that a model brings along, and of the graphs inside those."""
    for function in model.functions:
        yield from function.node
        todo = _inside(function.node)
        while todo:
            graph = todo.pop(0)
            yield from graph.node
            todo += _inside(graph.node)


def all_nodes(model: Any) -> Iterator[Any]:
    """The nodes of all graphs and functions."""
    for graph in all_graphs(model):
        yield from graph.node
    yield from _function_nodes(model)


def all_tensors(model: Any) -> Iterator[Any]:
    """Initializers (those of the main graph first), values of Constant nodes, sparse parts."""
    for graph in all_graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        yield from _attributes(graph.node)
    yield from _attributes(_function_nodes(model))


def _attributes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def is_external(tensor: Any) -> bool:
    """The values lie in a file beside the model."""
    return bool(tensor.data_location == tensor.EXTERNAL)


def external_info(tensor: Any) -> tuple[str, int, int]:
    """The file, offset and length of an external tensor; a length of 0 means to the end."""
    values = {entry.key: entry.value for entry in tensor.external_data}
    try:
        offset, length = int(values.get("offset") or 0), int(values.get("length") or 0)
        if offset < 0 or length < 0:
            raise ValueError
    except ValueError:
        raise UsageError(f"tensor '{tensor.name}': its external data has no valid offset") from None
    return values.get("location", ""), offset, length


def external_files(path: Path, model: Any) -> list[Path]:
    """The files beside the model that hold its tensors, by name.

    Raises:
        UsageError: one is not there, or lies outside the model's folder.
    """
    found: dict[str, Path] = {}
    for tensor in all_tensors(model):
        if is_external(tensor) and (name := external_info(tensor)[0]) not in found:
            found[name] = _external_file(path, name)
    return [found[name] for name in sorted(found)]


def _external_file(path: Path, name: str) -> Path:
    """A link may lead to where the model file itself is a link to, as in a download cache."""
    file = _beside(path.parent, name)
    homes = (path.parent.resolve(), path.resolve().parent)
    if file is None or not any(file.resolve().is_relative_to(home) for home in homes):
        raise UsageError(f"{path}: its external data {name!r} lies outside its folder")
    if not file.is_file():
        raise UsageError(
            f"{path}: its external data '{name}' is missing", hint=f"put it beside {path.name}"
        )
    if file.resolve() == path.resolve():
        raise UsageError(f"{path}: its external data '{name}' is the model file itself")
    return file


def _beside(folder: Path, name: str) -> Path | None:
    """The file of this name in the folder; None for a name that leads elsewhere."""
    folder = Path(os.path.abspath(folder))
    if not name or "\0" in name or os.path.isabs(name):
        return None
    file = Path(os.path.normpath(folder / name))
    return file if file != folder and file.is_relative_to(folder) else None


def expected_bytes(tensor: Any) -> int | None:
    """The bytes that the values of this shape and dtype take; None for text and unknown dtypes.

    Raises:
        UsageError: a size is negative.
    """
    helper = lazy.require("onnx.helper", extra="onnx", needed_for="an ONNX model")
    if any(size < 0 for size in tensor.dims):
        raise UsageError(f"tensor '{tensor.name}' has the shape {list(tensor.dims)}")
    if tensor.data_type in (tensor.UNDEFINED, tensor.STRING):
        return None
    try:
        bits = _BITS.get(type(tensor).DataType.Name(tensor.data_type))
        size = int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, ValueError):
        return None
    return int(-(-math.prod(tensor.dims) * (bits or 8 * size) // 8))


def external_span(tensor: Any, folder: Path) -> tuple[Path, int, int]:
    """The file with an external tensor's values, their first byte, and their number.

    Links are not looked at here; `external_files` does that, when a model is checked.

    Raises:
        UsageError: the file is not there or too short, or the number is not that of the shape.
    """
    name, offset, length = external_info(tensor)
    file = _beside(folder, name)
    if file is None or not file.is_file():
        raise UsageError(f"tensor '{tensor.name}': its external data {name!r} is not in {folder}")
    size, expected = file.stat().st_size, expected_bytes(tensor)
    if expected is None:
        raise UsageError(f"tensor '{tensor.name}' is of a dtype that no external data can have")
    length = length or (expected if "length" not in _keys(tensor) else 0)
    if length != expected:
        raise UsageError(
            f"tensor '{tensor.name}' has {length} bytes of external data, and its shape "
            f"{list(tensor.dims)} takes {expected}"
        )
    if offset + length > size:
        raise UsageError(
            f"tensor '{tensor.name}': its external data '{name}' ends at byte {size}, and the "
            f"tensor at {offset + length}",
            hint="the file is cut off, or belongs to another model",
        )
    return file, offset, length


def _keys(tensor: Any) -> set[str]:
    return {entry.key for entry in tensor.external_data}


def read_span(span: tuple[Path, int, int]) -> bytes:
    """The bytes of one external tensor."""
    file, offset, length = span
    with file.open("rb") as stream:
        stream.seek(offset)
        return stream.read(length)


def tensor_array(tensor: Any, folder: Path) -> Array:
    """The values of a tensor; external ones stay in their file (`folder` is the model's).

    What a file backs is read-only.

    Raises:
        UsageError: the values are not there, or not as many as the shape says.
    """
    import numpy as np

    onnx = lazy.require("onnx", extra="onnx", needed_for="an ONNX model")
    helper = lazy.require("onnx.numpy_helper", extra="onnx", needed_for="an ONNX model")
    if is_external(tensor):
        span = external_span(tensor, folder)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        if dtype.isbuiltin and dtype.itemsize * math.prod(tensor.dims) == span[2] > 0:
            shape = tuple(tensor.dims)
            return np.memmap(span[0], dtype.newbyteorder("<"), "r", span[1], shape)
        inline = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims, name=tensor.name)
        inline.raw_data = read_span(span)
        tensor = inline
    try:
        values: Array = helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise UsageError(f"tensor '{tensor.name}' is damaged ({error})") from None
    return values
