"""Files: digests in pieces, replacement by rename only, and where what is kept lies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgekit.errors import UsageError

__all__ = ["cache_root", "digest_parts", "replacing", "sha256", "sha256_stream"]

_CHUNK = 1 << 20


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return sha256_stream(file)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None


def sha256_stream(stream: IO[bytes]) -> str:
    """SHA-256 (hex) of what is left in a stream."""
    import hashlib

    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def digest_parts(parts: dict[str, str]) -> str:
    """SHA-256 (hex) of named parts, whatever their order."""
    import hashlib

    text = "".join(f"{name}\0{digest}\n" for name, digest in sorted(parts.items()))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary file beside `path` that takes its place when the block succeeds.

    Raises:
        UsageError: the disk is full or the folder cannot be written; `path` is as it was.
    """
    import shutil
    import tempfile

    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        if path.exists():
            shutil.copymode(path, temporary)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def cache_root() -> Path:
    """`$EDGEKIT_CACHE`, else the user's cache folder (XDG base directories)."""
    named = os.environ.get("EDGEKIT_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "edgekit"
