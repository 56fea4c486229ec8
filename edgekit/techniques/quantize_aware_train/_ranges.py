"""Holds the scales of the activations in a .tflite file against the trained ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.frameworks.tflite import Tensor, TfliteModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["match_ranges"]

_LEVELS = 255
_CLOSE = 1e-4
"""The relative difference of two scales that are one: the file has them in float32."""
_FIXED = ((1 / 256, -128), (1 / 128, 0))
"""Scale and zero point of softmax and sigmoid, and of tanh, which TensorFlow Lite prescribes."""


def match_ranges(
    model: TfliteModel, ranges: NDArray[np.float64], floats: frozenset[str]
) -> tuple[tuple[Tensor, ...], int]:
    """The 8-bit activations whose scale is no trained one, and how many trained ones are there.

    An op that only moves values (a reshape, a pool, a concatenation) has the scale of a neighbour,
    so that not every trained range has to be in the file; but there is to be no other.

    Args:
        ranges: a row (least, largest) for each range.
        floats: names of layers that stay float; what the converter makes of them is its own.
    """
    import numpy as np

    trained = [_nudged(float(low), float(high)) for low, high in ranges]
    met = np.zeros(len(trained), bool)
    strange = []
    for tensor in _activations(model):
        found = np.array([_is(tensor, scale, zero) for scale, zero in trained], bool)
        met |= found
        fixed = any(_is(tensor, scale, zero) for scale, zero in _FIXED)
        if not fixed and not found.any() and not floats.intersection(tensor.name.split("/")):
            strange.append(tensor)
    return tuple(strange), int(met.sum())


def _nudged(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of a range; it has to have zero in it, at a whole step."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / _LEVELS
    return scale, round(-128 - low / scale) if scale else 0


def _is(tensor: Tensor, scale: float, zero: int) -> bool:
    """True where a tensor has this scale and zero point (one beside it: at a half)."""
    found = tensor.quantization
    if found is None:
        return False
    same = abs(found.scales[0] - scale) <= _CLOSE * scale
    return same and abs(found.zero_points[0] - zero) <= 1


def _activations(model: TfliteModel) -> list[Tensor]:
    """The 8-bit tensors whose values the file does not hold."""
    return [
        tensor
        for graph in model.subgraphs
        for tensor in graph.tensors
        if tensor.dtype == "int8" and tensor.quantization and not tensor.is_constant
    ]
