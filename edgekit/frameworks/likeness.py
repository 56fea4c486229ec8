"""How far the outputs of two models are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["relative_difference"]


def relative_difference(before: tuple[Array, ...], after: tuple[Array, ...]) -> float:
    """The largest difference of two models' outputs, over the largest value of that output.

    Infinite where the outputs differ in number or shape, or one has NaN where the other has not.
    """
    import numpy as np

    if [values.shape for values in before] != [values.shape for values in after]:
        return float("inf")
    worst = 0.0
    for first, second in zip(before, after, strict=True):
        old, new = np.asarray(first, np.float64), np.asarray(second, np.float64)
        same = (old == new) | (np.isnan(old) & np.isnan(new))
        with np.errstate(invalid="ignore"):
            apart = np.where(same, 0.0, np.abs(old - new))
        largest = np.max(np.abs(old[np.isfinite(old)]), initial=0.0) or 1.0
        worst = max(worst, float(np.max(np.nan_to_num(apart, nan=np.inf), initial=0.0) / largest))
    return worst
