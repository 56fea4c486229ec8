"""What only some targets know of a model: estimates of a compiler, bytes of an arena, counts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from edgekit.core.measurement import Figure, Latency, Memory
from edgekit.engine import bench_device
from edgekit.engine.bench_process import BenchModel
from edgekit.errors import EdgekitError

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["with_figures"]

_LATENCY, _MEMORY = "latency", "memory"
"""The names by which a target tells what a report has a place of its own for."""


def with_figures(
    model: BenchModel, *, inputs: tuple[Array, ...], latency: Latency, memory: Memory
) -> tuple[Latency, Memory, tuple[Figure, ...]]:
    """Latency and memory by the target's own figures where it has them, and the other figures.

    What was measured with a clock stays; an estimate takes the place of "unmeasured" only.
    """
    try:
        found = bench_device.figures(model, inputs)
    except EdgekitError as error:
        if memory.kind == "unmeasured":
            memory = Memory("unmeasured", str(error))
        return latency, memory, ()
    own = {figure.name: figure for figure in found}
    if latency.kind == "unmeasured" and (told := own.pop(_LATENCY, None)) is not None:
        latency = dataclasses.replace(
            latency, kind=told.kind, reason=told.reason, median_ns=told.value
        )
    if memory.kind == "unmeasured" and (told := own.pop(_MEMORY, None)) is not None:
        memory = Memory(told.kind, peak_bytes=told.value, process=told.reason)
    return latency, memory, tuple(own.values())
