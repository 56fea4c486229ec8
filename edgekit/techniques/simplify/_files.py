"""Writes ONNX models with the weights in memory once, and copies messages without them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgekit.frameworks import onnx_files

__all__ = ["LARGE_BYTES", "copied", "write"]

LARGE_BYTES = 512 * 2**20
"""From here on nothing is done that holds the weights twice."""
_GRAPH_TAG, _INITIALIZER_TAG = b"\x3a", b"\x2a"


def copied(source: Any, target: Any, leave: Iterable[str]) -> Any:
    """Copies the fields of a protobuf message, but for some, into another; returns that one."""
    left = frozenset(leave)
    for field, value in source.ListFields():
        if field.name in left:
            continue
        if hasattr(value, "MergeFrom"):  # A message, or a list of anything.
            getattr(target, field.name).MergeFrom(value)
        else:
            setattr(target, field.name, value)
    return target


def write(model: Any, path: Path, *, folder: Path) -> None:
    """Writes a model; equal models give equal bytes. `folder` is where its external data lies.

    Without external data it is written one initializer after the other: serialized whole, the
    weights would be in memory three times.
    """
    if any(onnx_files.is_external(tensor) for tensor in onnx_files.all_tensors(model)):
        onnx_files.save(model, path, folder=folder)
        return
    import onnx

    head = copied(model, onnx.ModelProto(), {"graph"}).SerializeToString(deterministic=True)
    graph = copied(model.graph, onnx.GraphProto(), {"initializer"})
    body = graph.SerializeToString(deterministic=True)
    lengths = [tensor.ByteSize() for tensor in model.graph.initializer]
    total = len(body) + sum(1 + len(_varint(length)) + length for length in lengths)
    with path.open("wb") as out:
        out.write(head + _GRAPH_TAG + _varint(total) + body)
        for length, tensor in zip(lengths, model.graph.initializer, strict=True):
            out.write(_INITIALIZER_TAG + _varint(length))
            out.write(tensor.SerializeToString(deterministic=True))


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))
