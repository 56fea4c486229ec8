"""FULLY_CONNECTED, with one scale for all weights or one for each output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.mcu._code import Code
from edgekit.mcu._fixed_point import INT32_MAX
from edgekit.mcu._graph import Node
from edgekit.mcu.ops._ranges import activation_range
from edgekit.mcu.ops.convolution import bias, filter_scales

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["fully_connected"]


def fully_connected(node: Node, code: Code) -> None:
    """Weights of [outputs, inputs]; the reference kernel scales the sums in double precision."""
    source = node.input(0)
    tensor, weights = node.constant(1, ("int8",))
    if weights.ndim != 2 or not weights.size or source.size % weights.shape[1]:
        node.refuse(f"has weights {list(weights.shape)} on an input {list(source.shape)}")
    if node.options.integer(1, "b"):
        node.refuse("has shuffled weights", hint="convert the model again")
    count, depth = weights.shape
    batches = source.size // depth
    keep = node.options.integer(2, "B")
    output = node.output((*source.shape[:-1], count) if keep else (batches, count))
    scales = filter_scales(node, tensor, count, axis=0)
    assert tensor.quantization is not None
    per_channel = len(tensor.quantization.scales) > 1
    zero_point = 0 if per_channel else tensor.quantization.zero_points[0]
    biases = bias(node, count)
    real = [source.scale * scale / output.scale for scale in scales]
    _check_sums(node, weights, zero_point, biases, max(real))
    low, high = activation_range(node, 0, output)
    code.call(
        "ek_fully_connected",
        "ek_fully_connected",
        code.struct(
            "EkFullyConnected",
            {
                "batches": batches,
                "input_depth": depth,
                "output_depth": count,
                "input_offset": -source.zero_point,
                "weights_offset": -zero_point,
                "output_offset": output.zero_point,
                "low": low,
                "high": high,
                "weights": code.constant("int8_t", weights.ravel().tolist()),
                "biases": code.constant("int32_t", biases),
                "scales": code.constant("double", real if per_channel else real[:1]),
                "scale_step": int(per_channel),
            },
        ),
        code.place(source),
        code.place(output),
    )


def _check_sums(
    node: Node, weights: Array, zero_point: int, biases: list[int], scale: float
) -> None:
    """Refuses sums that leave 32 bits, where the reference kernel has no defined answer."""
    import numpy as np

    sums = 255 * np.abs(weights.astype(np.int64) - zero_point).sum(axis=1)
    most = int((sums + np.abs(np.array(biases, np.int64))).max())
    if most > INT32_MAX or not most * scale < INT32_MAX - 256:
        node.refuse("can add up to more than 32 bits hold", hint="its scales or biases are damaged")
