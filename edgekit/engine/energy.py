"""Energy of one inference, where the machine has a counter or the user a command that says it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.measurement import Kind
from edgekit.engine.bench_process import BenchModel, WorkerError
from edgekit.engine.energy_meters import find_meter
from edgekit.engine.figure_process import ask_figure
from edgekit.errors import UnmeasuredError, UsageError

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["Energy", "command_words", "measure_energy"]

_SYSTEM = Path("/sys")
_SECONDS = 2.0


@dataclass(frozen=True)
class Energy:
    """Joules of one inference: all that the counter counted meanwhile, and that less its idle.

    A counter is of a whole processor or board: what else runs there counts too.
    """

    kind: Kind
    reason: str = ""
    joules: float | None = None
    joules_above_idle: float | None = None
    idle_watts: float | None = None
    inferences: int = 0
    seconds: float = 0.0
    meter: str = ""


def command_words(command: str) -> tuple[str, ...]:
    """The words of `--energy-command`, as a shell would take them apart.

    Raises:
        UsageError: it is empty, or a quotation mark is open.
    """
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(f"--energy-command '{command}': {error}") from None
    if not words:
        raise UsageError(
            "--energy-command is empty", hint="give a command that prints the joules so far"
        )
    return words


def measure_energy(
    model: BenchModel,
    *,
    inputs: tuple[Array, ...],
    command: Sequence[str] = (),
    seconds: float = _SECONDS,
    root: Path = _SYSTEM,
) -> Energy:
    """Runs a model for some seconds in a fresh process, and reads the counter before and after.

    As many seconds without an inference go before, for the energy that is used either way.
    """
    if model.device is not None:
        return Energy("unmeasured", f"edgekit reads none on a device ({model.device.label})")
    try:
        meter = find_meter(root, command)
        found = ask_figure(
            "energy", model, inputs=inputs, root=str(root), command=list(command), seconds=seconds
        )
    except (UnmeasuredError, WorkerError) as error:
        return Energy("unmeasured", str(error))
    if not found["joules"]:
        return Energy("unmeasured", f"{meter.name} did not move within {found['seconds']:.1f} s")
    idle = found["idle_watts"]
    above = found["joules"] - idle * found["seconds"]
    return Energy(
        "measured",
        joules=found["joules"] / found["runs"],
        joules_above_idle=max(0.0, above) / found["runs"],
        idle_watts=idle,
        inferences=found["runs"],
        seconds=found["seconds"],
        meter=meter.name,
    )
