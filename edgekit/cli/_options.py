"""Options that mean the same in every command, and what they turn into."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edgekit.core.limits import Verdict
    from edgekit.core.notes import Note
    from edgekit.core.report import Report
    from edgekit.core.runner import Placement
    from edgekit.engine.compress import DataRequest
    from edgekit.engine.delegation import Delegation
    from edgekit.engine.progress import Bar, Progress

__all__ = [
    "as_json",
    "data_options",
    "data_request",
    "delegates",
    "delegation",
    "force",
    "inputs",
    "limit_lines",
    "model",
    "note_lines",
    "on",
    "out",
    "placement_lines",
    "print_json",
    "print_report",
    "progress",
    "quiet",
    "recipe",
    "seed",
    "target",
    "threads",
    "use_color",
]

F = TypeVar("F", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)

model = click.argument("model")
recipe = click.option("--recipe", required=True, metavar="R", help="A recipe's name or TOML file.")
target = click.option("--target", required=True, metavar="T", help="A target's name or TOML file.")
seed = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Splits, training, sampling.",
)
threads = click.option("--threads", type=click.IntRange(1, 64), help="Threads of the runtime.")
on = click.option(
    "--on",
    metavar="DEVICE",
    help="Run there: ssh://[user@]host[:port][/dir], adb:SERIAL, a name in edgekit.toml, or "
    "this-machine.",
)
force = click.option("--force", is_flag=True, help="Replace an output that exists.")
quiet = click.option("--quiet", is_flag=True, help="No progress bars.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
inputs = click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=1x3x224x224",
    help="The shape of an input that is open in the file; once for each input.",
)
out = click.option("--out", required=True, metavar="PATH", type=_PATH, help="Where to write.")


def data_options(*, required: bool) -> Callable[[F], F]:
    """Adds --data, --data-options, --task and --output."""

    def add(function: F) -> F:
        output = click.option(
            "--output", metavar="NAME", help="Which output to judge; the first by default."
        )
        task = click.option("--task", metavar="TASK", help="What to judge; found from the data.")
        options = click.option(
            "--data-options", default="", metavar="K=V,...", help="Of the data: size, scale, ..."
        )
        data = click.option(
            "--data", required=required, metavar="D", help="digits, or KIND:PATH (npz, idx, ...)."
        )
        return data(options(task(output(function))))

    return add


def data_request(
    data: str | None, data_options: str, task: str | None, output: str | None
) -> DataRequest | None:
    """What the data options say together."""
    from edgekit.engine.compress import DataRequest

    if data is None:
        given = {"--data-options": data_options, "--task": task, "--output": output}
        name = next((name for name, value in given.items() if value), None)
        if name is not None:
            raise click.UsageError(f"{name} says something of data, and there is no --data")
        return None
    return DataRequest(data, data_options, task, output)


def delegates(function: F) -> F:
    """Adds --delegate and --strict."""
    strict = click.option(
        "--strict", is_flag=True, help="Exit code 1 where a delegate fails or takes too few ops."
    )
    named = click.option(
        "--delegate",
        "libraries",
        multiple=True,
        metavar="LIB[:KEY=VALUE,...]",
        help="A library, or a provider of ONNX Runtime, to be tried before the CPU; several are "
        "tried in turn.",
    )
    return named(strict(function))


def delegation(libraries: tuple[str, ...], *, strict: bool) -> Delegation:
    """What --delegate and --strict say together."""
    from edgekit.engine.delegation import Delegation

    return Delegation.parse(libraries, strict=strict)


def use_color() -> bool:
    """Colour only on a terminal, and not where NO_COLOR is set (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def print_json(value: Any) -> None:
    """Prints a value as JSON on stdout."""
    import json

    click.echo(json.dumps(value, indent=2, allow_nan=False, default=str))


def print_report(report: Report, *, as_json: bool) -> None:
    """Prints a report on stdout: the table, or JSON."""
    from edgekit.core import catalog

    if as_json:
        click.echo(catalog.load("reporters", "json").render(report))
        return
    text = catalog.load("reporters", "terminal").render(report, color=use_color())
    click.echo(text.rstrip("\n"))


def limit_lines(verdicts: Iterable[Verdict]) -> list[str]:
    """One line a limit: whether it holds, the value, and where the limit stands."""
    return [
        f"  {'ok' if verdict.status == 'pass' else verdict.status.upper():<11} {verdict.metric}: "
        f"{'unmeasured' if verdict.value is None else f'{verdict.value:g}'}, "
        f"limit {verdict.bound:g} ({verdict.source})"
        for verdict in verdicts
    ]


def note_lines(notes: Iterable[Note]) -> list[str]:
    """What a reader must know of how it was done: what fell back, what was left out."""
    return [f"note: {note.what} {note.item}: {note.reason}" for note in notes]


def placement_lines(placed: Placement) -> list[str]:
    """How many ops run where, and why which of them do not run elsewhere."""
    if not placed.ops:
        return [f"  placement   unmeasured: {placed.reason}"]
    where = Counter(op.where for op in placed.ops)
    reasons = Counter((op.where, op.kind, op.reason) for op in placed.ops if op.reason)
    return [
        "  placement   " + ", ".join(f"{name} {count}" for name, count in where.items()),
        *([f"              {placed.reason}"] if placed.reason else []),
        *(
            f"              {place}: {count} {kind}: {reason}"
            for (place, kind, reason), count in reasons.items()
        ),
    ]


def progress(*, quiet: bool) -> Progress:
    """Bars on stderr; none where it is not a terminal, or with --quiet."""
    from edgekit.engine.progress import silent

    return silent if quiet or not sys.stderr.isatty() else _bars


@contextlib.contextmanager
def _bars(text: str, total: int) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(text, total=total)

        class Drawn:
            def advance(self, count: int = 1, text: str = "") -> None:
                shown.update(task, advance=count, description=text or None)

        yield Drawn()
