"""A folder of MNIST-style IDX files, gzipped or not."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgekit.core.artifact import Signature
from edgekit.core.data import Dataset, Pool
from edgekit.datasets._digest import Digest
from edgekit.datasets._labels import read_labels
from edgekit.datasets._npy import LARGE_BYTES, is_bomb, scratch_map
from edgekit.errors import UsageError
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Options", "load", "sniff"]

_NAME = re.compile(r"(train|t10k|test)[-_.](images|labels)[-.]idx(\d)-\w+(\.gz)?")
_EXPECTED = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-..., t10k-labels-..."
_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The third byte of the magic (http://yann.lecun.com/exdb/mnist, "the IDX file format")."""
_MAX_AXES = 8


@dataclass(frozen=True)
class Options:
    """IDX files have no options of their own."""


def sniff(path: Path) -> bool:
    """Recognises what this kind of data comes in, by the names in the folder."""
    return path.is_dir() and bool(_find(path))


def load(argument: str, options: Options, signature: Signature | None) -> Dataset:
    """Reads train-images-idx3-ubyte, train-labels-idx1-ubyte and the t10k (or test) pair.

    Names may have '.' for '-' and end in .gz. The test pair and the labels may be absent. Images
    get a channel axis unless the model's input has none. Files that are not gzipped are
    memory-mapped.

    Raises:
        UsageError: no such folder or files, a wrong magic or size (names the file), or labels that
            are no class indices.
    """
    where = f"--data 'idx:{argument}'"
    folder = Path(argument)
    if not argument or not folder.is_dir():
        raise UsageError(f"{where}: no such folder", hint="write idx:DIR")
    files = _find(folder)
    train_part = "train" if ("train", "images") in files else "test"
    if (train_part, "images") not in files:
        raise UsageError(f"{where}: has no IDX images", hint=f"it takes {_EXPECTED}")
    with_channel = signature is None or len(signature.inputs[0].sample_shape) != 2
    digest = Digest("idx", with_channel)
    arrays = {}
    for key, path in sorted(files.items()):
        digest.add_word(key)
        digest.add_file(path)
        arrays[key] = _read(path, f"{where}: {path.name}")
    labels, _, notes = read_labels(
        (arrays.get(("train", "labels")), arrays.get(("test", "labels"))), where=where
    )
    images = {
        part: _with_channel(arrays[part, "images"]) if with_channel else arrays[part, "images"]
        for part in ("train", "test")
        if (part, "images") in arrays
    }
    test = Pool((images["test"],), labels[1]) if "test" in images else None
    train = images["train"] if "train" in images else images["test"][:0]
    return Dataset(
        name=f"idx:{argument}",
        train=Pool((train,), labels[0]),
        test=test,
        digest=digest.hexdigest(),
        notes=notes,
    )


def _find(folder: Path) -> dict[tuple[str, str], Path]:
    """The files by (part, kind); one that is not gzipped wins, because it can be mapped."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir(), key=lambda item: (item.suffix == ".gz", item.name)):
        match = _NAME.fullmatch(path.name)
        if match and path.is_file():
            part = "train" if match[1] == "train" else "test"
            found.setdefault((part, match[2]), path)
    return found


def _with_channel(images: NDArray[Any]) -> NDArray[Any]:
    return images[..., None] if images.ndim == 3 else images


def _read(path: Path, where: str) -> NDArray[Any]:
    import numpy as np

    if path.suffix != ".gz":
        with path.open("rb") as file:
            dtype, shape = _header(file, where)
            offset = file.tell()
        _check_size(path.stat().st_size - offset, dtype, shape, where)
        if math.prod(shape) == 0:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)
    try:
        with gzip.open(path) as stream:
            return _read_gzip(stream, path.stat().st_size, where)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{where}: not a readable gzip file: {error}") from None


def _read_gzip(stream: Any, compressed: int, where: str) -> NDArray[Any]:
    """Reads at most what the header announces, and one byte more to see a wrong size."""
    import numpy as np

    dtype, shape = _header(stream, where)
    wanted = math.prod(shape) * dtype.itemsize
    if is_bomb(wanted, compressed):
        raise UsageError(
            f"{where}: grows from {format_bytes(compressed)} to {format_bytes(wanted)}, "
            "which looks like a gzip bomb",
            hint="unpack it with gunzip if it is yours",
        )
    if wanted > LARGE_BYTES:
        flat = scratch_map(_Bounded(stream, wanted), dtype, math.prod(shape), where)
        _check_size(flat.nbytes + len(stream.read(1)), dtype, shape, where)
        return flat.reshape(shape)
    data = stream.read(wanted + 1)
    _check_size(len(data), dtype, shape, where)
    return np.frombuffer(data, dtype=dtype).reshape(shape)


class _Bounded:
    """The next `left` bytes of a stream."""

    def __init__(self, stream: IO[bytes], left: int) -> None:
        self._stream, self._left = stream, left

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data


def _header(file: Any, where: str) -> tuple[Any, tuple[int, ...]]:
    import numpy as np

    magic = file.read(4)
    if not magic:
        raise UsageError(f"{where}: is empty, and no IDX file", hint="download the file again")
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise UsageError(
            f"{where}: the magic is 0x{magic.hex()}, which is no IDX file's",
            hint="an IDX file of images starts with 0x00000803, of labels with 0x00000801",
        )
    axes = magic[3]
    sizes = file.read(4 * axes)
    if not 1 <= axes <= _MAX_AXES or len(sizes) < 4 * axes:
        raise UsageError(
            f"{where}: the magic is 0x{magic.hex()}, and the sizes that it announces ({axes}) are "
            "not there"
        )
    shape = tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4"))
    return np.dtype(_DTYPES[magic[2]]), shape


def _check_size(held: int, dtype: Any, shape: tuple[int, ...], where: str) -> None:
    wanted = math.prod(shape) * dtype.itemsize
    if held != wanted:
        more = "more" if held > wanted else held
        raise UsageError(
            f"{where}: says it holds {' x '.join(map(str, shape))} values, {wanted} bytes, "
            f"and has {more}",
            hint="download the file again",
        )
