"""Compress a model for a target and prove what it did"""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli import _options as options

__all__ = ["command"]


@click.command("compress")
@options.model
@options.recipe
@options.target
@options.data_options(required=False)
@options.out
@options.inputs
@options.seed
@options.threads
@options.on
@options.delegates
@options.as_json
@options.force
@options.quiet
def command(
    model: str,
    recipe: str,
    target: str,
    data: str | None,
    data_options: str,
    task: str | None,
    output: str | None,
    out: Path,
    inputs: tuple[str, ...],
    seed: int,
    threads: int | None,
    on: str | None,
    libraries: tuple[str, ...],
    strict: bool,
    as_json: bool,
    force: bool,
    quiet: bool,
) -> int:
    """Compresses MODEL (a file, a SavedModel folder, or zoo:NAME) and writes DIR.

    DIR gets the model, model.ekb (the bundle for a device) and report.json, report.md, report.html.
    Exit code 1 says that a limit of the recipe or the target is broken, 3 that one could not be
    measured.
    """
    from edgekit.engine.compress import compress

    report = compress(
        model,
        recipe=recipe,
        target=target,
        out=out,
        data=options.data_request(data, data_options, task, output),
        seed=seed,
        inputs=inputs,
        threads=threads,
        on=on,
        delegation=options.delegation(libraries, strict=strict),
        force=force,
        bars=options.progress(quiet=quiet),
    )
    if as_json:
        click.echo((out / "report.json").read_text(encoding="utf-8"))
    else:
        options.print_report(report, as_json=False)
        click.echo(f"wrote {out}: {' '.join(sorted(p.name for p in out.iterdir()))}")
    return report.exit_code
