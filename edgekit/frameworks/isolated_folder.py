"""Folders in the user's cache that are made once: whole, or not at all.

Such a folder is made at its final place, under a lock; a file in it that is written last says that
it is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

__all__ = ["locked", "making", "read_marker", "write_marker"]

_MARKER = "edgekit.json"
_MB = 1_000_000


def read_marker(folder: Path) -> dict[str, Any]:
    """What stands in the file that is written last; {} where the folder is not whole."""
    try:
        found: dict[str, Any] = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        return {**found, "size_mb": int(found["size_mb"]), "python": str(found["python"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_marker(folder: Path, content: Mapping[str, Any]) -> None:
    """Says that the folder is whole; adds its size."""
    new = folder / f"{_MARKER}.new"
    new.write_text(json.dumps({**content, "size_mb": _size(folder) // _MB}), encoding="utf-8")
    os.replace(new, folder / _MARKER)


@contextlib.contextmanager
def locked(
    folder: Path, name: str, progress: Callable[[str, int], AbstractContextManager[Any]]
) -> Iterator[IO[str]]:
    """Waits until no other process makes this folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress(f"wait for another run to install {name}", 1):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


@contextlib.contextmanager
def making(folder: Path) -> Iterator[None]:
    """Removes what an interrupted run left there, and on an error what this one made."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
