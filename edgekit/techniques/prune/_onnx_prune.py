"""Sets the weights of least magnitude of an ONNX model to zero, and counts the zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.errors import PromiseError
from edgekit.frameworks.sparsity import groups_of_four, zero_blocks, zero_share
from edgekit.techniques.prune import Parameters
from edgekit.techniques.prune._onnx_weights import Weight, from_kernel, to_kernel
from edgekit.techniques.prune._plan import block_of
from edgekit.techniques.prune._sensitivity import magnitude_pruned
from edgekit.units import format_share

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["measured", "present_share", "pruned"]

_TOLERANCE = 0.005
_HALF_A_WEIGHT = 0.5 + 1e-9


def pruned(parameters: Parameters, weight: Weight, values: Array, share: float) -> Array:
    """A copy with that share of zeros; two of four consecutive inputs under `2:4`."""
    import numpy as np

    kernel = to_kernel(weight, values)
    if parameters.structure == "2:4":
        made = np.where(_two_of_four(np.abs(kernel)), kernel, 0)
    else:
        made = magnitude_pruned(parameters, kernel, share)
    return np.ascontiguousarray(from_kernel(weight, made), values.dtype)


def _two_of_four(magnitude: Array) -> Array:
    """Which values stay: of each four along the next to last axis, the two largest."""
    import numpy as np

    turned = np.moveaxis(magnitude, -2, -1)
    inputs = turned.shape[-1]
    # What is filled up at the end counts as zero, below any weight.
    padded = np.pad(turned, [(0, 0)] * (turned.ndim - 1) + [(0, -inputs % 4)], constant_values=-1)
    groups = padded.reshape(*padded.shape[:-1], -1, 4)
    order = np.argsort(np.negative(groups), axis=-1, kind="stable")
    kept = np.zeros(groups.shape, bool)
    np.put_along_axis(kept, order[..., :2], True, axis=-1)
    flat: Array = kept.reshape(padded.shape)[..., :inputs]
    return np.moveaxis(flat, -1, -2)


def measured(parameters: Parameters, weight: Weight, made: Array, share: float, had: float) -> str:
    """Says how many zeros there are.

    Raises:
        PromiseError: not as many as were asked for; `had` is the share that was there before.
    """
    kernel = to_kernel(weight, made)
    if parameters.structure == "2:4":
        counts = groups_of_four(kernel)
        broken = int((counts.astype(int) > 2).sum())
        if broken:
            raise PromiseError(
                f"prune: {broken} of {counts.size} groups of four input channels of {weight.item} "
                "have fewer than two zeros"
            )
        return f"two zeros in each of {counts.size} groups of four"
    zeros, count, noun = int((kernel == 0).sum()), kernel.size, "weights"
    if parameters.structure == "block":
        zeros, count = zero_blocks(kernel, block_of(parameters))
        noun = "blocks of {} x {}".format(*parameters.block)
    wanted = max(share, had)
    if abs(zeros - wanted * count) > max(_TOLERANCE * count, _HALF_A_WEIGHT):
        raise PromiseError(
            f"prune: {weight.item} has {format_share(zeros / count)} zeros, and "
            f"{format_share(wanted)} of its {count} {noun} were asked for"
        )
    return f"{format_share(zeros / count)} of {count} {noun} are 0, {format_share(wanted)} asked"


def present_share(parameters: Parameters, weight: Weight, values: Array) -> float:
    """The share of zeros that is there, in the units of the structure."""
    kernel = to_kernel(weight, values)
    if parameters.structure != "block":
        return zero_share(kernel)
    zeros, count = zero_blocks(kernel, block_of(parameters))
    return zeros / count
