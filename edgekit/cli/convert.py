"""Convert a model to another format, with proof that outputs stayed equal"""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli import _options as options
from edgekit.text import clean
from edgekit.units import format_bytes

__all__ = ["command"]


@click.command("convert")
@options.model
@click.option("--to", required=True, metavar="FORMAT", help="The format to make.")
@options.out
@options.data_options(required=False)
@click.option("--conversion-options", default="", metavar="K=V,...", help="Such as batch=0.")
@options.inputs
@options.seed
@options.as_json
@options.force
@options.quiet
def command(
    model: str,
    to: str,
    out: Path,
    data: str | None,
    data_options: str,
    task: str | None,
    output: str | None,
    conversion_options: str,
    inputs: tuple[str, ...],
    seed: int,
    as_json: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Converts the file MODEL; the outputs are compared on --data, or on random inputs."""
    from edgekit.engine.convert import convert

    done = convert(
        model,
        to=to,
        out=out,
        data=options.data_request(data, data_options, task, output),
        conversion_options=conversion_options,
        seed=seed,
        inputs=inputs,
        force=force,
        bars=options.progress(quiet=quiet),
    )
    record = done.record
    if as_json:
        notes = [{"what": n.what, "item": n.item, "reason": n.reason} for n in record.notes]
        options.print_json(
            {
                "path": str(out),
                "format": to,
                "digest": record.digest,
                "size_bytes": record.size_bytes,
                "source": {"path": model, "digest": done.source.digest},
                "notes": notes,
            }
        )
        return
    click.echo(f"wrote {out}: {format_bytes(record.size_bytes)}, digest {record.digest[:16]}")
    for note in record.notes:
        click.echo(clean(f"note: {note.what} {note.item}: {note.reason}", most=600))
