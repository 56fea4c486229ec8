"""Compare two models side by side: size, accuracy, latency, memory"""

from __future__ import annotations

from typing import get_args

import click

from edgekit.cli import _options as options
from edgekit.units import Share

__all__ = ["command"]


def _margin(_: click.Context, parameter: click.Parameter, text: str) -> float:
    try:
        value = float(get_args(Share)[1].parse(text))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not 0 < value < 1:
        raise click.BadParameter(f"{text!r} must be above 0 % and below 100 %")
    return value


@click.command("compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--target", metavar="T", help="For both; by default each on its format's own.")
@click.option("--target-b", metavar="T", help="For B alone; A is then on --target.")
@options.data_options(required=False)
@options.inputs
@click.option(
    "--margin",
    default="3 %",
    show_default=True,
    callback=_margin,
    metavar="SHARE",
    help="Latencies that differ by less are no difference.",
)
@click.option("--aa", is_flag=True, help="Measure A against A first: what the machine can tell.")
@options.seed
@options.threads
@click.option("--threads-b", type=click.IntRange(1, 64), help="Threads of B alone.")
@options.on
@options.delegates
@click.option(
    "--delegate-b",
    "libraries_b",
    multiple=True,
    metavar="LIB[:KEY=VALUE,...]",
    help="A delegate of B alone; --delegate is of both, and with --target-b of A alone.",
)
@options.as_json
@options.quiet
def command(
    first: str,
    second: str,
    target: str | None,
    target_b: str | None,
    data: str | None,
    data_options: str,
    task: str | None,
    output: str | None,
    inputs: tuple[str, ...],
    margin: float,
    aa: bool,
    seed: int,
    threads: int | None,
    threads_b: int | None,
    on: str | None,
    libraries: tuple[str, ...],
    libraries_b: tuple[str, ...],
    strict: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Measures B against A, interleaved; a folder that `compress` wrote stands for its model.

    The two may be of different formats, and bundles. Accuracy needs --data. The verdict on latency
    is faster, slower, no difference (all of the 95 % interval is within --margin), or cannot tell.
    """
    from edgekit.engine.compare import Side, compare
    from edgekit.engine.validate import model_in

    report = compare(
        Side(model_in(first), target, threads, options.delegation(libraries, strict=strict)),
        Side(model_in(second), target_b, threads_b, options.delegation(libraries_b, strict=strict)),
        data=options.data_request(data, data_options, task, output),
        inputs=inputs,
        seed=seed,
        on=on,
        margin=margin,
        with_noise=aa,
        bars=options.progress(quiet=quiet),
        words=("compare", first, second),
    )
    options.print_report(report, as_json=as_json)
    if not as_json:
        from edgekit.cli._latency import change_line, noise_lines
        from edgekit.text import clean

        lines = [*noise_lines(report.notes), change_line(report.result.latency)]
        click.echo("\n" + "\n".join(clean(line, most=400) for line in lines))
    return report.exit_code
