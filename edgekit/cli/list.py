"""List recipes, targets, techniques, formats, runners, ..."""

from __future__ import annotations

import click

from edgekit.cli import _options as options
from edgekit.core import catalog

__all__ = ["command"]

_TOML = ("recipes", "targets")


@click.command("list")
@click.argument("kind", type=click.Choice((*_TOML, *catalog.FAMILIES)), required=False)
@options.as_json
def command(kind: str | None, as_json: bool) -> None:
    """Lists what exists, with one line each; without KIND, everything. Imports none of it."""
    kinds = [kind] if kind else [*_TOML, *catalog.FAMILIES]
    found = {name: _entries(name) for name in kinds}
    if as_json:
        options.print_json(found)
        return
    width = max((len(name) for rows in found.values() for name in rows), default=0)
    for number, (heading, rows) in enumerate(found.items()):
        if not kind:
            click.echo(f"{chr(10) if number else ''}{heading}")
        for name, summary in rows.items():
            click.echo(f"  {name:<{width}}  {summary}")


def _entries(kind: str) -> dict[str, str]:
    if kind not in _TOML:
        return {entry.name: entry.summary for entry in catalog.entries(kind)}
    from edgekit.core.recipe import toml_names
    from edgekit.core.schema import read_toml

    folder = catalog.shipped(kind)
    return {
        name: str(read_toml(folder / f"{name}.toml").get("summary", ""))
        for name in toml_names(kind)
    }
