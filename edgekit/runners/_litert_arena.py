"""How large the block of memory is that LiteRT keeps a model's activations in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import UnmeasuredError
from edgekit.runners._litert import Kernels, create

__all__ = ["activation_arena", "least_bytes"]

_ALIGNMENT = 64
"""Of every tensor in the arena (`kDefaultTensorAlignment`)."""
_SHAPE = "SHAPE"

Row = dict[str, Any]
Piece = tuple[int, int]
"""An address and a number of bytes."""


def activation_arena(path: Path, *, kernels: Kernels) -> tuple[int, int]:
    """The bytes from the first activation to the end of the last, and `least_bytes` of them.

    The runtime shows each tensor's address, and not the arena itself. What a kernel needs for
    itself counts where it lies among the activations.

    Raises:
        UnmeasuredError: the tensors are not in one block.
    """
    interpreter = create(path, kernels=kernels, threads=1)
    interpreter.invoke()  # Tensors whose shape is computed have a place from now on only.
    rows = interpreter._get_ops_details()
    inputs = [int(detail["index"]) for detail in interpreter.get_input_details()]
    outputs = [int(detail["index"]) for detail in interpreter.get_output_details()]
    changing = _changing(rows, inputs)
    pieces, scratch = {}, []
    for detail in interpreter.get_tensor_details():
        index = int(detail["index"])
        piece = _piece(interpreter, index)
        if piece is not None and index in changing:
            pieces[index] = piece
        elif piece is not None and not detail["name"]:
            scratch.append(piece)
    span = _span(list(pieces.values()), scratch)
    sizes = {index: size for index, (_, size) in pieces.items()}
    # An op that writes into its own input can do with less.
    return span, min(span, least_bytes(rows, sizes, inputs, outputs))


def least_bytes(
    rows: Sequence[Row], sizes: dict[int, int], inputs: Iterable[int], outputs: Iterable[int]
) -> int:
    """The most bytes that are needed at one time: no arena can be smaller.

    A tensor is needed from the op that writes it to the last one that reads it, an output to the
    end. The runtime keeps inputs to the end as well.
    """
    first = dict.fromkeys(inputs, 0)
    last = dict.fromkeys((*first, *outputs), len(rows))
    for step, row in enumerate(rows):
        for tensor in map(int, row["outputs"]):
            first.setdefault(tensor, step)
        for tensor in map(int, (*row["inputs"], *row["outputs"])):
            last[tensor] = max(last.get(tensor, step), step)
    return max(
        sum(size for t, size in sizes.items() if first.get(t, 0) <= step <= last.get(t, 0))
        for step in range(max(1, len(rows)))
    )


def _changing(rows: Sequence[Row], inputs: Iterable[int]) -> set[int]:
    """The tensors that are computed from the inputs' values.

    What is computed from their shapes only is a few bytes, and the runtime keeps it elsewhere.
    """
    found = set(inputs)
    for row in rows:
        if row["op_name"] != _SHAPE and found.intersection(map(int, row["inputs"])):
            found.update(int(tensor) for tensor in row["outputs"])
    return found


def _piece(interpreter: Any, index: int) -> Piece | None:
    try:
        view = interpreter.tensor(index)()
    except ValueError:  # It has no data.
        return None
    return view.__array_interface__["data"][0], view.nbytes


def _span(pieces: Sequence[Piece], scratch: Sequence[Piece]) -> int:
    if not pieces:
        raise UnmeasuredError("the runtime shows no address of any activation")
    start = min(address for address, _ in pieces)
    end = max(address + size for address, size in pieces)
    every = [*pieces, *scratch]
    most = sum(-(-size // _ALIGNMENT) * _ALIGNMENT for _, size in every)
    if end - start > most:
        raise UnmeasuredError("the model's activations are not in one block of memory")
    inside = [address + size for address, size in scratch if start <= address < end]
    return max([end, *inside]) - start
