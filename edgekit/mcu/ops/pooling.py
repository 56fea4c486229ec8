"""AVERAGE_POOL_2D and MAX_POOL_2D."""

from __future__ import annotations

from edgekit.mcu._code import Code
from edgekit.mcu._graph import Node
from edgekit.mcu.ops._ranges import Window, activation_range

__all__ = ["average_pool_2d", "max_pool_2d"]


def average_pool_2d(node: Node, code: Code) -> None:
    """The mean of what lies inside the image, halves away from zero."""
    _pool(node, code, "ek_average_pool_2d")


def max_pool_2d(node: Node, code: Code) -> None:
    """The largest of what lies inside the image."""
    _pool(node, code, "ek_max_pool_2d")


def _pool(node: Node, code: Code, function: str) -> None:
    source = node.input(0)
    if len(source.shape) != 4:
        node.refuse(f"has the input {list(source.shape)}, where an image of 4 axes is understood")
    padding = node.options.integer(0, "b")
    fields: dict[str, object] = {"batches": source.shape[0], "depth": source.shape[3]}
    shape = [source.shape[0]]
    for axis, name, stride_slot, size_slot in ((1, "height", 2, 4), (2, "width", 1, 3)):
        stride = node.positive(stride_slot, f"stride in {name}")
        size = node.positive(size_slot, f"filter {name}")
        window = Window(node, padding, size=source.shape[axis], filter=size, stride=stride)
        fields[f"input_{name}"] = source.shape[axis]
        fields[f"output_{name}"] = window.outputs
        fields[f"filter_{name}"] = size
        fields[f"stride_{name}"] = stride
        fields[f"padding_{name}"] = window.front
        shape.append(window.outputs)
    output = node.output((*shape, source.shape[3]))
    fields["low"], fields["high"] = activation_range(node, 5, output)
    struct = code.struct("EkPool2d", fields)
    code.call("ek_pool_2d", function, struct, code.place(source), code.place(output))
