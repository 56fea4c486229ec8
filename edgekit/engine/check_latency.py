"""When the gate calls a model slower: beyond the threshold, told from noise, and twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.core.measurement import Latency
from edgekit.engine.bench import BenchModel, compare_latency

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["compare_twice", "is_slower"]

_SECONDS, _PROCESSES = 3.0, 6
"""More than a report takes: docs/measuring.md says how often a verdict is right with these."""


def compare_twice(
    reference: BenchModel,
    result: BenchModel,
    *,
    inputs: tuple[Array, ...],
    threshold: float,
    reference_inputs: tuple[Array, ...] | None = None,
) -> tuple[tuple[Latency, Latency], ...]:
    """Times two models side by side, and once more in new processes where the first says slower.

    Each measurement is the latency of the reference and of the result; the last one counts. A
    `threshold` of 0.03 is 3 %.
    """
    found: list[tuple[Latency, Latency]] = []
    while len(found) < 2 and all(is_slower(latency, threshold) for _, latency in found):
        found.append(
            compare_latency(
                reference,
                result,
                inputs=inputs,
                reference_inputs=reference_inputs,
                seconds=_SECONDS,
                processes=_PROCESSES,
            )
        )
    return tuple(found)


def is_slower(latency: Latency, threshold: float) -> bool:
    """Whether the whole 95 % interval of the ratio to the reference lies beyond the threshold."""
    return latency.ratio_ci95 is not None and latency.ratio_ci95[0] > 1 + threshold
