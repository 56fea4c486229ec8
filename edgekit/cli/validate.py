"""Judge a model's accuracy on a target, alone or against a reference"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import _options as options
from edgekit.core.data import Score
from edgekit.text import clean
from edgekit.units import format_share, share_digits

if TYPE_CHECKING:
    from edgekit.engine.compress import DataRequest
    from edgekit.engine.progress import Progress
    from edgekit.engine.validate import Validation

__all__ = ["command"]


@click.command("validate")
@options.model
@options.data_options(required=False)
@click.option("--target", metavar="T", help="A target's name or TOML file.")
@click.option(
    "--targets", metavar="T,T,...", help="Run it on all of these, and say how they differ."
)
@click.option("--reference", metavar="MODEL2", help="What to compare with, sample by sample.")
@options.inputs
@options.seed
@options.threads
@options.on
@options.delegates
@options.as_json
@options.quiet
def command(
    model: str,
    data: str | None,
    data_options: str,
    task: str | None,
    output: str | None,
    target: str | None,
    targets: str | None,
    reference: str | None,
    inputs: tuple[str, ...],
    seed: int,
    threads: int | None,
    on: str | None,
    libraries: tuple[str, ...],
    strict: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Runs MODEL over the test split of --data; with --reference, both models side by side.

    Limits are judged only with --reference: the exit code is then as of compress. Only how many ops
    a target must take from the CPU is judged always. With --targets
    the golden samples of a bundle and the test split run on every target that works here; the exit
    code is 3 where one does not.
    """
    from edgekit.engine.validate import compare_models, validate

    request = options.data_request(data, data_options, task, output)
    bars, delegation = options.progress(quiet=quiet), options.delegation(libraries, strict=strict)
    if targets is not None:
        for name, value in {
            "--target": target,
            "--reference": reference,
            "--on": on,
            "--delegate": libraries,
            "--strict": strict,
        }.items():
            if value:
                raise click.UsageError(f"{name} and --targets: give one of the two")
        names = [name.strip() for name in targets.split(",") if name.strip()]
        return _many(model, names, request, seed=seed, threads=threads, as_json=as_json, bars=bars)
    if request is None:
        raise click.UsageError("Missing option '--data'.")
    if reference is None:
        found = validate(
            model,
            data=request,
            target=target,
            inputs=inputs,
            seed=seed,
            threads=threads,
            on=on,
            delegation=delegation,
            bars=bars,
        )
        if as_json:
            options.print_json(_plain(found))
        else:
            notes = options.note_lines((*found.data.notes, *found.notes))
            limits = options.limit_lines(found.verdicts)
            lines = [*_lines(model, found.score), *limits, *notes]
            click.echo("\n".join(clean(line, most=400) for line in lines))
        return found.exit_code
    report = compare_models(
        model,
        reference,
        data=request,
        target=target,
        inputs=inputs,
        seed=seed,
        threads=threads,
        on=on,
        delegation=delegation,
        bars=bars,
    )
    options.print_report(report, as_json=as_json)
    return report.exit_code


def _many(
    model: str,
    targets: list[str],
    request: DataRequest | None,
    *,
    seed: int,
    threads: int | None,
    as_json: bool,
    bars: Progress,
) -> int:
    from edgekit.cli._matrix import lines
    from edgekit.engine.matrix import validate_on

    if not targets:
        raise click.UsageError("--targets names no target")
    found = validate_on(model, targets, data=request, seed=seed, threads=threads, bars=bars)
    if as_json:
        options.print_json(dataclasses.asdict(found))
    else:
        click.echo("\n".join(clean(line, most=400) for line in lines(found)))
    return found.exit_code


def _plain(found: Validation) -> dict[str, Any]:
    notes = [dataclasses.asdict(note) for note in found.notes]
    verdicts = [dataclasses.asdict(verdict) for verdict in found.verdicts]
    data = dataclasses.asdict(found.data)
    own = {"data": data, "notes": notes, "verdicts": verdicts}
    return {**dataclasses.asdict(found.score), **own}


def _lines(model: str, score: Score) -> list[str]:
    def show(value: float) -> str:
        if not score.is_share:
            return f"{value:.4g}"
        return format_share(value, digits=share_digits(score.n))

    low, high = score.ci95
    lines = [
        f"{model}: {score.metric} {show(score.value)}   "
        f"95 % interval {show(low)} to {show(high)}, {score.n} samples"
    ]
    lines += [
        f"  {name:<17} {value:.4f}" for name, value in score.details.items() if "[" not in name
    ]
    lines += [f"  class {name:<11} {show(value)}" for name, value in score.by_class.items()]
    return lines
