"""Compare two models side by side: size, accuracy, latency, memory"""

from __future__ import annotations

import click

from edgekit.cli import _options as options

__all__ = ["command"]


@click.command("compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--target", metavar="T", help="For both; by default each on its format's own.")
@options.data_options(required=False)
@options.inputs
@options.seed
@options.threads
@options.on
@options.as_json
@options.quiet
def command(
    first: str,
    second: str,
    target: str | None,
    data: str | None,
    data_options: str,
    task: str | None,
    output: str | None,
    inputs: tuple[str, ...],
    seed: int,
    threads: int | None,
    on: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Measures B against A, interleaved; a folder that `compress` wrote stands for its model.

    The two may be of different formats. Accuracy needs --data.
    """
    from edgekit.engine.validate import compare_models, model_in

    report = compare_models(
        model_in(second),
        model_in(first),
        data=options.data_request(data, data_options, task, output),
        target=target,
        inputs=inputs,
        seed=seed,
        threads=threads,
        on=on,
        bars=options.progress(quiet=quiet),
        words=("compare", first, second),
    )
    options.print_report(report, as_json=as_json)
    return report.exit_code
