"""The memory that a runtime sets aside for activations, where it lets one see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.core.measurement import Kind
from edgekit.engine.bench_process import BenchModel, WorkerError
from edgekit.engine.figure_process import ask_figure

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["Arena", "measure_arena"]


@dataclass(frozen=True)
class Arena:
    """Bytes of the activations' arena for one sample; `least_bytes` is what no planner beats."""

    kind: Kind
    reason: str = ""
    arena_bytes: int | None = None
    least_bytes: int | None = None
    how: str = ""


def measure_arena(model: BenchModel, *, inputs: tuple[Array, ...]) -> Arena:
    """Asks a model's runner, in a process of its own."""
    if model.device is not None:
        return Arena("unmeasured", f"edgekit reads none on a device ({model.device.label})")
    try:
        found = ask_figure("arena", model, inputs=inputs)["arena"]
    except WorkerError as error:
        return Arena("unmeasured", str(error))
    if found is None:
        return Arena("unmeasured", f"the runtime of '{model.runner}' does not show it")
    how = "from the addresses of the tensors, with the runtime's plain kernels"
    return Arena("measured", arena_bytes=found[0], least_bytes=found[1], how=how)
