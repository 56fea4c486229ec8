"""Bundles: one file that has a model, all that runs it on a device, and what proves it there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.artifact import Artifact, InputScaling
from edgekit.core.bundle import SUFFIX, Manifest, Tensor
from edgekit.core.front_end import FrontEnd
from edgekit.engine.bundle_write import MANIFEST, Extras, write_bundle
from edgekit.engine.bundle_zip import MOST_BYTES, SUMS, checked_sums, unzip
from edgekit.engine.cache import CachedStep, StepCache, key_of
from edgekit.engine.files import disk_errors
from edgekit.engine.models import format_of
from edgekit.errors import UsageError
from edgekit.frameworks.files import cache_root, sha256
from edgekit.on_device.kernels import FORMATS
from edgekit.text import clean

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = [
    "SUFFIX",
    "Bundle",
    "Extras",
    "is_bundle",
    "model_in_bundle",
    "open_bundle",
    "write_bundle",
]

_MOST_TEXT = 4_000_000


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its files in `folder` are those that SHA256SUMS lists."""

    path: Path
    manifest: Manifest
    front_end: FrontEnd
    folder: Path
    artifact: Artifact

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes; none where there is no labels.txt."""
        if self.manifest.labels is None:
            return ()
        text = (self.folder / self.manifest.labels).read_text(encoding="utf-8", errors="replace")
        return tuple(text.removesuffix("\n").split("\n"))

    def files(self) -> dict[str, Path]:
        """Everything in it by its name in the bundle."""
        held = sorted(item for item in self.folder.rglob("*") if item.is_file())
        return {item.relative_to(self.folder).as_posix(): item for item in held}

    def golden(self) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """The golden inputs, and the outputs that are expected of them, in the model's dtypes.

        Raises:
            UsageError: a file is no array, or not of the shape and type that the manifest says.
        """
        own = self.manifest.golden
        pairs = ((own.inputs, self.manifest.inputs), (own.outputs, self.manifest.outputs))
        inputs, outputs = (
            tuple(
                _golden_array(self, name, tensor)
                for name, tensor in zip(names, tensors, strict=True)
            )
            for names, tensors in pairs
        )
        return inputs, outputs


def is_bundle(path: Path) -> bool:
    """Whether a path is meant as a bundle: by its ending, as some models are zips too."""
    return path.suffix == SUFFIX and not path.is_dir()


def open_bundle(path: Path) -> Bundle:
    """Checks a bundle and unpacks it into the step cache, where it is found the next time.

    Raises:
        UsageError: one sentence on what is wrong: no bundle, damaged, changed, of a newer schema,
            or made to write outside its folder. Nothing of it is left behind then.
    """
    where = f"bundle '{path}'"
    try:
        if not path.is_file():
            raise UsageError(f"{where}: {'is a folder' if path.is_dir() else 'no such file'}")
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"{where}: is larger than any bundle")
        cache, key = StepCache(cache_root()), key_of({"bundle": sha256(path)})
        found = cache.find(key, digest_of=_digest_of)
        if found is None:
            with cache.scratch() as scratch, disk_errors("EDGEKIT_CACHE", cache.root):
                folder = scratch / "bundle"
                folder.mkdir()
                unzip(path, folder)
                step = CachedStep(folder, _digest_of(folder, where), 0.0, ())
                _read(path, folder, where)
                found = cache.store(key, step, digest_of=_digest_of)
        return _read(path, found.path, where)
    except OSError as error:
        raise UsageError(f"{where}: cannot be read: {error.strerror or error}") from None


def model_in_bundle(path: Path) -> Artifact:
    """The model in a bundle, checked, with its input scaling.

    Raises:
        UsageError: as `open_bundle`.
    """
    return open_bundle(path).artifact


def _digest_of(folder: Path, where: str = "") -> str:
    checked_sums(folder, where=where or f"bundle '{folder}'")
    return sha256(folder / SUMS)


def _read(path: Path, folder: Path, where: str) -> Bundle:
    """What stands in a folder whose files were checked against SHA256SUMS."""
    manifest = Manifest.from_json(_bytes(folder, MANIFEST, where), where=f"{where}: {MANIFEST}")
    for name in sorted(manifest.names):
        if not (folder / name).is_file():
            raise UsageError(f"{where}: the file '{name}' of its manifest is missing")
    own = f"{where}: {manifest.preprocess}"
    front_end = FrontEnd.from_json(_bytes(folder, manifest.preprocess, where), where=own)
    if manifest.model.format not in FORMATS:
        what = clean(manifest.model.format)
        raise UsageError(f"{where}: its model is of the unknown format '{what}'")
    model, module = folder / manifest.model.file, format_of(manifest.model.format)
    if sha256(model) != manifest.model.sha256:
        raise UsageError(f"{where}: its model is not the one of its manifest")
    module.check(model)
    if module.digest(model) != manifest.model.digest:
        raise UsageError(f"{where}: its model is not the one of its manifest")
    artifact = Artifact(
        model,
        manifest.model.format,
        manifest.model.digest,
        clean(manifest.name),
        made_by="bundle",
        scaling=_artifact_scaling(front_end, module.read_scaling(model)),
    )
    return Bundle(path, manifest, front_end, folder, artifact)


def _artifact_scaling(front_end: FrontEnd, stored: InputScaling | None) -> InputScaling:
    """That of preprocess.json, with the range that the model's file knows where it is the same."""
    own = front_end.scaling
    if stored is not None and (stored.scale, stored.offset) == (own.scale, own.offset):
        return stored
    return InputScaling(own.scale, own.offset)


def _bytes(folder: Path, name: str, where: str) -> bytes:
    try:
        with (folder / name).open("rb") as file:
            return file.read(_MOST_TEXT + 1)
    except OSError:
        raise UsageError(f"{where}: the file '{name}' is missing") from None


def _golden_array(bundle: Bundle, name: str, tensor: Tensor) -> Array:
    import numpy as np

    where = f"bundle '{bundle.path}': {name}"
    try:
        found: Array = np.load(bundle.folder / name, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, TypeError, OverflowError):
        raise UsageError(f"{where}: is no array of numbers") from None
    sizes = tensor.shape[1:]
    fits = not sizes or len(found.shape) == 1 + len(sizes)
    fits = fits and all(
        want in (None, have) for have, want in zip(found.shape[1:], sizes, strict=False)
    )
    count = bundle.manifest.golden.count
    if not fits or str(found.dtype) != tensor.dtype or found.shape[:1] != (count,):
        raise UsageError(
            f"{where}: is {found.dtype} {found.shape}, and the manifest says {tensor.dtype} "
            f"{(count, *sizes)}"
        )
    return np.array(found)
