"""The bytes of an .onnx file: what it is, whether it is whole, and the file without its weights."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from edgekit.errors import UsageError

__all__ = ["MOST_BYTES", "check_wire", "looks_like_onnx", "without_values"]

MOST_BYTES = 2**31 - 1
"""Of one protobuf message, and so of an .onnx file without what lies in files beside it."""

_IR_VERSION, _GRAPH = 1, 7
_INITIALIZER, _RAW_DATA = 5, 9
_MODEL_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
"""Field numbers of ModelProto and their wire types (0 is a number, 2 has a length)."""
_MAX_FIELDS = 100_000
_MAX_GRAPH_FIELDS = 2_000_000
_SMALL = 1 << 16
"""Tensors of fewer bytes stay: shape inference looks into those that hold shapes."""
_FIXED = {1: 8, 5: 4}


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
        UsageError: it is no ONNX model, is cut off, or is too big for one file.
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
    if size > MOST_BYTES:
        raise UsageError(
            f"{path}: has {size} bytes, and an ONNX file may have {MOST_BYTES}",
            hint="save the model with its weights as external data",
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


class _OddError(ValueError):
    """Bytes that only protobuf itself may judge."""


class _Field(NamedTuple):
    number: int
    wire: int
    tag: int
    start: int
    end: int


def without_values(path: Path) -> tuple[bytes, dict[int, tuple[int, int]]]:
    """The file without the values of the main graph's big initializers, and where those are.

    The second is (first byte, length) by the initializer's place in the graph. A model of many
    gigabytes is looked at in a moment this way, without its weights in memory.
    """
    if path.stat().st_size < _SMALL:
        return path.read_bytes(), {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cut: dict[int, tuple[int, int]] = {}
        try:
            fields = list(_walk(data, 0, len(data)))
            if sum(field.number == _GRAPH for field in fields) != 1:
                return data[:], {}  # Protobuf merges them, and then no place holds.
            return b"".join(_slim_model(data, fields, cut)), cut
        except _OddError:
            return data[:], {}


def _slim_model(
    data: mmap.mmap, fields: list[_Field], cut: dict[int, tuple[int, int]]
) -> Iterator[bytes]:
    for field in fields:
        if field.number == _GRAPH:
            yield _framed(_GRAPH, b"".join(_slim_graph(data, field, cut)))
        else:
            yield data[field.tag : field.end]


def _slim_graph(data: mmap.mmap, graph: _Field, cut: dict[int, tuple[int, int]]) -> Iterator[bytes]:
    place = 0
    for field in _walk(data, graph.start, graph.end):
        if field.number != _INITIALIZER or field.wire != 2:
            yield data[field.tag : field.end]
            continue
        if field.end - field.start < _SMALL:
            yield data[field.tag : field.end]
        else:
            parts = list(_walk(data, field.start, field.end))
            values = [item for item in parts if item.number == _RAW_DATA and item.wire == 2]
            if values:
                cut[place] = values[-1].start, values[-1].end - values[-1].start
            kept = b"".join(data[item.tag : item.end] for item in parts if item not in values)
            yield _framed(_INITIALIZER, kept)
        place += 1


def _framed(number: int, content: bytes) -> bytes:
    """A field with a length."""
    length, size = bytearray(), len(content)
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def _walk(data: mmap.mmap, start: int, end: int) -> Iterator[_Field]:
    position = start
    for _ in range(_MAX_GRAPH_FIELDS):
        if position >= end:
            return
        tag, after = _number(data, position, end)
        wire = tag & 7
        if wire == 2:
            size, begin = _number(data, after, end)
            stop = begin + size
        elif wire == 0:
            begin, stop = after, _number(data, after, end)[1]
        elif wire in _FIXED:
            begin, stop = after, after + _FIXED[wire]
        else:
            raise _OddError
        if stop > end:
            raise _OddError
        yield _Field(tag >> 3, wire, position, begin, stop)
        position = stop
    raise _OddError


def _number(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise _OddError
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _OddError
