"""Measures one model alone: latency, memory, placement, bytes; counts, arena, energy, ops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.core.limits import Verdict, judge, worst
from edgekit.core.measurement import Latency, Measurements
from edgekit.core.notes import Note
from edgekit.core.runner import OpTime
from edgekit.core.target import Target
from edgekit.engine.arena import Arena, measure_arena
from edgekit.engine.bench import BenchModel, profile
from edgekit.engine.compress import DataRequest, open_for
from edgekit.engine.count import Count, count_instructions
from edgekit.engine.delegation import NO_DELEGATION, Delegation
from edgekit.engine.energy import Energy, command_words, measure_energy
from edgekit.engine.fallbacks import check_strictly, delegated, explained, fallback_notes
from edgekit.engine.measure import (
    bench_inputs,
    bench_model,
    measure_one,
    on_target,
    unmeasured,
    unreal_reason,
)
from edgekit.engine.open_model import open_model
from edgekit.engine.progress import Bar, Progress, silent
from edgekit.engine.targets import elsewhere, target_for
from edgekit.errors import UnmeasuredError

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["Benchmark", "Extras", "Profile", "bench"]


@dataclass(frozen=True)
class Profile:
    """The ops by their time; `reason` is why there are none.

    `explained` is their share of the latency that was measured without the profiler.
    """

    ops: tuple[OpTime, ...] = ()
    explained: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Extras:
    """What is measured besides, in processes of its own; None where nobody asked for it."""

    arena: Arena
    energy: Energy
    instructions: Count | None = None
    profile: Profile | None = None


@dataclass(frozen=True)
class Benchmark:
    """What was measured of one model, and the target's limits held against it.

    `notes` are what fell back, and why.

    A machine without an energy counter is no failure, but where the user named a command.
    """

    measurements: Measurements
    extras: Extras
    verdicts: tuple[Verdict, ...]
    energy_required: bool = False
    notes: tuple[Note, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 measured and within limits, 1 a limit is broken, 3 something was not measured."""
        status, extras = worst(self.verdicts), self.extras
        kinds = [self.measurements.latency.kind, self.measurements.memory.kind]
        if extras.instructions is not None:
            kinds.append(extras.instructions.kind)
        if extras.profile is not None and extras.profile.reason:
            kinds.append("unmeasured")
        if self.energy_required:
            kinds.append(extras.energy.kind)
        if status == "fail":
            return 1
        return 3 if status == "unmeasured" or "unmeasured" in kinds else 0


def bench(
    model: str,
    *,
    target: str | None = None,
    data: DataRequest | None = None,
    seed: int = 0,
    inputs: Sequence[str] = (),
    threads: int | None = None,
    on: str | None = None,
    with_profile: bool = False,
    with_count: bool = False,
    energy_command: str | None = None,
    delegation: Delegation = NO_DELEGATION,
    bars: Progress = silent,
) -> Benchmark:
    """Measures the file `model` on a target in fresh processes; inputs are random without `data`.

    Energy is measured where the machine has a counter, or `energy_command` prints the joules so
    far.

    Raises:
        UsageError: the model does not run on the target, or the command is none.
    """
    words = () if energy_command is None else command_words(energy_command)
    artifact = open_model(model, inputs)
    device = delegated(target_for(artifact, target, threads=threads, on=on), delegation)
    check_strictly(artifact, device)
    artifact, opened = open_for(artifact, data, seed=seed)
    subject = on_target(artifact, device)
    wanted = _Wanted(with_profile, with_count, words)
    reason = unreal_reason(subject)
    if reason:
        found = unmeasured(subject, reason)
        return _judged(found, _no_extras(wanted, reason), device, required=bool(words))
    measured, sample = bench_model(subject), bench_inputs(subject, opened, seed=seed)
    with bars("latency and memory", 4 + with_profile + with_count) as bar:
        found = measure_one(subject, inputs=sample, advance=bar.advance)
        extras = _extras(measured, sample, wanted, found.latency, bar)
    return _judged(found, extras, device, required=bool(words))


@dataclass(frozen=True)
class _Wanted:
    """What the user asked for besides."""

    profile: bool
    count: bool
    energy_command: tuple[str, ...]


def _extras(
    model: BenchModel,
    inputs: tuple[Array, ...],
    wanted: _Wanted,
    latency: Latency,
    bar: Bar,
) -> Extras:
    arena = measure_arena(model, inputs=inputs)
    bar.advance(text="energy")
    energy = measure_energy(model, inputs=inputs, command=wanted.energy_command)
    bar.advance()
    profiled = counted = None
    if wanted.profile:
        profiled = _profile(model, inputs, latency)
        bar.advance(text="instructions")
    if wanted.count:
        counted = count_instructions(model, inputs=inputs)
        bar.advance()
    return Extras(arena, energy, counted, profiled)


def _profile(model: BenchModel, inputs: tuple[Array, ...], latency: Latency) -> Profile:
    try:
        ops = profile(model, inputs=inputs)
    except UnmeasuredError as error:
        return Profile(reason=error.message.removeprefix("no profile: "))
    total_ns = sum(op.total_ns / op.calls for op in ops)
    return Profile(ops, total_ns / latency.median_ns if latency.median_ns else None)


def _no_extras(wanted: _Wanted, reason: str) -> Extras:
    return Extras(
        Arena("unmeasured", reason),
        Energy("unmeasured", reason),
        Count("unmeasured", reason) if wanted.count else None,
        Profile(reason=reason) if wanted.profile else None,
    )


def _judged(found: Measurements, extras: Extras, device: Target, *, required: bool) -> Benchmark:
    unjudged, away = "bench judges no accuracy", elsewhere(device)
    verdicts = judge((device.limits,), found, None, unjudged=unjudged, elsewhere=away)
    verdicts = explained(verdicts, device, found.placement)
    notes = fallback_notes(device, found.placement)
    return Benchmark(found, extras, verdicts, energy_required=required, notes=notes)
