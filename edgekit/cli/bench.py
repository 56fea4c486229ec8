"""Measure a model's latency, memory, bytes and placement on a target"""

from __future__ import annotations

import dataclasses

import click

from edgekit.cli import _options as options
from edgekit.core.limits import Verdict
from edgekit.core.measurement import Measurements
from edgekit.core.runner import OpTime
from edgekit.text import clean
from edgekit.units import format_bytes, format_nanoseconds

__all__ = ["command"]

_MOST_TIMES = 5


@click.command("bench")
@options.model
@click.option("--target", metavar="T", help="A target's name or TOML file.")
@options.data_options(required=False)
@options.inputs
@click.option("--profile", is_flag=True, help="The time of each op, where the runtime says it.")
@options.seed
@options.threads
@options.on
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
    seed: int,
    threads: int | None,
    on: str | None,
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
        bars=options.progress(quiet=quiet),
    )
    if as_json:
        verdicts = [dataclasses.asdict(verdict) for verdict in found.verdicts]
        times = {"profile": [dataclasses.asdict(op) for op in found.profile]} if profile else {}
        facts = dataclasses.asdict(found.measurements)
        options.print_json({**facts, **times, "verdicts": verdicts})
    else:
        lines = [
            *_lines(model, found.measurements),
            *_profile(found.profile),
            *_limits(found.verdicts),
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
    else:
        first = format_nanoseconds(latency.first_ns or 0)
        load = format_nanoseconds(latency.load_ns or 0)
        lines.append(
            f"  latency     {format_nanoseconds(latency.median_ns)} median of "
            f"{len(latency.samples_ns)} runs, {latency.threads} thread"
            f"{'s' if latency.threads > 1 else ''}; load {load}, first inference {first}"
        )
    if memory.peak_bytes is None:
        lines.append(f"  memory      unmeasured: {memory.reason}")
    else:
        lines.append(f"  memory      {format_bytes(memory.peak_bytes)} peak of {memory.process}")
    return lines + options.placement_lines(found.placement)


def _profile(times: tuple[OpTime, ...]) -> list[str]:
    """The ops that take the most time, with their share of all."""
    total = sum(op.total_ns for op in times) or 1
    lines = [
        f"  {'profile' if number == 0 else '':<11} {100 * op.total_ns / total:5.1f} % "
        f"{format_nanoseconds(op.total_ns / op.calls):>9}  {op.kind} '{op.name}' ({op.where})"
        for number, op in enumerate(times[:_MOST_TIMES])
    ]
    left = len(times) - _MOST_TIMES
    return [*lines, f"  {'':<11} (+{left} more: --json has all)"] if left > 0 else lines


def _limits(verdicts: tuple[Verdict, ...]) -> list[str]:
    return [
        f"  {'ok' if verdict.status == 'pass' else verdict.status.upper():<11} {verdict.metric}: "
        f"{'unmeasured' if verdict.value is None else f'{verdict.value:g}'}, "
        f"limit {verdict.bound:g} ({verdict.source})"
        for verdict in verdicts
    ]
