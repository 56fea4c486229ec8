"""Hold a project's models against their limits and baselines: the CI gate"""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli import _options as options

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


@click.command("check")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--accept", is_flag=True, help="Make what these rows are now their baselines.")
@click.option("--out", metavar="DIR", type=_PATH, help="Where outputs go; .edgekit by default.")
@click.option(
    "--project",
    metavar="DIR",
    type=_PATH,
    default=Path(),
    help="Where edgekit.toml is; here by default.",
)
@options.as_json
@options.quiet
def command(
    names: tuple[str, ...],
    accept: bool,
    out: Path | None,
    project: Path,
    as_json: bool,
    quiet: bool,
) -> int:
    """Builds and measures the rows of edgekit.toml, or those of these NAMEs.

    Each is held against its limits and against its baseline in baselines/. Exit code 1 says that a
    limit is broken or that something got worse, 3 that something could not be measured.
    """
    from edgekit.core import catalog
    from edgekit.engine.check import check
    from edgekit.engine.check_outputs import FAMILY, publish

    result = check(
        names,
        accept=accept,
        folder=project,
        out=out,
        bars=options.progress(quiet=quiet),
        say=lambda text: click.echo(text, err=True),
    )
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    if as_json:
        click.echo(catalog.load(FAMILY, "json").render(result))
    else:
        text = catalog.load(FAMILY, "terminal").render(result, color=options.use_color())
        click.echo(text.rstrip("\n"))
    lines = publish(result)
    if lines:
        click.echo(lines.rstrip("\n"), err=as_json)  # GitHub reads both
    return result.exit_code
