"""ONNX files: the outer protobuf fields without the package, the whole model with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from edgekit import lazy
from edgekit.errors import UsageError
from edgekit.frameworks.files import sha256

__all__ = [
    "all_graphs",
    "all_tensors",
    "check_model",
    "check_wire",
    "digests",
    "external_files",
    "external_info",
    "load",
    "looks_like_onnx",
]

_IR_VERSION, _GRAPH = 1, 7
_MODEL_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
"""Field numbers of ModelProto and their wire types (0 is a number, 2 has a length)."""
_MAX_VERSION = 255
_MAX_FIELDS = 100_000


def looks_like_onnx(path: Path) -> bool:
    """The file starts with a small ir_version and goes on with another field of ModelProto."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        return False
    if len(head) < 3 or head[0] != _IR_VERSION << 3 or not 0 < head[1] < 0x80:
        return False
    number, wire = head[2] >> 3, head[2] & 7
    return number != _IR_VERSION and _MODEL_FIELDS.get(number) == wire


def check_wire(path: Path) -> None:
    """Walks the outermost fields of the file; reads only their lengths.

    Raises:
        UsageError: it is no ONNX model, or is cut off.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise UsageError(f"{path}: the file is empty")
        fields = _fields(path, size)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not looks_like_onnx(path) or any(_MODEL_FIELDS.get(n) != wire for n, wire, _ in fields):
        raise UsageError(
            f"{path}: is no ONNX model (its first bytes are not those of one)",
            hint="an ONNX model is an .onnx file",
        )
    cut = next((end for _, _, end in fields if end > size), None)
    if cut is not None:
        raise UsageError(f"{path}: is cut off: {size} bytes of at least {cut} are there")
    if all(number != _GRAPH for number, _, _ in fields):
        raise UsageError(f"{path}: is an ONNX file without a graph in it, or cut off")


def _fields(path: Path, size: int) -> list[tuple[int, int, int]]:
    """(field number, wire type, end) of each outermost field, up to the first that is wrong."""
    found: list[tuple[int, int, int]] = []
    with path.open("rb") as file:
        while (start := file.tell()) < size and len(found) < _MAX_FIELDS:
            tag, value = _varint(file), _varint(file)
            if tag is None or value is None:
                return [*found, (_IR_VERSION, 0, max(size, start) + 1)]
            end = file.tell() + (value if tag & 7 == 2 else 0)
            found.append((tag >> 3, tag & 7, end))
            if _MODEL_FIELDS.get(tag >> 3) != tag & 7 or end > size:
                break
            file.seek(end)
    return found


def _varint(file: IO[bytes]) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return value


def load(path: Path) -> Any:
    """Parses the model without its external data.

    Raises:
        UsageError: the package onnx is missing, or the file is damaged.
    """
    check_wire(path)
    onnx = lazy.require("onnx", extra="onnx", needed_for=f"{path}")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise UsageError(f"{path}: is a damaged ONNX model ({_one_line(error)})") from None
    if not model.HasField("graph"):
        raise UsageError(f"{path}: is an ONNX file without a graph in it")
    if any(isinstance(text, bytes) for text in _texts(model)):
        raise UsageError(f"{path}: is a damaged ONNX model (a name in it is not UTF-8 text)")
    return model


def _texts(model: Any) -> Iterator[Any]:
    """Every name and text; protobuf gives bytes for one that is not UTF-8."""
    yield from (model.doc_string, model.producer_name, model.producer_version, model.domain)
    for holder in (model, *all_graphs(model)):
        yield from (text for item in holder.metadata_props for text in (item.key, item.value))
    for graph in all_graphs(model):
        yield from (graph.name, graph.doc_string)
        for node in graph.node:
            yield from (node.name, node.op_type, node.domain, node.doc_string)
            yield from (*node.input, *node.output)
        for item in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
            yield from (item.name, item.doc_string)


def check_model(path: Path) -> None:
    """Runs the checker of onnx over the model and its external data.

    Raises:
        UsageError: what the checker found, as one sentence.
    """
    model = load(path)
    external_files(path, model)
    checker = lazy.require("onnx.checker", extra="onnx", needed_for=f"{path}")
    try:
        checker.check_model(_modern(model) if model.ir_version < 4 else str(path))
    except Exception as error:
        raise UsageError(f"{path}: is no valid ONNX model: {_one_line(error)}") from None


def _modern(model: Any) -> Any:
    """Old models that leave out initializers among the inputs run everywhere; IR 4 allows it."""
    model.ir_version = 4
    return model


def external_files(path: Path, model: Any) -> list[Path]:
    """The files beside the model that hold its tensors.

    Raises:
        UsageError: one is not there, or lies outside the model's folder.
    """
    root = path.resolve().parent
    found: dict[str, Path] = {}
    for tensor in all_tensors(model):
        if tensor.data_location != tensor.EXTERNAL or (name := _location(tensor)) in found:
            continue
        file = root / name
        if not name or os.path.isabs(name) or not file.resolve().is_relative_to(root):
            raise UsageError(f"{path}: its external data '{name}' lies outside its folder")
        if not file.is_file():
            raise UsageError(
                f"{path}: its external data '{name}' is missing", hint=f"put it beside {path.name}"
            )
        found[name] = file
    return [found[name] for name in sorted(found)]


def digests(path: Path) -> dict[str, str]:
    """The digests of the model file (under '') and of its external files."""
    root = path.resolve().parent
    others = external_files(path, load(path))
    return {"": sha256(path), **{str(file.relative_to(root)): sha256(file) for file in others}}


def external_info(tensor: Any) -> tuple[str, int, int]:
    """The file, offset and length of an external tensor; a length of 0 means the whole file."""
    values = {entry.key: entry.value for entry in tensor.external_data}
    try:
        return _location(tensor), int(values.get("offset", 0)), int(values.get("length", 0))
    except ValueError:
        raise UsageError(f"tensor '{tensor.name}': its external data has no valid offset") from None


def _location(tensor: Any) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def all_graphs(model: Any) -> Iterator[Any]:
    """The main graph and those inside If, Loop and Scan, each before what is inside it."""
    todo = [model.graph]
    while todo:
        graph = todo.pop(0)
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                todo += [attribute.g] if attribute.HasField("g") else []
                todo += list(attribute.graphs)


def all_tensors(model: Any) -> Iterator[Any]:
    """Initializers, the values of Constant nodes, and the parts of sparse tensors."""
    for graph in all_graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300].rstrip(".") or type(error).__name__
