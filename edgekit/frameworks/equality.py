"""Two models give equal outputs: compared by name, and the largest difference put on record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.core.technique import Work
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.keras import graph_names

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["TOLERANCE", "Sides", "order_by_name"]

TOLERANCE = 1e-4
"""The largest difference of an output tensor, over its largest absolute value in the reference."""


@dataclass(frozen=True)
class Sides:
    """How messages call the two models: 'the Keras model', 'the .tflite', and what made it."""

    before: str
    after: str
    runtime: str

    def compare(
        self,
        reference: tuple[Array, ...],
        made: tuple[Array, ...],
        before: Signature,
        after: Signature,
        work: Work,
    ) -> None:
        """Compares outputs by name, and puts the largest difference on record.

        Raises:
            PromiseError: an output is missing, has another shape, or differs by more than
                TOLERANCE.
            UsageError: the reference has values that are not finite.
        """
        places = order_by_name(after.outputs, before.outputs, "output")
        worst = ("", -1.0)
        for spec, expected, place in zip(before.outputs, reference, places, strict=True):
            difference = self.relative_difference(spec.name, expected, made[place])
            if not difference <= worst[1]:
                worst = (spec.name, difference)
        name, difference = worst
        if not difference <= TOLERANCE:
            raise PromiseError(
                f"output '{name}' of {self.after} differs from {self.before} by "
                f"{difference:.2g} of its largest value, and at most {TOLERANCE:g} is allowed",
                hint=f"a layer computes otherwise in {self.runtime}: look for random ops, training "
                "behaviour in inference, or values that overflow",
            )
        plural = "s" if len(reference) > 1 else ""
        work.evidence(
            "proven equal",
            f"{len(reference)} output{plural} on {len(reference[0])} inputs",
            f"the largest difference is {difference:.2g} of the output's largest value ('{name}')",
        )

    def relative_difference(self, name: str, expected: Array, made: Array) -> float:
        """max |made - expected| / max |expected|.

        Raises:
            PromiseError: the shapes differ, or only `made` has values that are not finite.
            UsageError: `expected` has such values: NaN equals nothing, and all is 0 beside
                infinity.
        """
        import numpy as np

        if made.shape != expected.shape:
            raise PromiseError(
                f"output '{name}' of {self.after} has the shape {made.shape}, and "
                f"{expected.shape} in {self.before}"
            )
        self._must_be_finite(name, expected, made)
        exact = expected.astype(np.float64)
        gap = float(np.max(np.abs(made.astype(np.float64) - exact), initial=0.0))
        if not gap:
            return 0.0
        largest = float(np.max(np.abs(exact)))
        return gap / largest if largest > 0 else float("inf")

    def _must_be_finite(self, name: str, expected: Array, made: Array) -> None:
        import numpy as np

        before, after = (int(np.count_nonzero(~np.isfinite(array))) for array in (expected, made))
        found = f"of {expected.size} values NaN or infinite on the compared inputs"
        if before:
            raise UsageError(
                f"output '{name}' of {self.before} has {before} {found}",
                hint="look for weights that are NaN or infinite (a training that diverged); where "
                "random inputs cause it, give real ones with --data",
            )
        if after:
            raise PromiseError(
                f"output '{name}' of {self.after} has {after} {found}, and {self.before} none",
                hint=f"a layer computes otherwise in {self.runtime}: look for values that overflow",
            )


def order_by_name(
    given: tuple[TensorSpec, ...], wanted: tuple[TensorSpec, ...], noun: str
) -> list[int]:
    """For each wanted tensor the place of the given one with its name, as TensorFlow writes it.

    Raises:
        PromiseError: a tensor has no counterpart.
    """
    have = graph_names(spec.name for spec in given)
    want = graph_names(spec.name for spec in wanted)
    lost = [name for name in want if name not in have]
    if lost or len(have) != len(want):
        raise PromiseError(
            f"{noun} '{(lost or have)[0]}' has no counterpart",
            hint=f"the two models have {', '.join(have)} and {', '.join(want)}",
        )
    return [have.index(name) for name in want]
