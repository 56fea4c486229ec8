"""Show which targets work on this machine, and why the others do not"""

from __future__ import annotations

import dataclasses
import platform

import click

from edgekit.cli import _options as options
from edgekit.version import __version__

__all__ = ["command"]


@click.command("doctor")
@click.option("--target", metavar="T", help="Only this target; exit code 3 if it does not work.")
@click.option("--install", "do_install", is_flag=True, help="Make what --target needs to run here.")
@options.as_json
@options.quiet
def command(target: str | None, do_install: bool, as_json: bool, quiet: bool) -> int:
    """Runs a tiny model on each runtime: what imports may still not work."""
    from edgekit.engine.doctor import check_environments, check_extras, check_targets, install
    from edgekit.frameworks.files import cache_root

    if do_install:
        if target is None:
            raise click.UsageError("--install makes what one target needs; name it with --target")
        install(target, options.progress(quiet=quiet))
    targets = check_targets(target)
    extras = () if target else check_extras()
    environments = () if target else check_environments()
    if as_json:
        options.print_json(
            {
                "edgekit": __version__,
                "python": platform.python_version(),
                "cache": str(cache_root()),
                "targets": [dataclasses.asdict(found) for found in targets],
                "extras": [dataclasses.asdict(found) for found in extras],
                "environments": [dataclasses.asdict(found) for found in environments],
            }
        )
    else:
        click.echo(f"edgekit {__version__}, Python {platform.python_version()}")
        click.echo(f"cache {cache_root()}")
        for heading, rows in (
            ("targets", targets),
            ("packages", extras),
            ("environments", environments),
        ):
            if rows:
                click.echo(heading)
            width = max((len(row.name) for row in rows), default=0)
            for row in rows:
                state = "works" if not row.problem else row.problem
                told = row.where or row.summary
                click.echo(f"  {row.name:<{width}}  {state}   ({told})")
    return 3 if target and any(found.problem for found in targets) else 0
