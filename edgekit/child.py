"""Runs a module in a fresh process: what it does not import, and how it ends, is under control."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["ChildError", "run_child", "said_by"]


class ChildError(Exception):
    """Why there is no answer; the text goes on after 'the process ...'."""


def run_child(module: str, request: Mapping[str, Any], *, limit_seconds: float | None) -> str:
    """Starts `python -m module` with a request as JSON on stdin; returns what it wrote on stdout.

    `subprocess.run` kills the process on Ctrl-C and when the time is up.

    Raises:
        ChildError: a signal or an exit code ended it, or the time did, or it did not start.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=limit_seconds,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        raise ChildError(f"did not end within {limit_seconds:g} s") from None
    except OSError as error:
        raise ChildError(f"did not start: {error.strerror or error}") from None
    if done.returncode:
        raise ChildError(_ended(done.returncode, done.stderr))
    return done.stdout


def said_by(
    command: Sequence[str],
    *,
    limit_seconds: float,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What a program prints to stdout, however it ends; '' where it does not start, or not end."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_seconds,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _environment() -> dict[str, str]:
    """The child finds this very edgekit, from whatever folder it is started."""
    own = str(Path(__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{inherited}{os.pathsep}{own}" if inherited else own}


def _ended(code: int, stderr: str) -> str:
    names = {number.value: number.name for number in signal.Signals}
    if code < 0:
        how = f"crashed with {names.get(-code, f'signal {-code}')}"
    else:
        how = f"ended with exit code {code}"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return how + (f": {lines[-1][:300]}" if lines else "")
