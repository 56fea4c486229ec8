"""One `check` at a time in a project's folder, and the folder that it keeps there."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

from edgekit.engine.files import disk_errors

__all__ = ["STATE", "turn_in"]

STATE = ".edgekit"
"""The folder beside the project's file: history, lock, and by default the outputs."""


@contextlib.contextmanager
def turn_in(folder: Path, *, say: Callable[[str], None]) -> Iterator[Path]:
    """Waits until no other `check` runs on that project, and says so; yields its state's folder.

    A run that is killed has its turn no more: the system gives the lock back.
    """
    state = folder / STATE
    with disk_errors("folder", state):
        state.mkdir(exist_ok=True)
        ignore = state / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
        lock = (state / "lock").open("a", encoding="utf-8")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another edgekit check runs on {folder.resolve().name}: waiting until it is done")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield state
