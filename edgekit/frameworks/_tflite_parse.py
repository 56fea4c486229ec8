"""Parses .tflite bytes; every index and offset is checked before it is used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

from edgekit.errors import UsageError
from edgekit.frameworks._flat import DamagedError, Flat, Table
from edgekit.frameworks._tflite_model import (
    Operation,
    SignatureDef,
    Subgraph,
    Tensor,
    TensorQuantization,
    TfliteModel,
)

__all__ = ["IDENTIFIER", "damage_is_an_error", "parse"]

IDENTIFIER = b"TFL3"
_CUSTOM = 32
_MAX_RANK = 64
_MAX_OPERANDS = 4096


def parse(data: bytes, *, where: str) -> TfliteModel:
    """Reads a .tflite from bytes; `where` is what errors call it.

    Raises:
        UsageError: it is no whole TFLite model.
    """
    if not data:
        raise UsageError(f"{where}: the file is empty")
    if data[4:8] != IDENTIFIER:
        raise UsageError(
            f"{where}: is no TFLite model (it starts with {data[:8]!r}, without 'TFL3')",
            hint="a TFLite model is a .tflite file",
        )
    with damage_is_an_error(where):
        return _model(Flat(bytes(data)))


@contextlib.contextmanager
def damage_is_an_error(where: str) -> Iterator[None]:
    """Turns what the reader finds damaged into a usage error about `where`."""
    try:
        yield
    except DamagedError as error:
        raise UsageError(f"{where}: is cut off or damaged ({error})") from None


def _model(flat: Flat) -> TfliteModel:
    root = flat.root()
    metadata_tables = list(root.tables(6))
    metadata = tuple((table.text(0), table.integer(1, "I")) for table in metadata_tables)
    roles = {index: "metadata" for _, index in metadata}
    buffers = tuple(
        _buffer(table, roles.get(i, "weights")) for i, table in enumerate(root.tables(4))
    )
    for _, index in metadata:
        _check(index, buffers, "buffer")
    codes = [_operator_code(table) for table in root.tables(1)]
    subgraphs = tuple(_subgraph(table, codes, buffers) for table in root.tables(2))
    if not subgraphs:
        raise DamagedError("it has no graph in it")
    signatures = tuple(_signature(table, subgraphs) for table in root.tables(7))
    model = TfliteModel(
        root.integer(0, "I"), root.text(3), subgraphs, signatures, metadata, buffers, (), flat.data
    )
    return _with_bytes(model, flat)


def _with_bytes(model: TfliteModel, flat: Flat) -> TfliteModel:
    sums = flat.bytes_by()
    sums["tables"] = len(flat.data) - sum(sums.values())
    kinds = ("weights", "tables", "strings", "quantization", "metadata")
    return replace(model, bytes_by=tuple((kind, sums.get(kind, 0)) for kind in kinds))


def _check(index: int, items: Sequence[object], noun: str) -> int:
    if not 0 <= index < len(items):
        raise DamagedError(f"{noun} {index} is named, and there are {len(items)}")
    return index


def _buffer(table: Table, kind: str) -> tuple[int, int]:
    """Data inside the flatbuffer, or behind it (big models) by absolute offset and size."""
    offset, size = table.integer(1, "Q"), table.integer(2, "Q")
    if offset <= 1:
        return table.extent(0, kind)
    if offset + size > len(table.flat.data):
        raise DamagedError("the data of a tensor lies behind the end of the file")
    if size:
        table.flat.spans[offset, offset + size] = kind
    return offset, offset + size


def _operator_code(table: Table) -> tuple[str, str, int]:
    code = max(table.integer(0, "b"), table.integer(3, "i"))
    custom = table.text(1) if code == _CUSTOM else ""
    return _builtin_names().get(code, f"BUILTIN_{code}"), custom, table.integer(2, "i") or 1


def _subgraph(
    table: Table, codes: list[tuple[str, str, int]], buffers: tuple[tuple[int, int], ...]
) -> Subgraph:
    tensors = tuple(_tensor(i, item, buffers) for i, item in enumerate(table.tables(0)))
    operations = tuple(
        _operation(i, item, codes, tensors) for i, item in enumerate(table.tables(3))
    )
    inputs, outputs = (table.integers(slot, most=len(tensors)) for slot in (1, 2))
    for index in (*inputs, *outputs):
        _check(index, tensors, "tensor")
    return Subgraph(table.text(4), tensors, operations, inputs, outputs)


def _tensor(index: int, table: Table, buffers: tuple[tuple[int, int], ...]) -> Tensor:
    shape, signature = (table.integers(slot, most=_MAX_RANK) for slot in (0, 7))
    if any(size < -1 for size in (*shape, *signature)):
        raise DamagedError(f"tensor {index} has the shape {list(shape[:8])}")
    if len(signature) != len(shape):
        signature = shape
    start, end = buffers[_check(table.integer(2, "I"), buffers, "buffer")]
    return Tensor(
        index=index,
        name=table.text(3),
        shape=shape,
        shape_signature=tuple(None if size < 0 else size for size in signature),
        dtype=_dtype_names().get(table.integer(1, "b"), f"type{table.integer(1, 'b')}"),
        quantization=_quantization(table.table(4)),
        buffer=table.integer(2, "I"),
        size_bytes=end - start,
        is_variable=bool(table.integer(5, "b")),
        is_sparse=table.field(6) is not None,
    )


def _quantization(table: Table | None) -> TensorQuantization | None:
    if table is None:
        return None
    for slot in (0, 1):
        table.numbers(slot, "f", kind="quantization")
    scales = tuple(float(scale) for scale in table.numbers(2, "f", kind="quantization"))
    zero_points = table.integers(3, "q", kind="quantization")
    details = _detail_names().get(table.integer(4, "B"), "unknown")
    if not scales and not details:
        return None
    if zero_points and len(zero_points) != len(scales):
        raise DamagedError(f"a tensor has {len(scales)} scales and {len(zero_points)} zero points")
    return TensorQuantization(
        scales, zero_points or (0,) * len(scales), table.integer(6, "i"), details
    )


def _operation(
    index: int, table: Table, codes: list[tuple[str, str, int]], tensors: tuple[Tensor, ...]
) -> Operation:
    kind, custom, version = codes[_check(table.integer(0, "I"), codes, "operator code")]
    inputs, outputs = (table.integers(slot, most=_MAX_OPERANDS) for slot in (1, 2))
    for number in (*inputs, *outputs):
        if number != -1:
            _check(number, tensors, "tensor")
    return Operation(index, kind, custom, inputs, outputs, version)


def _signature(table: Table, subgraphs: tuple[Subgraph, ...]) -> SignatureDef:
    subgraph = _check(table.integer(4, "I"), subgraphs, "graph")
    tensors = subgraphs[subgraph].tensors
    inputs, outputs = (
        tuple(
            (item.text(0), _check(item.integer(1, "I"), tensors, "tensor"))
            for item in table.tables(slot)
        )
        for slot in (0, 1)
    )
    return SignatureDef(table.text(2), subgraph, inputs, outputs)


@cache
def _builtin_names() -> dict[int, str]:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    return {code: name for name, code in vars(BuiltinOperator).items() if name.isupper()}


@cache
def _dtype_names() -> dict[int, str]:
    from ai_edge_litert.schema_py_generated import TensorType

    return {code: name.lower() for name, code in vars(TensorType).items() if name.isupper()}


@cache
def _detail_names() -> dict[int, str]:
    from ai_edge_litert.schema_py_generated import QuantizationDetails

    known = {code: name for name, code in vars(QuantizationDetails).items() if name[0] != "_"}
    return {**known, 0: ""}
