"""Writes an ONNX model: in one file, or with its tensors in one file beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgekit import lazy
from edgekit.errors import UsageError
from edgekit.frameworks._onnx_tensors import all_tensors, external_span, is_external
from edgekit.frameworks._onnx_wire import MOST_BYTES
from edgekit.frameworks.files import replacing

__all__ = ["data_path", "save", "shell"]

_MOST_INLINE = 1_500_000_000
_SMALL = 1024
_PAGE = 4096
"""Tensors start at whole pages, so that runtimes can map them."""
_CHUNK = 1 << 24


def data_path(path: Path) -> Path:
    """The file with the tensors of the model at `path`."""
    return path.with_name(f"{path.name}.data")


def save(model: Any, path: Path, *, folder: Path | None = None) -> None:
    """Writes the model, the same bytes each time; it is not changed.

    Above 1.5 GB of values, or where some are external still, the initializers go to one file
    beside it, `path.name + ".data"`, one at a time. `folder` is where external ones lie now.

    Raises:
        UsageError: the disk is full; the model is too big without its initializers; external data
            is missing or cut off.
    """
    outside = [tensor for tensor in all_tensors(model) if is_external(tensor)]
    assert folder is not None or not outside, "a model with external data needs its folder"
    inline = sum(tensor.ByteSize() for tensor in model.graph.initializer)
    if outside or inline > _MOST_INLINE:
        model = _moved(model, path, folder or path.parent)
    size = model.ByteSize()
    if size > MOST_BYTES:
        raise UsageError(
            f"{path}: {size} bytes of the model lie outside its initializers, and an ONNX file "
            f"may have {MOST_BYTES}",
            hint="fold the constants of the model into initializers",
        )
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def shell(model: Any, *, keeps: Callable[[Any], bool]) -> Any:
    """A copy of a model in which initializers that `keeps` is false for have no values."""
    onnx = lazy.require("onnx", extra="onnx", needed_for="an ONNX model")
    made = onnx.ModelProto()
    _copy(model, made, "graph")
    _copy(model.graph, made.graph, "initializer")
    for tensor in model.graph.initializer:
        copied = made.graph.initializer.add()
        if keeps(tensor):
            copied.CopyFrom(tensor)
        else:
            _copy(tensor, copied, "raw_data")
    return made


def _copy(source: Any, target: Any, without: str) -> None:
    """Copies all fields of a message but one."""
    for field, value in source.ListFields():
        if field.name == without:
            continue
        if hasattr(value, "MergeFrom"):  # A message, or a list of anything.
            getattr(target, field.name).MergeFrom(value)
        else:
            setattr(target, field.name, value)


def _moved(model: Any, path: Path, folder: Path) -> Any:
    """A copy of the model whose big initializers, and all external ones, are in the data file."""
    made = shell(model, keeps=lambda tensor: tensor.ByteSize() < _SMALL)
    with replacing(data_path(path)) as temporary, temporary.open("wb") as file:
        for source, target in zip(all_tensors(model), all_tensors(made), strict=True):
            kept = target.HasField("raw_data") == source.HasField("raw_data")
            if kept and not is_external(source):
                continue
            offset = file.seek(-(-file.tell() // _PAGE) * _PAGE)
            length = sum(file.write(block) for block in _blocks(source, folder))
            _point(target, data_path(path).name, offset, length)
        file.truncate()  # Up to here, where a last tensor without values starts.
    return made


def _blocks(tensor: Any, folder: Path) -> Iterator[bytes]:
    if not is_external(tensor):
        yield tensor.raw_data
        return
    file, offset, left = external_span(tensor, folder)
    with file.open("rb") as stream:
        stream.seek(offset)
        while left and (block := stream.read(min(left, _CHUNK))):
            left -= len(block)
            yield block


def _point(tensor: Any, name: str, offset: int, length: int) -> None:
    tensor.data_location = tensor.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", name), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
