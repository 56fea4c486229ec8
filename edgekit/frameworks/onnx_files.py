"""ONNX files: the outer protobuf fields without the package, the whole model with it."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import lazy
from edgekit.errors import UsageError
from edgekit.frameworks._onnx_check import check_ops, check_parts, in_one_line, in_words
from edgekit.frameworks._onnx_save import save
from edgekit.frameworks._onnx_tensors import (
    all_graphs,
    all_nodes,
    all_tensors,
    external_files,
    external_info,
    external_span,
    is_external,
    read_span,
    tensor_array,
)
from edgekit.frameworks._onnx_wire import check_wire, looks_like_onnx, without_values
from edgekit.frameworks.files import sha256

__all__ = [
    "Outline",
    "all_graphs",
    "all_nodes",
    "all_tensors",
    "check_model",
    "check_wire",
    "digests",
    "external_files",
    "external_info",
    "is_external",
    "load",
    "load_full",
    "looks_like_onnx",
    "opset",
    "outline",
    "save",
    "sort_nodes",
    "tensor_array",
]

_MOST_OUTLINES = 2
_DEFAULT_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Outline:
    """A model without the values of its big initializers; shared, so nobody may change it.

    `cut` says where in the file those values are: (first byte, length) by the place of the tensor
    in `model.graph.initializer`.
    """

    model: Any
    cut: Mapping[int, tuple[int, int]]


_outlines: dict[tuple[str, int, int, int], Outline] = {}


def outline(path: Path) -> Outline:
    """Parses what is small in a model; a file that did not change is not parsed again.

    Raises:
        UsageError: the package onnx is missing, or the file is damaged.
    """
    check_wire(path)
    status = path.stat()
    key = os.path.abspath(path), status.st_mtime_ns, status.st_size, status.st_ino
    if key not in _outlines:
        found = _parsed(path)
        while len(_outlines) >= _MOST_OUTLINES:
            del _outlines[next(iter(_outlines))]
        _outlines[key] = found
    return _outlines[key]


def _parsed(path: Path) -> Outline:
    onnx = lazy.require("onnx", extra="onnx", needed_for=f"{path}")
    model = onnx.ModelProto()
    data, cut = without_values(path)
    try:
        model.ParseFromString(data)
    except Exception as error:  # Which class it is depends on protobuf's implementation.
        raise UsageError(f"{path}: is a damaged ONNX model ({in_one_line(error)})") from None
    if not model.HasField("graph"):
        raise UsageError(f"{path}: is an ONNX file without a graph in it")
    if any(isinstance(text, bytes) for text in _texts(model)):
        raise UsageError(f"{path}: is a damaged ONNX model (a name in it is not UTF-8 text)")
    return Outline(model, cut)


def _texts(model: Any) -> Iterator[Any]:
    """Every name and text; protobuf gives bytes for one that is not UTF-8."""
    yield from (model.doc_string, model.producer_name, model.producer_version, model.domain)
    for holder in (model, *all_graphs(model)):
        yield from (text for item in holder.metadata_props for text in (item.key, item.value))
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output)
    for item in (*model.opset_import, *(i for f in model.functions for i in f.opset_import)):
        yield item.domain
    for node in all_nodes(model):
        yield from (node.name, node.op_type, node.domain, node.doc_string)
        yield from (*node.input, *node.output, *(item.name for item in node.attribute))
    for graph in all_graphs(model):
        yield from (graph.name, graph.doc_string)
        for item in (*graph.value_info, *graph.input, *graph.output):
            yield from (item.name, item.doc_string)
            yield from (dim.dim_param for dim in item.type.tensor_type.shape.dim)
    for tensor in all_tensors(model):
        yield from (tensor.name, tensor.doc_string)
        yield from (text for item in tensor.external_data for text in (item.key, item.value))


def load(path: Path) -> Any:
    """Parses the model without its external data; the caller may change it.

    What the file holds is in memory once, however big it is.

    Raises:
        UsageError: the package onnx is missing, or the file is damaged.
    """
    found = outline(path)
    model = type(found.model)()
    model.CopyFrom(found.model)
    for place, (offset, length) in found.cut.items():
        model.graph.initializer[place].raw_data = read_span((path, offset, length))
    return model


def load_full(path: Path) -> Any:
    """Parses the model and reads its external data into it; the caller may change it.

    For models of ordinary size: above 2 GB it can no longer be serialized. `tensor_array` reads
    one tensor at a time.

    Raises:
        UsageError: as `load`; or external data is missing, cut off, or outside the folder.
    """
    model = load(path)
    external_files(path, model)
    for tensor in all_tensors(model):
        if is_external(tensor):
            try:
                tensor.raw_data = read_span(external_span(tensor, path.parent))
            except UsageError as error:
                raise UsageError(f"{path}: {error.message}", hint=error.hint) from None
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    return model


def opset(model: Any) -> int:
    """The opset of the default domain; 1 where an old model says none."""
    versions = (item.version for item in model.opset_import if item.domain in _DEFAULT_DOMAINS)
    return int(next(versions, 1))


def check_model(path: Path) -> None:
    """Checks ops, structure and where the values lie; big values are not read.

    Raises:
        UsageError: what is wrong, as one sentence; an op is named with its node.
    """
    found = outline(path)
    checker = lazy.require("onnx.checker", extra="onnx", needed_for=f"{path}")
    external_files(path, found.model)
    try:
        check_parts(path, found.model, found.cut)
        check_ops(found.model)
    except UsageError as error:
        message = f"{path}: is no valid ONNX model: {error.message}"
        raise UsageError(message, hint=error.hint) from None
    try:
        checker.check_model(_checkable(found))
    except Exception as error:  # The errors of the checker have no base of their own.
        raise UsageError(f"{path}: is no valid ONNX model: {in_words(error)}") from None


def _checkable(found: Outline) -> Any:
    """A copy that the checker judges by its structure alone: values elsewhere are checked already.

    Old models that leave out initializers among the inputs run everywhere, and so do those that do
    not say the shape of an output.
    """
    model = type(found.model)()
    model.CopyFrom(found.model)
    model.ir_version = max(model.ir_version, 4)
    elsewhere = [model.graph.initializer[place] for place in found.cut]
    for tensor in (*elsewhere, *filter(is_external, all_tensors(model))):
        tensor.dims[:] = [0]
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    for graph in all_graphs(model):
        for value in (*graph.input, *graph.output):
            if value.type.WhichOneof("value") == "tensor_type":
                value.type.tensor_type.shape.SetInParent()
    return model


def digests(path: Path) -> dict[str, str]:
    """The digests of the model file (under '') and of its external files."""
    root = Path(os.path.abspath(path)).parent
    others = external_files(path, outline(path).model)
    return {"": sha256(path), **{str(file.relative_to(root)): sha256(file) for file in others}}


def sort_nodes(graph: Any) -> None:
    """Puts every node of a graph behind those whose results it reads, inside If and Loop too.

    Nodes that are in order stay in it.
    """
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    waits = [
        {makers[name] for name in _read_by(node) if name in makers} - {place}
        for place, node in enumerate(graph.node)
    ]
    readers: list[list[int]] = [[] for _ in waits]
    for place, before in enumerate(waits):
        for maker in before:
            readers[maker].append(place)
    ready = [place for place, before in enumerate(waits) if not before]
    order: list[int] = []
    while ready:
        place = heapq.heappop(ready)
        order.append(place)
        for reader in readers[place]:
            waits[reader].discard(place)
            if not waits[reader]:
                heapq.heappush(ready, reader)
    if order != sorted(order):
        nodes = [type(node).FromString(node.SerializeToString()) for node in graph.node]
        del graph.node[:]
        graph.node.extend(nodes[place] for place in order)


def _read_by(node: Any) -> Iterator[str]:
    """What a node reads, and what the graphs inside it read or give back."""
    yield from node.input
    for attribute in node.attribute:
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            yield from (item.name for item in graph.output)
            for inner in graph.node:
                yield from _read_by(inner)
