"""Runs in a process of its own what may end the process; a crash becomes an error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["CrashError", "ask"]

_CHILD = "edgekit.techniques.quantize._child"


class CrashError(Exception):
    """The process gave no answer; the text goes on after 'it ...'."""


def ask(
    request: Mapping[str, Any], *, folder: Path, limit_seconds: float | None = None
) -> dict[str, Any]:
    """Starts the child, hands it a request, and returns its answer, both in JSON.

    TensorFlow and the runtime write to stdout as they like, so the answer goes through a file.

    Raises:
        CrashError: a signal or an exit code ended it, or the time did.
    """
    answer = folder / "answer.json"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", _CHILD],
            input=json.dumps({**request, "answer": str(answer)}),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=limit_seconds,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        raise CrashError(f"did not end within {limit_seconds:g} s") from None
    except OSError as error:
        raise CrashError(f"did not start: {error.strerror or error}") from None
    if done.returncode or not answer.exists():
        raise CrashError(_ended(done.returncode, done.stderr))
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def _environment() -> dict[str, str]:
    """The child finds this very edgekit, from whatever folder it is started."""
    own = str(Path(__file__).resolve().parents[3])
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{inherited}{os.pathsep}{own}" if inherited else own}


def _ended(code: int, stderr: str) -> str:
    if code < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"crashed with {names.get(-code, f'signal {-code}')}"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return f"ended with exit code {code}" + (f": {lines[-1][:300]}" if lines else "")
