"""Symmetric int8: the largest magnitude of a channel becomes 127."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["narrow"]

_PIECE = 1 << 22
"""Values worked on at once: the temporary arrays stay small whatever a tensor's size is."""


def narrow(values: Any, axis: int | None) -> tuple[Array, Array]:
    """int8 values and float32 scales, one for each slice along `axis`, or one for all.

    A slice of zeros has the scale 1, as in the engine.

    Raises:
        UsageError: a value is NaN or infinite.
    """
    import numpy as np

    found = np.empty(values.shape, np.int8)
    step = max(1, _PIECE * len(values) // max(1, values.size))
    pieces = [slice(start, start + step) for start in range(0, len(values), step)]
    others = tuple(place for place in range(values.ndim) if place != axis)
    peaks = [
        np.max(np.abs(values[piece]), axis=None if axis is None else others, initial=0.0)
        for piece in pieces
    ]
    peak = np.concatenate(peaks) if axis == 0 else np.max(peaks, axis=0, initial=0.0)
    if not np.isfinite(peak).all():
        raise UsageError(
            "quantize: a weight of the model is NaN or infinite",
            hint="look for a training that diverged",
        )
    scales = _scales(peak)
    for piece in pieces:
        scale = (
            scales if axis is None else _along(scales[piece] if axis == 0 else scales, values, axis)
        )
        found[piece] = np.clip(np.rint(values[piece] / scale), -127, 127)
    return found, scales


def _scales(peak: Any) -> Any:
    """A scale too small to divide by counts as zero."""
    import numpy as np

    scales = np.asarray(peak, np.float64) / 127
    usable = scales >= np.finfo(np.float32).tiny
    return np.where(usable, scales, 1.0).astype(np.float32)


def _along(scales: Any, values: Any, axis: int) -> Any:
    return scales.reshape([-1 if place == axis else 1 for place in range(values.ndim)])
