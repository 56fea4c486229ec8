"""A folder of images: one folder a class, or train/CLASS and test/CLASS."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Signature
from edgekit.core.data import Dataset, Pool
from edgekit.core.notes import Note
from edgekit.datasets._digest import Digest
from edgekit.datasets._image_frame import Frame, Options, frame_of
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["Options", "load", "sniff"]

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""Pillow's other decoders are not for files of unknown origin (EPS runs Ghostscript)."""
_MAX_PIXELS = 50_000_000
_MAX_FILE_BYTES = 200_000_000
_NAMED_IN_NOTE = 3


@dataclass(frozen=True)
class _Seen:
    """What the one pass over all files found: readable ones, their classes and sizes, the rest."""

    files: list[tuple[Path, int]]
    sizes: set[tuple[int, int]]
    is_grey: bool
    dropped: list[str]


class _ImageRows:
    """Opens, resizes and converts images when they are asked for; holds none of them."""

    def __init__(self, paths: list[Path], frame: Frame) -> None:
        import numpy as np

        self._paths, self._frame = paths, frame
        self.shape = (len(paths), *frame.shape)
        self.dtype = np.dtype("uint8")

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        import numpy as np

        if isinstance(index, int | np.integer):
            return _read(self._paths[index], self._frame)
        if isinstance(index, slice):
            chosen = self._paths[index]
        else:
            chosen = [self._paths[item] for item in np.arange(len(self))[index]]
        batch = np.empty((len(chosen), *self._frame.shape), dtype=self.dtype)
        for row, path in enumerate(chosen):
            batch[row] = _read(path, self._frame)
        return batch


def sniff(path: Path) -> bool:
    """Recognises what this kind of data comes in: a folder of folders."""
    return path.is_dir() and bool(_folders(path))


def load(argument: str, options: Options, signature: Signature | None) -> Dataset:
    """Reads DIR/CLASS/* or DIR/train/CLASS/* and DIR/test/CLASS/*; classes are in name order.

    Height, width, channels and their axis are the model's, else those of `options`, else those of
    the images where they all agree, channels last. Images are resized bilinearly and stay 0 to 255.
    Every file is decoded once here: one that cannot be read, or has over 50 million pixels, is
    dropped and noted.

    Raises:
        UsageError: no such folder, no class folder, no readable image, or no size to resize to.
    """
    where = f"--data 'images:{argument}'"
    root = Path(argument)
    if not argument or not root.is_dir():
        raise UsageError(f"{where}: no such folder", hint="write images:DIR")
    parts = _parts(root)
    names = tuple(path.name for path in _folders(parts[0]))
    if not names:
        raise UsageError(f"{where}: has no folder inside", hint="make one folder a class")
    digest = Digest("images", options, names)
    seen = [_look(part, names, digest, where) for part in parts]
    frame = frame_of(
        options,
        signature,
        sizes=set().union(*(part.sizes for part in seen)),
        is_grey=all(part.is_grey for part in seen),
        where=where,
    )
    digest.add_word(frame)
    return Dataset(
        name=f"images:{argument}",
        train=_pool(seen[0], frame),
        test=_pool(seen[1], frame) if len(seen) > 1 else None,
        digest=digest.hexdigest(),
        class_names=names,
        notes=tuple(_notes(seen)),
        front_end={"kind": "image", **asdict(frame)},
    )


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")


def _parts(root: Path) -> list[Path]:
    train, test = root / "train", root / "test"
    return [train, test] if train.is_dir() and test.is_dir() else [root]


def _look(part: Path, names: tuple[str, ...], digest: Digest, where: str) -> _Seen:
    found = _Seen([], set(), True, [])
    is_grey = True
    for folder in _folders(part):
        if folder.name not in names:
            raise UsageError(
                f"{where}: the class '{folder.name}' is in {part.name}/ and not in train/"
            )
        for path in sorted(folder.iterdir()):
            if not path.is_file() or path.name.startswith("."):
                continue
            try:
                data = _bytes(path)
                with _opened(io.BytesIO(data)) as image:
                    found.sizes.add((image.height, image.width))
                    is_grey = is_grey and image.mode in ("1", "L", "I", "I;16", "I;16B")
                    # Decoding small still reads the whole file, and is faster for JPEG.
                    image.draft(None, (1, 1))
                    image.load()
            except ValueError:
                found.dropped.append(f"{folder.name}/{path.name}")
                continue
            digest.add_word((part.name, folder.name, path.name))
            digest.add_bytes(data)
            found.files.append((path, names.index(folder.name)))
    if not found.files:
        count = len(found.dropped)
        other = f"{count} file{' there is' if count == 1 else 's there are'} no image"
        bad = f" ({other})" if count else ""
        raise UsageError(f"{where}: has no image in {part}{bad}", hint="one folder a class")
    return _Seen(found.files, found.sizes, is_grey, found.dropped)


def _bytes(path: Path) -> bytes:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise ValueError("larger than any image")
    return path.read_bytes()


@contextmanager
def _opened(file: Any) -> Iterator[Image]:
    """Opens an image lazily; whatever Pillow finds wrong, then or later, is a ValueError."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and of large images, which are bounded below.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=_FORMATS) as image:
                if image.width * image.height > _MAX_PIXELS:
                    raise ValueError("too many pixels")
                yield image
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError, MemoryError) as error:
        raise ValueError(str(error)) from None


def _pool(seen: _Seen, frame: Frame) -> Pool:
    import numpy as np

    labels = np.array([label for _, label in seen.files], dtype=np.int64)
    return Pool((_ImageRows([path for path, _ in seen.files], frame),), labels)


def _notes(seen: list[_Seen]) -> Iterator[Note]:
    dropped = [name for part in seen for name in part.dropped]
    if dropped:
        more = len(dropped) - _NAMED_IN_NOTE
        named = ", ".join(dropped[:_NAMED_IN_NOTE]) + (f" and {more} more" if more > 0 else "")
        yield Note(
            "dropped",
            f"{len(dropped)} file{'' if len(dropped) == 1 else 's'}",
            f"not readable as images: {named}",
        )


def _read(path: Path, frame: Frame) -> NDArray[Any]:
    import numpy as np

    try:
        with _opened(path) as image:
            pixels = np.asarray(_fitted(_converted(image, frame.channels), frame))
    except ValueError as error:
        raise UsageError(f"{path}: changed since it was first read: {error}") from None
    if frame.channels == 3 and frame.order == "bgr":
        pixels = pixels[..., ::-1]
    if frame.axes == "first":
        return pixels.reshape(frame.height, frame.width, frame.channels).transpose(2, 0, 1)
    return pixels.reshape(frame.shape)


def _converted(image: Image, channels: int) -> Image:
    import numpy as np
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        # 16 bits: Pillow would clip them to 255 instead of scaling.
        upright = Image.fromarray((np.asarray(upright).clip(0, 65535) // 257).astype("uint8"))
    return upright.convert("L" if channels == 1 else "RGB")


def _fitted(image: Image, frame: Frame) -> Image:
    from PIL import Image, ImageOps

    size, bilinear = (frame.width, frame.height), Image.Resampling.BILINEAR
    if image.size == size:
        return image
    if frame.resize == "crop":
        return ImageOps.fit(image, size, bilinear)
    if frame.resize == "pad":
        return ImageOps.pad(image, size, bilinear)
    return image.resize(size, bilinear)
