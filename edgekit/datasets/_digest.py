"""Digests of files, arrays and options, read in pieces."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.core.data import Rows

__all__ = ["Digest"]

_CHUNK_BYTES = 16_000_000


class Digest:
    """SHA-256 over everything that changes what a dataset holds; order matters."""

    def __init__(self, *words: object) -> None:
        self._hash = sha256()
        for word in words:
            self.add_word(word)

    def add_word(self, word: object) -> None:
        """Takes a name, a number or a frozen dataclass of options, by its repr."""
        data = repr(word).encode()
        self._hash.update(len(data).to_bytes(8, "little") + data)

    def add_bytes(self, data: bytes) -> None:
        """Takes the content of a small file."""
        self._hash.update(len(data).to_bytes(8, "little") + data)

    def add_file(self, path: Path) -> None:
        """Takes the content of a file of any size."""
        self._hash.update(path.stat().st_size.to_bytes(8, "little"))
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                self._hash.update(chunk)

    def add_rows(self, rows: Rows) -> None:
        """Takes dtype, shape and values of an array or a lazy reader."""
        import numpy as np

        self.add_word((str(np.dtype(rows.dtype)), tuple(rows.shape)))
        row_bytes = max(1, int(np.prod(rows.shape[1:])) * np.dtype(rows.dtype).itemsize)
        step = max(1, _CHUNK_BYTES // row_bytes)
        for start in range(0, len(rows), step):
            chunk: Any = rows[start : start + step]
            self._hash.update(np.ascontiguousarray(chunk).tobytes())

    def hexdigest(self) -> str:
        """The digest of everything so far."""
        return self._hash.hexdigest()
