"""Writes a model with everything equal stored once, its parts in the order that compresses best."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["compressed", "layouts", "write"]

_LEAST_ALIGNMENT = 4
_WIDTHS = {0: 4, 1: 2, 2: 4, 4: 8, 7: 2, 8: 8, 10: 8, 11: 16, 12: 8, 15: 4, 16: 2}
"""Bytes of an element by the schema's tensor type, where it is not 1."""
_SLOW_BYTES = 8_000_000

Order = Callable[[Any], list[int]]


def compressed(content: bytes) -> int:
    """The size after xz, as the report gives it."""
    return len(lzma.compress(content))


def layouts(model: Any) -> Iterator[bytes]:
    """The same model in several orders; big ones in the first only, for trying takes long."""
    first = write(model, _as_used, early=True)
    yield first
    if len(first) > _SLOW_BYTES:
        return
    for order in (_as_used, _by_type):
        for early in (True, False):
            if (order, early) != (_as_used, True):
                yield write(model, order, early=early)


def write(model: Any, order: Order, *, early: bool) -> bytes:
    """Packs a model; `early` puts all scales in one place instead of beside their tensors."""
    from edgekit.techniques.strip._sharing import SharingBuilder

    builder = SharingBuilder()
    widths = _widths(model)
    # A flatbuffer grows from its end: what is written first comes last.
    for index in reversed(order(model)):
        data = model.buffers[index].data
        if data is not None:
            builder.place_bytes(data, max(_LEAST_ALIGNMENT, widths.get(index, 1)))
    if early:
        for tensor in reversed(_tensors(model)):
            if tensor.quantization is not None and tensor.quantization.scale is not None:
                builder.CreateNumpyVector(tensor.quantization.scale)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensors(model: Any) -> list[Any]:
    return [tensor for graph in model.subgraphs for tensor in graph.tensors]


def _widths(model: Any) -> dict[int, int]:
    """The widest element among the tensors of each buffer."""
    widths: dict[int, int] = {}
    for tensor in _tensors(model):
        width = _WIDTHS.get(tensor.type, 1)
        widths[tensor.buffer] = max(widths.get(tensor.buffer, 1), width)
    return widths


def _as_used(model: Any) -> list[int]:
    return list(range(len(model.buffers)))


def _by_type(model: Any) -> list[int]:
    """Weights with weights, biases with biases: a compressor learns one kind at a time."""
    kinds = {tensor.buffer: tensor.type for tensor in _tensors(model)}
    return sorted(_as_used(model), key=lambda index: (kinds.get(index, -1), index))
