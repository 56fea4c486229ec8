"""ONNX Runtime's own files (.ort): read with every offset checked, written with the same bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.frameworks import _ort_schema, _ort_write
from edgekit.frameworks._flat import DamagedError, Flat
from edgekit.frameworks._ort_schema import IDENTIFIER, Node
from edgekit.frameworks.files import replacing

__all__ = ["DTYPES", "OrtModel", "content_digest", "looks_like_ort", "parse", "read", "write"]

DTYPES = (
    *("undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string"),
    *("bool", "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"),
    *("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "uint4", "int4"),
)
"""Element types by their number."""

_BITS = {"bool": 8, "uint4": 4, "int4": 4, "bfloat16": 16, "complex64": 64, "complex128": 128}
_BITS |= {f"{sign}int{bits}": bits for sign in ("", "u") for bits in (8, 16, 32, 64)}
_BITS |= {f"float{bits}": bits for bits in (16, 32, 64)}
_MOST_BYTES = 2**31 - 1


@dataclass(frozen=True)
class OrtModel:
    """What an .ort file holds: its tables, its size, and where its bytes are."""

    root: Node
    size_bytes: int
    bytes_by: tuple[tuple[str, int], ...]

    @property
    def model(self) -> Node:
        """The model with its versions and metadata."""
        found: Node = self.root["model"]
        return found

    @property
    def graphs(self) -> list[Node]:
        """The main graph and those inside If, Loop and Scan, each before what is inside it."""
        found, todo = [], [self.model["graph"]]
        while todo:
            graph = todo.pop(0)
            found.append(graph)
            for attribute in _attributes(graph):
                todo += [attribute["g"]] if "g" in attribute else []
                todo += attribute.get("graphs", [])
        return found

    @property
    def tensors(self) -> list[Node]:
        """Initializers, sparse ones by their parts, and tensors that are attributes."""
        found = []
        for graph in self.graphs:
            found += graph.get("initializers", [])
            for sparse in graph.get("sparse_initializers", []):
                found += [sparse[part] for part in ("values", "indices") if part in sparse]
            for attribute in _attributes(graph):
                found += [attribute["t"]] if "t" in attribute else []
                found += attribute.get("tensors", [])
        return found

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata properties that came from the ONNX model."""
        properties = self.model.get("metadata_props", [])
        return {item.get("key", ""): item.get("value", "") for item in properties}


def _attributes(graph: Node) -> Iterator[Node]:
    return (item for node in graph.get("nodes", []) for item in node.get("attributes", []))


def looks_like_ort(path: Path) -> bool:
    """The flatbuffer says ORTM in bytes 4 to 8."""
    try:
        with path.open("rb") as file:
            return file.read(8)[4:] == IDENTIFIER
    except OSError:
        return False


def read(path: Path) -> OrtModel:
    """Reads a file and follows every offset in it.

    Raises:
        UsageError: it is no .ort file, is cut off or damaged.
    """
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise UsageError(f"{path}: has {size} bytes, and an .ort file may have {_MOST_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    return parse(data, where=str(path))


def parse(data: bytes, *, where: str) -> OrtModel:
    """Reads the bytes of an .ort file; `where` is what errors call it.

    Raises:
        UsageError: they are none, are cut off or damaged.
    """
    if not data:
        raise UsageError(f"{where}: the file is empty")
    if data[4:8] != IDENTIFIER:
        raise UsageError(
            f"{where}: is no .ort model (it starts with {data[:8]!r}, without 'ORTM')",
            hint="an .ort model is what ONNX Runtime saves in its own format",
        )
    try:
        flat = Flat(data)
        root = _ort_schema.read(flat)
        if "graph" not in root.get("model", {}):
            raise DamagedError("it has no graph in it")
        found = OrtModel(root, len(data), _bytes_by(flat))
        for tensor in found.tensors:
            _check_tensor(tensor)
    except DamagedError as error:
        raise UsageError(f"{where}: is cut off or damaged ({error})") from None
    return found


def _bytes_by(flat: Flat) -> tuple[tuple[str, int], ...]:
    sums = flat.bytes_by()
    sums["tables"] = len(flat.data) - sum(sums.values())
    return tuple((kind, sums.get(kind, 0)) for kind in ("weights", "tables", "strings"))


def _check_tensor(tensor: Node) -> None:
    name, dims = tensor.get("name", ""), tensor.get("dims", [])
    if any(size < 0 for size in dims):
        raise DamagedError(f"tensor '{name}' has the shape {dims[:8]}")
    if tensor.get("external_data_offset", -1) >= 0:
        raise DamagedError(f"tensor '{name}' has its values in another file, which is not read")
    number = tensor.get("data_type", 0)
    bits = _BITS.get(DTYPES[number] if 0 <= number < len(DTYPES) else "")
    held = len(tensor.get("raw_data", b""))
    expected = None if bits is None else -(-math.prod(dims) * bits // 8)
    if expected is not None and held != expected:
        raise DamagedError(f"tensor '{name}' has {held} bytes, and its shape takes {expected}")


def content_digest(model: OrtModel) -> str:
    """SHA-256 (hex) of the content, whatever order ONNX Runtime wrote it in."""
    import hashlib

    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                digest.update(f"{key}:".encode())
                add(item)
            digest.update(b"}")
        elif isinstance(value, list):
            digest.update(f"[{len(value)}:".encode())
            for item in value:
                add(item)
        elif isinstance(value, memoryview):
            digest.update(f"raw{len(value)}:".encode())
            digest.update(value)
        elif isinstance(value, float):
            digest.update(struct.pack("<f", value))  # It may be NaN, and has no other text.
        else:
            text = str(value).encode()
            digest.update(f"{type(value).__name__}{len(text)}:".encode() + text)

    add(model.root)
    return digest.hexdigest()


def write(root: Node, path: Path) -> None:
    """Writes the tables; the same content gives the same bytes."""
    data = _ort_write.write(root)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
