"""An ONNX model in memory: its weighted ops, the values of its tensors, and the way to disk."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import lazy
from edgekit.frameworks import onnx_files

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = [
    "CORE",
    "WEIGHT_INPUTS",
    "Visit",
    "array",
    "drop_unused",
    "few_values",
    "float_weights",
    "is_treated",
    "matches",
    "op_name",
    "opset",
    "require",
    "save",
    "unique",
    "visits",
]

CORE = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The kinds of op that hold nearly all multiply-accumulates."""
WEIGHT_INPUTS = {
    **dict.fromkeys(CORE, (1,)),
    "Gather": (0,),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), (1, 2)),
}
"""Where the weights of an op are among its inputs."""
_FEW = 512
"""Values of weights below which int8 saves under a kilobyte, less than half of it after scales
and nodes. A depthwise convolution of 144 values cost a text recogniser most of what it lost."""
_SMALL_SHARE = 1000
"""A table with a smaller part of all weights than one in so many saves nothing, and its few rows
are read all the time: one of 2 rows cost a sentence encoder 5 times as much as all other weights
together."""
_STANDARD = ("", "ai.onnx")
_LARGEST = 1_500_000_000
"""Bytes above which tensors go beside the file: protobuf ends at 2 GB."""
_SMALL = 1024
"""Tensors of fewer bytes stay in the file: shapes and axes, which every reader needs at once."""


def require(module: str) -> Any:
    """A module that quantizing an .onnx needs."""
    return lazy.require(module, extra="onnx", needed_for="quantize on an .onnx model")


@dataclass(frozen=True)
class Visit:
    """A node, the graph it is in, and the constants that it can see (`outer` ones too)."""

    graph: Any
    node: Any
    scope: MutableMapping[str, Any]

    @property
    def name(self) -> str:
        """What `skip` patterns match, as `edgekit inspect` lists it."""
        return op_name(self.node)

    @property
    def kind(self) -> str:
        """ONNX's own name; with the domain where that is not the standard one."""
        node = self.node
        return node.op_type if node.domain in _STANDARD else f"{node.domain}.{node.op_type}"


def op_name(node: Any) -> str:
    """The node's name, or that of its first output where it has none."""
    return str(node.name or next(iter(node.output), ""))


def visits(model: Any) -> Iterator[Visit]:
    """Every node of every graph; graphs inside If, Loop and Scan see the constants around them."""
    todo: list[tuple[Any, ChainMap[str, Any]]] = [(model.graph, ChainMap())]
    while todo:
        graph, outer = todo.pop(0)
        scope = outer.new_child(_constants(graph))
        for node in graph.node:
            yield Visit(graph, node, scope)
            for attribute in node.attribute:
                todo += [(attribute.g, scope)] if attribute.HasField("g") else []
                todo += [(inner, scope) for inner in attribute.graphs]


def _constants(graph: Any) -> dict[str, Any]:
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            values = [item.t for item in node.attribute if item.name == "value"]
            found |= dict.fromkeys(node.output[:1], values[0]) if values else {}
    return found


def float_weights(visit: Visit) -> tuple[str, ...]:
    """The names of an op's constant float32 weights; vectors and tables of scalars are none."""
    node, found = visit.node, []
    for place in WEIGHT_INPUTS.get(visit.kind, ()):
        tensor = visit.scope.get(node.input[place]) if place < len(node.input) else None
        if tensor is None or tensor.data_type != tensor.FLOAT or len(tensor.dims) < 2:
            continue
        if visit.kind != "Gather" or math.prod(tensor.dims[1:]) > 1:
            found.append(str(node.input[place]))
    return tuple(found)


def few_values(visit: Visit) -> bool:
    """An op that computes in float, whose weights are too few for int8 to save anything."""
    size = sum(math.prod(visit.scope[name].dims) for name in float_weights(visit))
    if visit.kind == "Gather":
        total = sum(math.prod(t.dims) for t in visit.scope.values() if len(t.dims) > 1)
        return bool(size * _SMALL_SHARE < total)
    return visit.kind.startswith("Conv") and size < _FEW


def is_treated(visit: Visit, op_types: tuple[str, ...], skip: tuple[str, ...]) -> bool:
    """The parameters do not leave this op out."""
    if op_types and visit.kind not in op_types:
        return False
    return not matches(visit.name, skip)


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """One of the patterns at least."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def opset(model: Any) -> int:
    """The version of the standard operators."""
    return max(int(item.version) for item in model.opset_import if item.domain in _STANDARD)


def array(tensor: Any, folder: Path) -> Array:
    """The values of a tensor; those in an external file are mapped, not read."""
    import numpy as np

    if tensor.data_location != tensor.EXTERNAL:
        made: Array = require("onnx.numpy_helper").to_array(tensor)
        return made
    helper = require("onnx.helper")
    name, offset, _ = onnx_files.external_info(tensor)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    shape = tuple(tensor.dims)
    return np.memmap(folder / name, dtype, "r", offset, shape) if all(shape) else np.empty(shape)


def unique(name: str, taken: set[str]) -> str:
    """`name`, with a number after it where it is taken; takes it."""
    found, count = name, 0
    while found in taken:
        count += 1
        found = f"{name}_{count}"
    taken.add(found)
    return found


def drop_unused(model: Any, candidates: set[str]) -> None:
    """Removes those initializers that no node reads any more."""
    used = {
        name for graph in onnx_files.all_graphs(model) for node in graph.node for name in node.input
    }
    used |= {item.name for graph in onnx_files.all_graphs(model) for item in graph.output}
    gone = candidates - used
    for graph in onnx_files.all_graphs(model):
        for field in (graph.initializer, graph.input):
            kept = [item for item in field if item.name not in gone]
            if len(kept) < len(field):
                del field[:]
                field.extend(kept)


def save(model: Any, folder: Path, output: Path, *, external: bool) -> None:
    """Writes a model; its tensors into one file beside it where `external`, or where it is large.

    `folder` is where the external tensors that the model still has are.
    """
    tensors = list(onnx_files.all_tensors(model))
    outside = [tensor for tensor in tensors if tensor.data_location == tensor.EXTERNAL]
    size = sum(len(t.raw_data) for t in tensors if t.HasField("raw_data"))
    size += sum(array(tensor, folder).nbytes for tensor in outside)
    if size > _LARGEST or (external and size > 0):
        _move_out(tensors, folder, output)
    else:
        for tensor in outside:
            _fill(tensor, array(tensor, folder).tobytes())
    output.write_bytes(model.SerializeToString(deterministic=True))


def _fill(tensor: Any, content: bytes) -> None:
    tensor.ClearField("external_data")
    tensor.data_location = tensor.DEFAULT
    tensor.raw_data = content


def _move_out(tensors: list[Any], folder: Path, output: Path) -> None:
    """Into `OUTPUT.data`, one after the other, each at a multiple of 4096 so that it can be
    mapped."""
    place = output.with_name(f"{output.name}.data")
    with place.open("wb") as file:
        for tensor in tensors:
            is_outside = tensor.data_location == tensor.EXTERNAL
            if not is_outside and len(tensor.raw_data) < _SMALL:
                continue
            content: Any = array(tensor, folder) if is_outside else tensor.raw_data
            file.write(b"\0" * (-file.tell() % 4096))
            start = file.tell()
            file.write(memoryview(content).cast("B"))
            tensor.ClearField("raw_data")
            del tensor.external_data[:]
            tensor.data_location = tensor.EXTERNAL
            values = {"location": place.name, "offset": start, "length": file.tell() - start}
            for key, value in values.items():
                tensor.external_data.add(key=key, value=str(value))
