"""What of a kernel has to survive: its zeros, and which of its weights are equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.frameworks.sparsity import distinct_values, zero_share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = ["Kept", "as_stored", "groups", "kept_in", "quotients"]

_LEAST_ZEROS = 0.01
_LEAST_SHARING = 2
"""A kernel counts as clustered from this many weights for each different value on."""


@dataclass(frozen=True)
class Kept:
    """What of a kernel is kept, judged by its values."""

    zeros: bool
    clusters: bool

    @property
    def scheme(self) -> str:
        """The field's name for training a kernel in this way."""
        names = {(False, False): "QAT", (True, False): "PQAT", (False, True): "CQAT"}
        return names.get((self.zeros, self.clusters), "PCQAT")


def kept_in(values: Array) -> Kept:
    """Sees whether a kernel was pruned and clustered."""
    left = values[values != 0]
    clustered = left.size >= _LEAST_SHARING * max(1, distinct_values(left))
    return Kept(zero_share(values) >= _LEAST_ZEROS, bool(clustered))


def groups(values: Array, kept: Kept) -> NDArray[np.int32] | None:
    """For each weight the group whose mean it takes; group 0 is that of the zeros.

    None where every weight is on its own and none has to stay zero.
    """
    import numpy as np

    if not kept.zeros and not kept.clusters:
        return None
    flat = np.asarray(values).reshape(-1)
    if kept.clusters:
        _, index = np.unique(flat, return_inverse=True)
    else:
        index = np.arange(flat.size)
    index = index.reshape(-1) + 1
    return np.where((flat == 0) & kept.zeros, 0, index).astype(np.int32).reshape(values.shape)


def quotients(values: Array, scale: Array) -> NDArray[np.float64]:
    """What is rounded to the integers of a kernel; `scale` is for the whole, or for each index of
    the last axis."""
    import numpy as np

    return np.asarray(values, np.float64) / np.asarray(scale, np.float64)


_STORED = {
    "Conv1D": (2, 0, 1),
    "Conv2D": (3, 0, 1, 2),
    "Conv2DTranspose": (2, 0, 1, 3),
    "Dense": (1, 0),
    "DepthwiseConv2D": (3, 0, 1, 2),
}


def as_stored(kind: str, values: Any) -> Any:
    """A Keras kernel with its axes in the order of the `.tflite`; the output channel is first (last
    for DepthwiseConv2D)."""
    return values.transpose(_STORED[kind])
