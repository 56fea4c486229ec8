"""Runs a compiler in a folder: its time is bounded, and it ends with this process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgekit.errors import UnmeasuredError

__all__ = ["LOG", "read_log", "run_compiler"]

LOG = "log.txt"
_STARTER = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Takes the compiler's place, so that it is killed when the process that started it ends: a
server ends at once with its stdin, and has no time to end others."""
_LOG_BYTES = 4_000_000


def run_compiler(
    words: Sequence[str], folder: Path, *, title: str, limit_seconds: float, hint: str
) -> str:
    """Runs it to its end; '' where its exit code is 0, else how it ended. What it says is in LOG.

    Raises:
        UnmeasuredError: it does not start, or does not end in time.
    """
    from edgekit.frameworks.isolated import own_variables

    if not os.access(words[0], os.X_OK):
        raise UnmeasuredError(f"{title} does not start: '{words[0]}' is no program", hint=hint)
    with (folder / LOG).open("wb") as log:
        try:
            code = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _STARTER, *words],
                cwd=folder,
                env={**own_variables(), "TMPDIR": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=limit_seconds,
            ).returncode
        except subprocess.TimeoutExpired:
            raise UnmeasuredError(
                f"{title} did not end within {limit_seconds:g} s", hint=hint
            ) from None
        except OSError as error:
            raise UnmeasuredError(
                f"{title} does not start: {error.strerror or error}", hint=hint
            ) from None
    return _ended(code)


def read_log(folder: Path) -> str:
    """What the compiler printed, up to 4 MB."""
    with (folder / LOG).open("rb") as file:
        return file.read(_LOG_BYTES).decode("utf-8", "replace")


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}" if code else ""
    with contextlib.suppress(ValueError):
        return f"crashed with {signal.Signals(-code).name}"
    return f"crashed with signal {-code}"
