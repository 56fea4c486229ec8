"""Runs in a process of its own what may end the process; a crash becomes an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.child import ChildError, run_child

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
        run_child(_CHILD, {**request, "answer": str(answer)}, limit_seconds=limit_seconds)
    except ChildError as error:
        raise CrashError(str(error)) from None
    if not answer.exists():
        raise CrashError("ended without an answer")
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found
