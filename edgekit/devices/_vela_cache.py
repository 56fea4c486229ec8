"""What a compiler made of a model, kept by the digest of all that it depends on."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import UnmeasuredError, UsageError

__all__ = ["kept"]


def kept(compiler: str, key: Sequence[Any], make: Callable[[Path], None]) -> Path:
    """The folder that `make` filled, now or in an earlier run; a damaged one is made anew.

    Raises:
        UnmeasuredError: `make` fails, or the folder cannot be written.
    """
    from edgekit.frameworks.files import cache_root
    from edgekit.frameworks.isolated_folder import locked, making, write_marker

    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    folder = cache_root() / compiler / digest
    try:
        with locked(folder, f"what {compiler} makes", _silent):
            if not _is_whole(folder):
                with making(folder):
                    folder.mkdir()
                    make(folder)
                    write_marker(folder, {"python": "", "digests": _digests(folder)})
    except OSError as error:
        raise UnmeasuredError(
            f"EDGEKIT_CACHE '{cache_root()}': what {compiler} makes cannot be kept there: "
            f"{error.strerror or error}",
            hint="make room, or name another folder with EDGEKIT_CACHE",
        ) from None
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether a folder still holds what was kept in it."""
    from edgekit.frameworks.isolated_folder import read_marker

    known = read_marker(folder).get("digests")
    if not isinstance(known, dict) or not known:
        return False
    with contextlib.suppress(UsageError, OSError):
        found = _digests(folder)
        return all(found.get(name) == digest for name, digest in known.items())
    return False


def _digests(folder: Path) -> dict[str, str]:
    from edgekit.frameworks.files import sha256

    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


@contextlib.contextmanager
def _silent(text: str, total: int) -> Iterator[Any]:
    yield None
