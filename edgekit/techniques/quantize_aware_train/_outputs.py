"""Judges what a file gives against what the trained model gives, on the same probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = ["Likeness", "compare"]

_ROUNDING = 2.001
"""A difference of two steps of the output is rounding; float32 adds a little."""
_WORST = 0.5
"""The largest mean difference beyond rounding, over that of an output that ignores its input."""
_CLEAR = 4.0
"""A class is clear where it is ahead of the next by this many steps."""
_LEAST_SAME = 0.75
_LEAST_PROBES = 16


@dataclass(frozen=True)
class Likeness:
    """How near the outputs are.

    `spread` is the mean difference of the best constant from the trained model's outputs, `beyond`
    the mean of what differences have beyond rounding. `same` is the share of probes with the same
    class, `clear_same` that among the `clear` probes whose class is no matter of rounding.
    """

    mean: float
    largest: float
    beyond: float
    spread: float
    same: float | None
    clear: int
    clear_same: float

    @property
    def flaw(self) -> str:
        """What is too far off, '' where nothing is."""
        if not self.beyond <= _WORST * self.spread:
            return (
                f"differs by {self.mean:.3g} in the mean from the trained model, whose values "
                f"vary by {self.spread:.3g}"
            )
        if self.clear >= _LEAST_PROBES and self.clear_same < _LEAST_SAME:
            return (
                f"has the class of the trained model on {100 * self.clear_same:.0f} % of "
                f"{self.clear} probes whose class is clear"
            )
        return ""


def compare(trained: Array, made: Array, *, step: float, classes: bool) -> Likeness:
    """Compares outputs, a row for each probe.

    Args:
        step: that of the output's integers; 0 takes a 255th of what the trained model's values
            span.
        classes: the largest of a row is the answer.
    """
    import numpy as np

    wanted: NDArray[np.float64] = np.asarray(trained, np.float64)
    values: NDArray[np.float64] = np.asarray(made, np.float64)
    step = step or float(np.ptp(wanted)) / 255
    gap = np.abs(values - wanted)
    same, clear = None, np.zeros(len(wanted), bool)
    agree = clear
    if classes and wanted.ndim == 2 and wanted.shape[1] > 1:
        agree = wanted.argmax(axis=1) == values.argmax(axis=1)
        second, first = np.sort(wanted, axis=1)[:, -2:].T
        same, clear = float(agree.mean()), first - second > _CLEAR * step
    return Likeness(
        mean=float(gap.mean()),
        largest=float(gap.max()),
        # np.maximum passes a NaN on, and a NaN is then no likeness.
        beyond=float(np.maximum(gap - _ROUNDING * step, 0).mean()),
        spread=float(np.abs(wanted - np.median(wanted, axis=0)).mean()),
        same=same,
        clear=int(clear.sum()),
        clear_same=float(agree[clear].mean()) if clear.any() else 1.0,
    )
