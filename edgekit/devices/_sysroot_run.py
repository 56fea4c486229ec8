"""Runs one command of the making of a sysroot; what it says becomes one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from edgekit.errors import UsageError
from edgekit.frameworks.isolated import RunError, lost_network, own_variables, run_lines

__all__ = ["Runner", "runner"]

Runner = Callable[[list[str]], list[str]]

_LIMIT_SECONDS = 3600
_MARKS = ("E: ", "ERROR: ", "dpkg-deb: error: ")


def runner(what: str, *, folder: Path, held: tuple[int, ...]) -> Runner:
    """A function that runs commands in `folder`; `what` they make begins its sentences.

    It raises a UsageError where a command fails. `held` (a lock) stays open while one lives.
    """

    def run(command: list[str]) -> list[str]:
        try:
            return run_lines(
                command,
                cwd=folder,
                environment={**own_variables(), "LC_ALL": "C.UTF-8"},
                limit_seconds=_LIMIT_SECONDS,
                held=held,
            )
        except RunError as error:
            raise _explain(what, command, error) from None

    return run


def _explain(what: str, command: list[str], error: RunError) -> UsageError:
    program = "pip" if "pip" in command else os.path.basename(command[0])
    if lost := lost_network(error.lines):
        return UsageError(
            f"{what} could not be made: {program} cannot reach its server ({lost})",
            hint="go online once and try again: what is made is kept; the system's own settings "
            "of apt and pip (mirror, index, proxy) count",
        )
    said = [line for line in error.lines if line.startswith(_MARKS)] or error.lines[-1:]
    text = said[0].partition(": ")[2][:300] if said and said[0].startswith(_MARKS) else ""
    text = text or (said[0][:300] if said else "")
    return UsageError(
        f"{what} could not be made: {program} {error.how}{f': {text}' if text else ''}",
        hint="see whether the disk is full and whether these packages are there for that machine",
    )
