"""The rungs of a ladder that every format has: the most sensitive ops with float activations."""

from __future__ import annotations

from edgekit.core.ladder import Rung
from edgekit.techniques.quantize import Parameters

__all__ = ["sparing"]

_SPARED = (0.1, 0.25, 0.5)
"""The shares of the weighted ops whose activations the rungs between all and none leave float."""


def sparing(parameters: Parameters) -> tuple[Rung, ...]:
    """One rung for each share of the ops, the gentlest last."""
    return tuple(
        Rung(
            f"the {100 * share:.0f} % most sensitive ops with float activations",
            parameters,
            share,
            fills="weights_only",
        )
        for share in _SPARED
    )
