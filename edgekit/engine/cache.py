"""The step cache: a step with unchanged inputs, parameters and tools is not done twice."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.notes import Note
from edgekit.core.training import Curve, Epoch
from edgekit.engine.files import disk_errors, remove, size_bytes
from edgekit.errors import EdgekitError, UsageError

__all__ = ["CachedStep", "StepCache", "content_digest", "key_of"]


DigestOf = Callable[[Path], str]
"""How a format digests a model file."""

_STALE_SECONDS = {"scratch": 7 * 24 * 3600, "training": 30 * 24 * 3600}


@dataclass(frozen=True)
class CachedStep:
    """What a finished step left behind."""

    path: Path
    digest: str
    seconds: float
    notes: tuple[Note, ...]
    curves: tuple[Curve, ...] = ()


def key_of(parts: Mapping[str, Any]) -> str:
    """A cache key: SHA-256 of the canonical JSON of everything that the result depends on."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def content_digest(paths: Iterable[Path]) -> str:
    """SHA-256 over files (and all files in folders); ties a cached step to what it was made with.

    A file that is not there counts as empty: whoever reads it says so.
    """
    digest = hashlib.sha256()
    files = (sorted(path.rglob("*")) if path.is_dir() else [path] for path in sorted(paths))
    for path in (file for group in files for file in group if file.is_file()):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


class StepCache:
    """A folder of finished steps by key. Entries appear by rename, so a reader sees whole ones."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with disk_errors("EDGEKIT_CACHE", root):
            for name in ("steps", "scratch", "training"):
                (root / name).mkdir(parents=True, exist_ok=True)
            self._sweep()

    def find(self, key: str, *, digest_of: DigestOf) -> CachedStep | None:
        """The finished step of that key, or None; a damaged entry counts as none.

        `digest_of` digests the content again: what is reused is what was stored.
        """
        folder = self.root / "steps" / key
        try:
            record = json.loads((folder / "step.json").read_text(encoding="utf-8"))
            name = record["file"]
            if Path(name).name != name or name in ("", ".", ".."):
                return None
            path = folder / name
            if size_bytes(path) != record["size_bytes"] or digest_of(path) != record["digest"]:
                return None
            notes = tuple(Note(*note) for note in record["notes"])
            curves = tuple(_curve(table) for table in record["curves"])
            return CachedStep(path, record["digest"], record["seconds"], notes, curves)
        except (EdgekitError, OSError, ValueError, KeyError, TypeError):
            return None

    def store(
        self, key: str, step: CachedStep, *, digest_of: DigestOf, parts: Iterable[Path] = ()
    ) -> CachedStep:
        """Moves what a step made, at `step.path` and its `parts` beside it, into the cache.

        A twin stored meanwhile by another run is kept, since that run may be using it; a damaged
        entry is replaced.
        """
        folder = self.root / "steps" / key
        with self.scratch() as scratch, disk_errors("EDGEKIT_CACHE", self.root):
            entry = scratch / "entry"
            entry.mkdir()
            for made in (step.path, *parts):
                place = entry / made.relative_to(step.path.parent)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(made, place)
            record = {
                "file": step.path.name,
                "size_bytes": size_bytes(entry / step.path.name),
                "digest": step.digest,
                "seconds": step.seconds,
                "notes": [dataclasses.astuple(note) for note in step.notes],
                "curves": [dataclasses.asdict(curve) for curve in step.curves],
            }
            (entry / "step.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
            with self._lock("store"):  # or the twin's could be the entry that is removed
                if self.find(key, digest_of=digest_of) is None:
                    remove(folder)
                    os.rename(entry, folder)
        stored = self.find(key, digest_of=digest_of)
        if stored is None:
            raise UsageError(f"EDGEKIT_CACHE '{self.root}' loses what is written to it")
        return stored

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder that is gone when the block ends, however it ends."""
        with disk_errors("EDGEKIT_CACHE", self.root):
            folder = Path(tempfile.mkdtemp(dir=self.root / "scratch"))
        try:
            yield folder
        finally:
            remove(folder)

    @contextlib.contextmanager
    def training(self, key: str) -> Iterator[Path]:
        """The folder of a training's checkpoints, so that it can be resumed.

        One run at a time has it: a second one waits, and then finds the step in the cache.
        """
        with self._lock(f"training/{key}"):
            folder = self.root / "training" / key
            with disk_errors("EDGEKIT_CACHE", self.root):
                folder.mkdir(parents=True, exist_ok=True)
            yield folder

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """Waits until no other run has the lock of that name; one that is killed has it no more."""
        with disk_errors("EDGEKIT_CACHE", self.root):
            lock = (self.root / f"{name}.lock").open("w", encoding="utf-8")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _sweep(self) -> None:
        """Removes what runs that were killed left behind.

        Scratch after a week (a step may train for days), checkpoints, which the same run would go
        on from, after a month.
        """
        for name, seconds in _STALE_SECONDS.items():
            for left in (self.root / name).iterdir():
                with contextlib.suppress(OSError):
                    if time.time() - left.stat().st_mtime > seconds:
                        remove(left)


def _curve(table: Mapping[str, Any]) -> Curve:
    return Curve(**{**table, "epochs": tuple(Epoch(**row) for row in table["epochs"])})


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset | set):
        return sorted(value)
    return repr(value)
