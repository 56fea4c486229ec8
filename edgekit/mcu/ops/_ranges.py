"""Ranges and paddings that several ops share."""

from __future__ import annotations

from edgekit.mcu._fixed_point import clamp, float32, round_away
from edgekit.mcu._graph import Activation, Node

__all__ = ["Window", "activation_range", "stored"]

_SAME, _VALID = 0, 1
_BOUNDS = {0: (None, None), 1: (0.0, None), 2: (-1.0, 1.0), 3: (0.0, 6.0)}
"""What the fused activations NONE, RELU, RELU_N1_TO_1 and RELU6 keep."""


def activation_range(node: Node, slot: int, output: Activation) -> tuple[int, int]:
    """The stored values that a fused activation keeps (CalculateActivationRangeQuantized)."""
    code = node.options.integer(slot, "b")
    if code not in _BOUNDS:
        node.refuse(
            f"has the fused activation {code}",
            hint="NONE, RELU, RELU6 and RELU_N1_TO_1 are understood",
        )
    low, high = (
        edge if bound is None else stored(bound, output)
        for bound, edge in zip(_BOUNDS[code], (-128, 127), strict=True)
    )
    return low, high


def stored(bound: float, output: Activation) -> int:
    """A real bound as a stored value."""
    steps = max(-1e9, min(1e9, bound / output.scale))
    return clamp(output.zero_point + round_away(float32(steps)), -128, 127)


class Window:
    """A window along one axis of an image: how many outputs it has, and the padding in front."""

    def __init__(
        self, node: Node, padding: int, *, size: int, filter: int, stride: int, dilation: int = 1
    ) -> None:
        reach = (filter - 1) * dilation + 1
        if padding not in (_SAME, _VALID):
            node.refuse(f"has the padding {padding}", hint="SAME and VALID are understood")
        whole = size + stride - 1 if padding == _SAME else size + stride - reach
        self.outputs = whole // stride
        if self.outputs < 1:
            node.refuse(f"has a window of {reach} on an image of {size}, which leaves nothing")
        self.front = max((self.outputs - 1) * stride + reach - size, 0) // 2
