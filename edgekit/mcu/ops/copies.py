"""Ops that only move bytes: PAD, CONCATENATION and TRANSPOSE, all with one kernel."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.mcu._code import Code
from edgekit.mcu._graph import Activation, Node
from edgekit.mcu.ops._axes import merge, padded, steps

__all__ = ["concatenation", "pad", "transpose"]


def pad(node: Node, code: Code) -> None:
    """PAD and PADV2: the border has the value 0, or the one that PADV2 gives."""
    source = node.input(0)
    _, borders = node.constant(1, ("int32", "int64"))
    if borders.shape != (len(source.shape), 2) or borders.min() < 0 or borders.max() > 1 << 20:
        node.refuse(f"has the paddings {borders.tolist()} on an input {list(source.shape)}")
    pairs = [(int(before), int(after)) for before, after in borders]
    shape = [size + sum(pair) for size, pair in zip(source.shape, pairs, strict=True)]
    output = node.output(shape)
    value = _border(node, output)
    code.call("ek_copy", "ek_fill", code.place(output), str(output.size), str(value))
    walk = steps(output.shape)
    start = sum(before * step for (before, _), step in zip(pairs, walk, strict=True))
    _copy(code, source, output, source.shape, steps(source.shape), walk, start)


def _border(node: Node, output: Activation) -> int:
    if not node.has_input(2):
        return output.zero_point
    value = node.input(2)
    if (value.scale, value.zero_point) != (output.scale, output.zero_point):
        node.refuse("pads with a value of another scale or zero point than the output's")
    _, values = node.constant(2, ("int8",))
    return int(values.ravel()[0])


def concatenation(node: Node, code: Code) -> None:
    """Each input is copied to its place; all have the output's scale and zero point."""
    sources = [node.input(position) for position in range(len(node.operation.inputs))]
    axis = _axis(node, sources)
    shape = list(sources[0].shape)
    shape[axis] = sum(source.shape[axis] for source in sources)
    output = node.output(shape)
    if node.options.integer(1, "b"):
        node.refuse("has a fused activation")
    walk, start = steps(output.shape), 0
    for source in sources:
        if (source.scale, source.zero_point) != (output.scale, output.zero_point):
            node.refuse("joins tensors of different scales or zero points")
        _copy(code, source, output, source.shape, steps(source.shape), walk, start * walk[axis])
        start += source.shape[axis]


def _axis(node: Node, sources: Sequence[Activation]) -> int:
    rank = len(sources[0].shape) if sources else 0
    axis = node.options.integer(0)
    axis += rank if axis < 0 else 0
    if not 0 <= axis < rank:
        node.refuse(f"joins along axis {axis} of {rank}")
    others = {source.shape[:axis] + source.shape[axis + 1 :] for source in sources}
    if len(others) > 1 or any(len(source.shape) != rank for source in sources):
        node.refuse(f"joins {', '.join(str(list(source.shape)) for source in sources)}")
    return axis


def transpose(node: Node, code: Code) -> None:
    """Output axis i is the input's axis order[i]."""
    source = node.input(0)
    _, order = node.constant(1, ("int32",))
    axes = [int(axis) for axis in order.ravel()]
    if sorted(axes) != list(range(len(source.shape))):
        node.refuse(f"has the axis order {axes} on an input {list(source.shape)}")
    output = node.output([source.shape[axis] for axis in axes])
    own = steps(source.shape)
    walk = [own[axis] for axis in axes]
    _copy(code, source, output, output.shape, walk, steps(output.shape), 0)


def _copy(
    code: Code,
    source: Activation,
    output: Activation,
    shape: Sequence[int],
    read: Sequence[int],
    write: Sequence[int],
    start: int,
) -> None:
    sizes, (reading, writing) = merge(shape, read, write)
    fields = {
        "sizes": padded(sizes, 1),
        "input_steps": padded(reading, 0),
        "output_steps": padded(writing, 0),
    }
    place = code.place(output) + (f" + {start}" if start else "")
    code.call("ek_copy", "ek_copy", code.struct("EkCopy", fields), code.place(source), place)
