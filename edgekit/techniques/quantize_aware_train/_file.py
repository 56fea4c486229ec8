"""Finds trained kernels in a .tflite file, and judges them there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.frameworks.tflite import TfliteModel
from edgekit.techniques.quantize_aware_train._kernels import as_stored
from edgekit.techniques.quantize_aware_train._model import TrainedKernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = ["by_channel", "find_kernel", "flaw"]

_HALF = 0.5 + 1e-3
"""The converter divides in float32, so that it rounds the other way just beside a half."""


def find_kernel(model: TfliteModel, kernel: TrainedKernel) -> NDArray[np.int8] | None:
    """The integers of a kernel as the file has them, a row for each channel; None if not there.

    The sign of a channel is turned back where a BatchNormalization with a negative scale was
    folded into it.
    """
    import numpy as np

    wanted = by_channel(kernel.plan.kind, kernel.values)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.dtype != "int8" or tensor.size_bytes != wanted.size:
                continue
            held = np.frombuffer(model.buffer(tensor.buffer), np.int8)
            made = (
                held.reshape(-1, len(wanted)).T
                if kernel.plan.kind == "DepthwiseConv2D"
                else held.reshape(wanted.shape)
            )
            as_is = _is_rounded(made, wanted)
            if (as_is | _is_rounded(-made, wanted)).all():
                return np.where(as_is[:, None], made, -made)
    return None


def _is_rounded(made: Any, wanted: Any) -> Any:
    """For each row whether its integers are the rounded values."""
    import numpy as np

    return (np.abs(made - wanted) <= _HALF).all(axis=1)


def by_channel(kind: str, values: Array) -> Array:
    """A kernel of a Keras layer as rows, one for each output channel, in the file's order."""
    stored = as_stored(kind, values)
    if kind == "DepthwiseConv2D":
        rows: Array = stored.reshape(-1, stored.shape[-1]).T
        return rows
    return stored.reshape(len(stored), -1)  # type: ignore[no-any-return]


def flaw(kernel: TrainedKernel, before: Array, made: NDArray[np.int8]) -> str:
    """What of a kernel did not survive, '' where all did.

    Args:
        kernel: what was to be kept, and how it is scaled.
        before, made: its weights before training, and its integers in the file; rows of channels.
    """
    import numpy as np

    if kernel.kept.zeros:
        lost = int(np.count_nonzero(made[before == 0]))
        if lost:
            return f"{lost} of {np.count_nonzero(before == 0)} zeros are no longer zero"
    if not kernel.kept.clusters:
        return ""
    if kernel.plan.scales != "channel":
        before, made = before.reshape(1, -1), made.reshape(1, -1)
    for channel, (old, new) in enumerate(zip(before, made, strict=True)):
        had, has = len(np.unique(old)), len(np.unique(new))
        if has > had:
            where = f" in channel {channel}" if len(before) > 1 else ""
            return f"{had} different weights became {has} different integers{where}"
    return ""
