"""MEAN over any axes."""

from __future__ import annotations

import math

from edgekit.mcu._code import Code
from edgekit.mcu._fixed_point import INT32_MAX, quantize_multiplier
from edgekit.mcu._graph import Node
from edgekit.mcu.ops._axes import merge, padded, steps

__all__ = ["mean", "mean_multiplier"]


def mean(node: Node, code: Code) -> None:
    """The sum along the axes, times a multiplier that divides by their size."""
    source = node.input(0)
    rank = len(source.shape)
    _, given = node.constant(1, ("int32",))
    axes = {axis + (rank if axis < 0 else 0) for axis in map(int, given.ravel())}
    if any(not 0 <= axis < rank for axis in axes):
        node.refuse(f"has the axes {given.ravel().tolist()} on an input {list(source.shape)}")
    keep = bool(node.options.integer(0, "B"))
    shape = [1 if axis in axes else size for axis, size in enumerate(source.shape)]
    output = node.output([size for axis, size in enumerate(shape) if keep or axis not in axes])
    count = math.prod(source.shape[axis] for axis in axes)
    multiplier, shift = mean_multiplier(source.scale / output.scale, count)
    if (count * 255) << max(shift, 0) > INT32_MAX:
        node.refuse("can add up to more than 32 bits hold", hint="its scales are damaged")
    walk = steps(source.shape)
    kept = [axis for axis in range(rank) if axis not in axes]
    fields: dict[str, object] = {"outputs": output.size, "count": count}
    for name, chosen in (("kept", kept), ("summed", sorted(axes))):
        sizes, (path,) = merge([source.shape[i] for i in chosen], [walk[i] for i in chosen])
        fields |= {f"{name}_sizes": padded(sizes, 1), f"{name}_steps": padded(path, 0)}
    fields |= {"input_zero_point": source.zero_point, "output_offset": output.zero_point}
    fields |= {"multiplier": multiplier, "shift": shift}
    struct = code.struct("EkMean", fields)
    code.call("ek_mean", "ek_mean", struct, code.place(source), code.place(output))


def mean_multiplier(real: float, count: int) -> tuple[int, int]:
    """The multiplier with 1 / count in it, as QuantizedMeanOrSum readapts it."""
    multiplier, shift = quantize_multiplier(real)
    bits = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << bits) // count, shift - bits
