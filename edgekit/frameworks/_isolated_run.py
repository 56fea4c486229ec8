"""Runs a command of another environment: no stdin, its own folder, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

__all__ = ["RunError", "run_lines"]


class RunError(Exception):
    """Why a command failed; the text goes on after its name. `lines` is what it said."""

    def __init__(self, how: str, lines: list[str]) -> None:
        super().__init__(how)
        self.how = how
        self.lines = lines


_KEPT_LINES = 10_000


def run_lines(
    command: list[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    limit_seconds: float,
    heard: Callable[[str], None] = lambda line: None,
    held: tuple[int, ...] = (),
) -> list[str]:
    """Runs a command to its end and returns the lines that it printed; `heard` gets each at once.

    Its whole process group is killed when the time is up, and on Ctrl-C: what the command started
    itself must not go on. `held` are file descriptors (a lock) that it keeps open while it lives.

    Raises:
        RunError: it did not start, did not end in time, or ended with another code than 0.
    """
    lines: list[str] = []
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            pass_fds=held,
        )
    except OSError as error:
        raise RunError(f"did not start: {error.strerror or error}", lines) from None
    with process, _killed_after(process, limit_seconds) as is_late:
        assert process.stdout is not None
        for line in process.stdout:
            if len(lines) < _KEPT_LINES and line.strip():
                lines.append(line.strip())
            heard(line.strip())
        code = process.wait()
    if is_late():
        raise RunError(f"did not end within {limit_seconds:g} s", lines)
    if code:
        raise RunError(_ended(code), lines)
    return lines


@contextlib.contextmanager
def _killed_after(
    process: subprocess.Popen[str], limit_seconds: float
) -> Iterator[Callable[[], bool]]:
    """Kills the process and all that it started when the time is up or the block is left early."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        _kill(process)

    timer = threading.Timer(limit_seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield late.is_set
    except BaseException:
        _kill(process)
        raise
    finally:
        timer.cancel()


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"crashed with {signal.Signals(-code).name}"
    return f"crashed with signal {-code}"
