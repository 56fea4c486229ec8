"""Measure a model's latency, memory, bytes and placement on a target"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import _options as options
from edgekit.cli._latency import spread_lines
from edgekit.core.measurement import Figure, Measurements
from edgekit.text import clean
from edgekit.units import format_bytes, format_figure, format_nanoseconds

if TYPE_CHECKING:
    from edgekit.engine.arena import Arena
    from edgekit.engine.count import Count
    from edgekit.engine.energy import Energy
    from edgekit.engine.singles import Benchmark, Extras, Profile

__all__ = ["command"]

_MOST_TIMES = 5


@click.command("bench")
@options.model
@click.option("--target", metavar="T", help="A target's name or TOML file.")
@options.data_options(required=False)
@options.inputs
@click.option("--profile", is_flag=True, help="The time of each op, where the runtime says it.")
@click.option("--count", is_flag=True, help="The instructions of one inference, by valgrind.")
@click.option(
    "--energy-command",
    metavar="CMD",
    help="Prints the joules so far, for a machine without an energy counter of its own.",
)
@options.seed
@options.threads
@options.on
@options.delegates
@options.as_json
@options.quiet
def command(
    model: str,
    target: str | None,
    data: str | None,
    data_options: str,
    task: str | None,
    output: str | None,
    inputs: tuple[str, ...],
    profile: bool,
    count: bool,
    energy_command: str | None,
    seed: int,
    threads: int | None,
    on: str | None,
    libraries: tuple[str, ...],
    strict: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Runs MODEL in fresh processes. Times are of this machine now; compare models side by side."""
    from edgekit.engine.singles import bench

    found = bench(
        model,
        target=target,
        data=options.data_request(data, data_options, task, output),
        seed=seed,
        inputs=inputs,
        threads=threads,
        on=on,
        with_profile=profile,
        with_count=count,
        energy_command=energy_command,
        delegation=options.delegation(libraries, strict=strict),
        bars=options.progress(quiet=quiet),
    )
    if as_json:
        options.print_json(_table(found))
    else:
        lines = [
            *_lines(model, found.measurements),
            *_extras(found.extras, found.measurements.figures),
            *options.limit_lines(found.verdicts),
            *options.note_lines(found.notes),
        ]
        click.echo("\n".join(clean(line, most=400) for line in lines))
    return found.exit_code


def _lines(model: str, found: Measurements) -> list[str]:
    latency, memory = found.latency, found.memory
    lines = [
        f"{model}",
        f"  size        {format_bytes(found.size_bytes)}",
        f"  compressed  {format_bytes(found.size_compressed_bytes)}",
    ]
    if latency.median_ns is None:
        lines.append(f"  latency     unmeasured: {latency.reason}")
    elif not latency.samples_ns:
        told = format_nanoseconds(latency.median_ns)
        lines.append(f"  latency     {told} {latency.kind}: {latency.reason}")
    else:
        first = format_nanoseconds(latency.first_ns or 0)
        load = format_nanoseconds(latency.load_ns or 0)
        lines.append(
            f"  latency     {format_nanoseconds(latency.median_ns)} median of "
            f"{len(latency.samples_ns)} runs, {latency.threads} thread"
            f"{'s' if latency.threads > 1 else ''}; load {load}, first inference {first}"
        )
        lines += spread_lines(latency.samples_ns)
    if memory.peak_bytes is None:
        lines.append(f"  memory      unmeasured: {memory.reason}")
    else:
        how = "peak of" if latency.samples_ns else f"{memory.kind}:"
        lines.append(f"  memory      {format_bytes(memory.peak_bytes)} {how} {memory.process}")
    lines += [
        f"  {figure.name:<11} {format_figure(figure.value, figure.unit)} {figure.kind}"
        + (f": {figure.reason}" if figure.reason else "")
        for figure in found.figures
    ]
    return lines + options.placement_lines(found.placement)


def _table(found: Benchmark) -> dict[str, Any]:
    """Everything as JSON; what nobody asked for is not in it."""
    extras = found.extras
    table = {
        **dataclasses.asdict(found.measurements),
        "arena": dataclasses.asdict(extras.arena),
        "energy": dataclasses.asdict(extras.energy),
    }
    if extras.instructions is not None:
        table["instructions"] = dataclasses.asdict(extras.instructions)
    if extras.profile is not None:
        table["profile"] = [dataclasses.asdict(op) for op in extras.profile.ops]
        table["profile_explained"] = extras.profile.explained
        table["profile_reason"] = extras.profile.reason
    table["verdicts"] = [dataclasses.asdict(verdict) for verdict in found.verdicts]
    table["notes"] = [dataclasses.asdict(note) for note in found.notes]
    return table


def _extras(extras: Extras, figures: tuple[Figure, ...] = ()) -> list[str]:
    lines = []
    if not any(figure.name.startswith("arena") for figure in figures):
        lines.append(f"  arena       {_arena(extras.arena)}")
    lines.append(f"  energy      {_energy(extras.energy)}")
    if extras.instructions is not None:
        lines.append(f"  counted     {_count(extras.instructions)}")
    if extras.profile is not None:
        lines += _profile(extras.profile)
    return lines


def _arena(arena: Arena) -> str:
    if arena.arena_bytes is None or arena.least_bytes is None:
        return f"unmeasured: {arena.reason}"
    least = format_bytes(arena.least_bytes)
    return f"{format_bytes(arena.arena_bytes)} of activations, {least} at least; {arena.how}"


def _energy(energy: Energy) -> str:
    if energy.joules is None or energy.joules_above_idle is None:
        return f"unmeasured: {energy.reason}"
    return (
        f"{_joules(energy.joules)} an inference, {_joules(energy.joules_above_idle)} above idle "
        f"({energy.idle_watts:.2f} W); {energy.inferences} inferences in {energy.seconds:.1f} s, "
        f"by {energy.meter}"
    )


def _joules(joules: float) -> str:
    factor, unit = next(
        ((f, u) for f, u in ((1.0, "J"), (1e3, "mJ"), (1e6, "uJ")) if joules * f >= 1),
        (1e9, "nJ"),
    )
    return f"{joules * factor:.3g} {unit}"


def _count(count: Count) -> str:
    if count.instructions is None:
        return f"unmeasured: {count.reason}"
    apart = max(count.counts) / max(1, min(count.counts)) - 1
    same = (
        f"the same in {len(count.counts)} processes"
        if count.repeats
        else f"{100 * apart:.2g} % apart in {len(count.counts)} processes ("
        + ", ".join(f"{n:,}" for n in count.counts)
        + ")"
    )
    return (
        f"{count.instructions:,} instructions an inference, 1 thread, {same}; valgrind hides "
        "AVX-512: a regression metric, not a latency"
    )


def _profile(found: Profile) -> list[str]:
    """The ops that take the most time, with their share of all."""
    if found.reason:
        return [f"  profile     unmeasured: {found.reason}"]
    total = sum(op.total_ns for op in found.ops) or 1
    lines = [
        f"  {'profile' if number == 0 else '':<11} {100 * op.total_ns / total:5.1f} % "
        f"{format_nanoseconds(op.total_ns / op.calls):>9}  {op.kind} '{clean(op.name, most=60)}' "
        f"({op.where})"
        for number, op in enumerate(found.ops[:_MOST_TIMES])
    ]
    left = len(found.ops) - _MOST_TIMES
    if left > 0:
        lines.append(f"  {'':<11} (+{left} more: --json has all)")
    if found.explained is not None:
        lines.append(
            f"  {'':<11} all ops: {100 * found.explained:.0f} % of the latency "
            "(the profiler counts whole microseconds)"
        )
    return lines
