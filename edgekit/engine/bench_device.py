"""Latency, memory and placement of models on a device, timed there."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.core.measurement import Figure, Memory
from edgekit.core.runner import Placement
from edgekit.engine.bench_process import BenchModel, WorkerError
from edgekit.engine.bench_rounds import rounds
from edgekit.engine.device_session import DeviceSession, device_module, open_on_device
from edgekit.errors import EdgekitError
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["figures", "measure_memory", "placement", "share_a_machine", "time_models", "untimed"]


def share_a_machine(one: BenchModel, other: BenchModel) -> bool:
    """Whether the times of two models compare: on one device, or both on this machine by run.py."""
    if one.device is None or other.device is None:
        return one.device is other.device
    if (one.device.via, one.device.options) == (other.device.via, other.device.options):
        return True
    return all(getattr(device_module(d), "IS_HERE", False) for d in (one.device, other.device))


def untimed(model: BenchModel) -> str:
    """Why no time and no memory of this model counts; '' where they do."""
    if model.device is None:
        return ""
    return device_module(model.device).untimed(model.device.options)


def time_models(
    models: Sequence[BenchModel],
    inputs: Sequence[tuple[Array, ...]],
    *,
    seconds: float,
    count: int,
    keep: int,
) -> dict[str, Any]:
    """Times models that are on one device, interleaved, each in a process of its own there.

    Raises:
        WorkerError: the device or the model did not do it; says why.
    """
    openers = [_Opener(model, sample) for model, sample in zip(models, inputs, strict=True)]
    try:
        found = rounds(openers, seconds=seconds, count=count, turn=0, keep=keep)
    except EdgekitError as error:
        raise WorkerError(str(error)) from None
    return {
        "rounds": found,
        "load_ns": [round(statistics.median(opener.load_ns)) for opener in openers],
        "first_ns": [round(statistics.median(opener.first_ns)) for opener in openers],
        "framework": "",
        "framework_declared": False,
    }


def measure_memory(model: BenchModel, inputs: tuple[Array, ...]) -> Memory:
    """The peak resident memory of run.py's process on the device."""
    assert model.device is not None, "the model is on a device"
    try:
        session = _start(model, inputs)
        try:
            session.block(5)
            peak, before = session.peak()
        finally:
            session.close()
    except EdgekitError as error:
        return Memory("unmeasured", str(error))
    return Memory(
        "measured",
        peak_bytes=peak,
        process=f"run.py on {model.device.label}; {format_bytes(before)} of it was there before "
        "the runtime was loaded",
    )


def placement(model: BenchModel) -> Placement:
    """Which op of a model runs where, as the device's runtime says."""
    try:
        session = _open(model)
        try:
            return session.placement()
        finally:
            session.close()
    except EdgekitError as error:
        return Placement((), str(error))


def figures(model: BenchModel, inputs: tuple[Array, ...]) -> tuple[Figure, ...]:
    """What only the model's target knows of it, after one inference: nothing where time counts.

    Raises:
        EdgekitError: the target does not open or run the model.
    """
    if model.device is None or not untimed(model):
        return ()
    if not getattr(device_module(model.device), "FIGURES", False):
        return ()
    session = _start(model, inputs)
    try:
        return session.figures()
    finally:
        session.close()


@dataclass
class _Opener:
    """Implements `bench_rounds.Model`."""

    model: BenchModel
    inputs: tuple[Array, ...]
    load_ns: list[int] = field(default_factory=list)
    first_ns: list[int] = field(default_factory=list)

    def open(self) -> DeviceSession:
        """Opens the model in a new process on the device and runs it once."""
        session = _start(self.model, self.inputs)
        self.load_ns.append(session.load_ns)
        self.first_ns.append(session.first_ns)
        return session


def _start(model: BenchModel, inputs: tuple[Array, ...]) -> DeviceSession:
    from edgekit.engine.inference import model_inputs

    session = _open(model)
    try:
        session.run(model_inputs(session.signature, inputs))
    except BaseException:
        session.close()
        raise
    return session


def _open(model: BenchModel) -> DeviceSession:
    assert model.device is not None, "the model is on a device"
    return open_on_device(
        model.device,
        model.files,
        format=model.format,
        signature=model.signature,
        options=model.options,
    )
