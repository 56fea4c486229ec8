"""The command group: commands are files, imported when called; errors become exit codes."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from typing import NoReturn

import click

from edgekit.core import catalog
from edgekit.errors import EdgekitError, did_you_mean
from edgekit.text import clean
from edgekit.version import __version__

__all__ = ["main"]

INTERRUPTED = 130
"""128 + SIGINT, what a shell expects of an interrupted command."""

_GARBAGE = 50_000
"""Objects between two looks for cycles. Imports make many objects and no garbage; at Python's own
700 the looking is a twentieth of the time of `edgekit explain`."""


class _Commands(click.Group):
    """Lists commands by what lies in the folder; imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in catalog.built_in("cli")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = catalog.load("cli", cmd_name).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.list_commands(ctx):
            hint = did_you_mean(args[0], self.list_commands(ctx))
            raise click.UsageError(f"unknown command '{args[0]}'\nhint: {hint}", ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(entry.name, entry.summary) for entry in catalog.built_in("cli")]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgekit")
def _edgekit() -> None:
    """Compress machine-learning models for edge devices, and prove what it did.

    \b
    Start with `make demo`, or with your own model:
      edgekit compress MODEL --recipe R --target T --data D --out DIR
      edgekit list recipes        edgekit list targets        edgekit doctor
    """


def main() -> NoReturn:
    """Runs a command and exits with its code.

    0 done and within limits, 1 a limit or promise is broken, 2 the request is wrong and nothing
    was run, 3 something that had to be measured could not be.
    """
    try:
        code = _run()
    except SystemExit as stop:
        # click ends so when the reader of our output went away (`| head`), which is no failure.
        code = 0 if _reader_is_gone() else int(stop.code or 0)
    sys.exit(code)


def _run() -> int:
    gc.set_threshold(_GARBAGE)
    # A polite kill is an interruption like Ctrl-C: temporary files are removed on the way out.
    # One that was told to ignore it, as by nohup, goes on.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        result = _edgekit.main(standalone_mode=False, prog_name="edgekit")
        return result if isinstance(result, int) else 0
    except EdgekitError as error:
        return _say(error.message, error.hint, error.exit_code)
    except click.ClickException as error:
        return _say(error.format_message(), "", 2)
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted; nothing half-written was left", "", INTERRUPTED)
    except MemoryError:
        return _say("not enough memory for this model or data", "try a smaller one", 2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        where = f" '{error.filename}'" if error.filename else " a temporary file"
        return _say(f"cannot read or write{where}: {os.strerror(error.errno).lower()}", "", 2)


def _reader_is_gone() -> bool:
    # click puts this wrapper in place when a write fails because nobody reads any more.
    return type(sys.stdout).__name__ == "PacifyFlushWrapper"


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _say(message: str, hint: str, code: int) -> int:
    # A message can hold names from a model file; control codes in them stay off the terminal.
    for word, text in (("error", message), ("hint", hint)):
        if text:
            lines = (clean(line, most=2000) for line in text.splitlines())
            click.echo(f"{word}: " + "\n".join(lines), err=True)
    return code
