"""ADD, SUB and MUL of two tensors, either of which may be repeated along some axes."""

from __future__ import annotations

from edgekit.mcu._code import Code
from edgekit.mcu._fixed_point import float32, quantize_multiplier
from edgekit.mcu._graph import Activation, Node
from edgekit.mcu.ops._axes import merge, padded, steps
from edgekit.mcu.ops._ranges import activation_range

__all__ = ["add", "mul", "sub"]

_LEFT_SHIFT = 20


def add(node: Node, code: Code) -> None:
    """Both inputs are brought to twice the larger scale, with 20 bits behind the point."""
    _scaled(node, code, "ek_add")


def sub(node: Node, code: Code) -> None:
    """As ADD; the output's multiplier may exceed 1."""
    _scaled(node, code, "ek_sub")


def mul(node: Node, code: Code) -> None:
    """The product, scaled once."""
    a, b, output = _tensors(node)
    real = float32(float32(a.scale * b.scale) / output.scale)
    multiplier, shift = quantize_multiplier(real)
    if shift > 15:
        node.refuse(_far_apart(a, b, output))
    fields = _fields(node, a, b, output)
    _emit(node, code, "ek_mul", fields | {"multiplier": multiplier, "shift": shift})


def _scaled(node: Node, code: Code, function: str) -> None:
    a, b, output = _tensors(node)
    twice = 2 * max(a.scale, b.scale)
    real = twice / float32((1 << _LEFT_SHIFT) * output.scale)
    if real >= 1:
        node.refuse(_far_apart(a, b, output))
    fields = _fields(node, a, b, output)
    for name, value in (("a_", a.scale / twice), ("b_", b.scale / twice), ("", real)):
        fields[f"{name}multiplier"], fields[f"{name}shift"] = quantize_multiplier(value)
    _emit(node, code, function, fields)


def _far_apart(a: Activation, b: Activation, output: Activation) -> str:
    return (
        f"has the scales {a.scale} and {b.scale} at its inputs and {output.scale} at its output, "
        "too far apart for 32 bits"
    )


def _tensors(node: Node) -> tuple[Activation, Activation, Activation]:
    a, b = node.input(0), node.input(1)
    rank = max(len(a.shape), len(b.shape))
    shapes = [(1,) * (rank - len(item.shape)) + item.shape for item in (a, b)]
    shape = []
    for first, second in zip(*shapes, strict=True):
        if first != second and 1 not in (first, second):
            node.refuse(f"has the inputs {list(a.shape)} and {list(b.shape)}, which do not fit")
        shape.append(max(first, second))
    return a, b, node.output(shape)


def _fields(node: Node, a: Activation, b: Activation, output: Activation) -> dict[str, object]:
    rank = len(output.shape)
    walks = [steps((1,) * (rank - len(item.shape)) + item.shape) for item in (a, b)]
    sizes, (a_steps, b_steps) = merge(output.shape, *walks)
    low, high = activation_range(node, 0, output)
    return {
        "sizes": padded(sizes, 1),
        "a_steps": padded(a_steps, 0),
        "b_steps": padded(b_steps, 0),
        "a_offset": -a.zero_point,
        "b_offset": -b.zero_point,
        "output_offset": output.zero_point,
        "low": low,
        "high": high,
    }


def _emit(node: Node, code: Code, function: str, fields: dict[str, object]) -> None:
    a, b, output = _tensors(node)
    struct = code.struct("EkArithmetic", fields)
    places = (code.place(a), code.place(b), code.place(output))
    code.call("ek_arithmetic", function, struct, *places)
