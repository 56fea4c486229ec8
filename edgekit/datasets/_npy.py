"""Reads the arrays of an .npz safely: no pickles, bounded sizes, large ones memory-mapped."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from edgekit.errors import UsageError
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LARGE_BYTES", "NpzReader", "Readable", "is_bomb", "scratch_map"]

LARGE_BYTES = 64_000_000
"""Arrays above this are not held in memory."""
_BOMB_BYTES = 1_000_000_000
_BOMB_RATIO = 300
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, RuntimeError)
"""RuntimeError is zipfile's for encrypted members and unknown compressions."""


class Readable(Protocol):
    """Bytes that can be read once, in pieces."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    fortran: bool
    dtype: Any


class NpzReader:
    """The arrays of one .npz by name; nothing is read before `read`."""

    def __init__(self, path: Path, *, where: str) -> None:
        self._path, self._where = path, where
        with self._opened() as archive:
            self._members = {
                info.filename.removesuffix(".npy"): info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays in the file, in its order."""
        return tuple(self._members)

    def read(self, name: str) -> NDArray[Any]:
        """Reads one array; above 64 MB it is a read-only memory map of a scratch file.

        Raises:
            UsageError: damaged, Python objects inside, or a size that only a bomb has.
        """
        import numpy as np

        info = self._members[name]
        self._refuse_bomb(name, info)
        with self._opened() as archive, archive.open(info) as stream:
            header = self._header(name, stream, info)
            count = math.prod(header.shape)
            if count == 0:
                return np.empty(header.shape, header.dtype)
            if info.file_size > LARGE_BYTES:
                flat = scratch_map(stream, header.dtype, count, self._where)
            else:
                flat = np.frombuffer(stream.read(), dtype=header.dtype)
            return flat.reshape(header.shape, order="F" if header.fortran else "C")

    def _header(self, name: str, stream: IO[bytes], info: zipfile.ZipInfo) -> _Header:
        from numpy.lib import format as npy

        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        if dtype.hasobject or dtype.kind not in "biufUS":
            what = "Python objects" if dtype.hasobject else f"the dtype {dtype}"
            raise UsageError(
                f"{self._where}: the array '{name}' holds {what}, which edgekit does not read",
                hint="save plain numbers with np.savez",
            )
        # Exactly, both ways: a lying header must not make edgekit allocate or copy anything.
        held = info.file_size - stream.tell()
        if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != held:
            raise UsageError(
                f"{self._where}: the array '{name}' says it is {shape} of {dtype}, "
                f"and holds {held} bytes"
            )
        return _Header(shape, fortran, dtype)

    def _refuse_bomb(self, name: str, info: zipfile.ZipInfo) -> None:
        if info.file_size > _BOMB_BYTES and is_bomb(info.file_size, info.compress_size):
            raise UsageError(
                f"{self._where}: the array '{name}' grows from {format_bytes(info.compress_size)} "
                f"to {format_bytes(info.file_size)}, which looks like a zip bomb",
                hint="save it with np.savez instead of np.savez_compressed if it is yours",
            )

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self._path) as archive:
                yield archive
        except _UNREADABLE as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise UsageError(
                f"{self._where}: not a readable .npz file: {reason or type(error).__name__}",
                hint="write it with np.savez(FILE, x=..., y=...)",
            ) from None


def is_bomb(size: int, compressed: int) -> bool:
    """True for what is too large for memory and is compressed as no real samples can be."""
    return size > LARGE_BYTES and size > _BOMB_RATIO * max(1, compressed)


def scratch_map(stream: Readable, dtype: Any, count: int, where: str) -> NDArray[Any]:
    """Copies `count` values of a stream to a scratch file and maps it, read-only.

    The file is unlinked at once: the mapping keeps it alive, and nothing is left behind however
    the process ends. A short stream gives fewer values, which the caller checks.

    Raises:
        UsageError: the scratch folder has no room.
    """
    import numpy as np

    room, wanted = shutil.disk_usage(tempfile.gettempdir()).free, count * dtype.itemsize
    if wanted > room:
        raise UsageError(
            f"{where}: needs {format_bytes(wanted)} of scratch space, and "
            f"{tempfile.gettempdir()} has {format_bytes(room)}",
            hint="set TMPDIR to a folder with room",
        )
    handle, name = tempfile.mkstemp(prefix="edgekit-", suffix=".raw")
    try:
        with os.fdopen(handle, "wb") as file:
            while piece := stream.read(1 << 20):
                file.write(piece)
        whole = os.path.getsize(name) // dtype.itemsize
        return np.memmap(name, dtype=dtype, mode="r", shape=(min(whole, count),))
    finally:
        os.unlink(name)
