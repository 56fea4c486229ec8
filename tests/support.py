"""Runs the command line in this process, as a user would see it."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest import mock

__all__ = ["Outcome", "edgekit"]


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


def edgekit(*arguments: object) -> Outcome:
    """Runs `edgekit ARGUMENTS`; an exception that escapes fails the test that called it."""
    from edgekit.cli._main import _run

    out, err = io.StringIO(), io.StringIO()
    argv = ["edgekit", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
        code = _run()
    return Outcome(code, out.getvalue(), err.getvalue())
