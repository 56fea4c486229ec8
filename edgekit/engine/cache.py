"""The step cache: a step with unchanged inputs, parameters and tools is not done twice."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.notes import Note
from edgekit.engine.files import disk_errors, remove, size_bytes
from edgekit.errors import UsageError

__all__ = ["CachedStep", "StepCache", "cache_root", "content_digest", "key_of"]


@dataclass(frozen=True)
class CachedStep:
    """What a finished step left behind."""

    path: Path
    digest: str
    seconds: float
    notes: tuple[Note, ...]
    facts: Mapping[str, Any]


def cache_root() -> Path:
    """`$EDGEKIT_CACHE`, else the user's cache folder (XDG base directories)."""
    named = os.environ.get("EDGEKIT_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "edgekit"


def key_of(parts: Mapping[str, Any]) -> str:
    """A cache key: SHA-256 of the canonical JSON of everything that the result depends on."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def content_digest(paths: list[Path]) -> str:
    """SHA-256 over files; used to tie a cached step to the code that made it."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


class StepCache:
    """A folder of finished steps by key. Entries appear by rename, so a reader sees whole ones."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with disk_errors("EDGEKIT_CACHE", root):
            for name in ("steps", "scratch", "training"):
                (root / name).mkdir(parents=True, exist_ok=True)

    def find(self, key: str) -> CachedStep | None:
        """The finished step of that key, or None; a damaged entry counts as none."""
        folder = self.root / "steps" / key
        try:
            record = json.loads((folder / "step.json").read_text(encoding="utf-8"))
            path = folder / record["file"]
            if path.parent != folder or size_bytes(path) != record["size_bytes"]:
                return None
            notes = tuple(Note(*note) for note in record["notes"])
            return CachedStep(path, record["digest"], record["seconds"], notes, record["facts"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def store(self, key: str, made: Path, step: CachedStep) -> CachedStep:
        """Moves what a step made into the cache; a twin stored meanwhile by another run is kept."""
        folder = self.root / "steps" / key
        with self.scratch() as scratch, disk_errors("EDGEKIT_CACHE", self.root):
            entry = scratch / "entry"
            entry.mkdir()
            shutil.move(made, entry / step.path.name)
            record = {
                "file": step.path.name,
                "size_bytes": size_bytes(entry / step.path.name),
                "digest": step.digest,
                "seconds": step.seconds,
                "notes": [dataclasses.astuple(note) for note in step.notes],
                "facts": dict(step.facts),
            }
            (entry / "step.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
            if self.find(key) is None:
                remove(folder)
                with contextlib.suppress(FileExistsError):
                    os.replace(entry, folder)
        stored = self.find(key)
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

    def training_folder(self, key: str) -> Path:
        """Where a training with that key keeps its checkpoints, so that it can be resumed."""
        folder = self.root / "training" / key
        with disk_errors("EDGEKIT_CACHE", self.root):
            folder.mkdir(parents=True, exist_ok=True)
        return folder


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset | set):
        return sorted(value)
    return repr(value)
