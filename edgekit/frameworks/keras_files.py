"""Keras files from outside: which kind, is it whole, is there code in it; no framework."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

from edgekit import lazy
from edgekit.errors import UsageError
from edgekit.frameworks._keras_code import find_code

__all__ = [
    "CONFIG",
    "METADATA",
    "WEIGHTS",
    "Kind",
    "check_file",
    "folder_files",
    "keras_version",
    "kind_of",
    "open_hdf5",
    "read_config",
]

Kind = Literal["zip", "hdf5", "saved_model"]

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_MAX_MEMBER_BYTES = 8 * 10**9
_MAX_CONFIG_BYTES = 256 * 10**6
_MAX_RATIO = 1000
_RATIO_FLOOR_BYTES = 10**7


def kind_of(path: Path) -> Kind | None:
    """Recognises a Keras file by its first bytes and its table of contents."""
    if path.is_dir():
        return "saved_model" if (path / "saved_model.pb").is_file() else None
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError:
        return None
    if head == _HDF5_MAGIC:
        return "hdf5"
    if head[:4] != b"PK\x03\x04":
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return "zip" if {CONFIG, WEIGHTS} <= set(archive.namelist()) else None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None


def check_file(path: Path) -> Kind:
    """Checks that the file is whole, and its layers known to be safe; says which kind it is.

    The graph of a SavedModel is not read here, but before it is loaded (that needs TensorFlow).

    Raises:
        UsageError: it is not there, not whole, no Keras model, or has layers that `find_code`
            refuses.
    """
    try:
        kind = _check_folder(path) if path.is_dir() else _check_regular(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    found = find_code(read_config(path, kind))
    if found is not None:
        raise UsageError(f"{path}: {found.problem}", hint=found.hint)
    return kind


def _check_folder(path: Path) -> Kind:
    if not (path / "saved_model.pb").is_file():
        raise UsageError(
            f"{path}: is a folder without saved_model.pb",
            hint="name a SavedModel folder or a model file",
        )
    if (path / "saved_model.pb").stat().st_size == 0:
        raise UsageError(f"{path}: saved_model.pb is empty")
    return "saved_model"


def _check_regular(path: Path) -> Kind:
    size = path.stat().st_size
    if size == 0:
        raise UsageError(f"{path}: the file is empty")
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(_HDF5_MAGIC):
        _check_hdf5(path, head, size)
        return "hdf5"
    if head.startswith(b"PK"):
        _check_zip(path)
        return "zip"
    raise UsageError(
        f"{path}: is no Keras model (it starts with {head[:8]!r})",
        hint="a Keras model is a .keras file, an .h5 file or a SavedModel folder",
    )


def _check_hdf5(path: Path, head: bytes, size: int) -> None:
    """Compares the length that the superblock states with the file's."""
    position = {0: 40, 1: 44, 2: 28, 3: 28}.get(head[8] if len(head) > 8 else -1)
    if position is None or len(head) < position + 8:
        raise UsageError(f"{path}: is cut off or damaged (its HDF5 header is not readable)")
    stated = int.from_bytes(head[position : position + 8], "little")
    if stated > size:
        raise UsageError(f"{path}: is cut off: {size} bytes of {stated} are there")


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                _check_member(path, member)
            missing = {CONFIG, WEIGHTS} - {member.filename for member in members}
            if missing:
                raise UsageError(
                    f"{path}: is a zip file but no Keras model (no {sorted(missing)[0]} in it)"
                )
            damaged = archive.testzip()
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise UsageError(f"{path}: is a cut off or damaged zip file ({error})") from None
    except zlib.error as error:
        raise UsageError(f"{path}: is a damaged zip file ({error})") from None
    if damaged is not None:
        raise UsageError(f"{path}: is a damaged zip file (wrong checksum of {damaged})")


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name, size = member.filename, member.file_size
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
        raise UsageError(f"{path}: holds a file that points out of the zip: '{name}'")
    bomb = size > _RATIO_FLOOR_BYTES and size > _MAX_RATIO * max(member.compress_size, 1)
    if bomb or size > _MAX_MEMBER_BYTES:
        raise UsageError(f"{path}: '{name}' in it says it unpacks to {size} bytes, too many")
    if name == CONFIG and size > _MAX_CONFIG_BYTES:
        raise UsageError(f"{path}: its config.json is {size} bytes long, too many")


def read_config(path: Path, kind: Kind) -> Any:
    """What Keras makes the layers of, as JSON; None for a SavedModel, or without h5py for an .h5.

    How the model was compiled is left out: it is never loaded, and may name losses of one's own.

    Raises:
        UsageError: the configuration is no JSON, or the file holds only weights.
    """
    if kind == "zip":
        with zipfile.ZipFile(path) as archive:
            config = _parse(path, archive.read(CONFIG))
        if isinstance(config, dict):
            config.pop("compile_config", None)
        return config
    if kind == "hdf5" and lazy.is_installed("h5py"):
        return _parse(path, _hdf5_config(path))
    return None


def keras_version(path: Path, kind: Kind) -> str:
    """The version of Keras that saved the file, '' where it does not say."""
    if kind == "zip":
        with zipfile.ZipFile(path) as archive:
            if METADATA not in archive.namelist():
                return ""
            metadata = _parse(path, archive.read(METADATA))
        return str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""
    if kind == "hdf5":
        with open_hdf5(path) as file:
            return _text(file.attrs.get("keras_version", ""))
    return ""


def open_hdf5(path: Path, *, mode: str = "r") -> Any:
    """Opens an HDF5 file; a damaged one is a UsageError."""
    h5py = lazy.require("h5py", extra="tensorflow", needed_for=f"{path}")
    try:
        return h5py.File(path, mode)
    except OSError as error:
        raise UsageError(f"{path}: is a damaged HDF5 file ({error})") from None


def _hdf5_config(path: Path) -> str:
    with open_hdf5(path) as file:
        try:
            config, members = file.attrs.get("model_config"), set(file.keys())
            attributes = set(file.attrs.keys())
        except (OSError, RuntimeError, KeyError) as error:
            raise UsageError(f"{path}: is a damaged HDF5 file ({error})") from None
    if config is not None:
        return _text(config)
    if "layer_names" in attributes or members & {"layers", "_layer_checkpoint_dependencies"}:
        raise UsageError(
            f"{path}: holds only weights, and the architecture is needed too",
            hint="save the whole model with model.save('model.keras')",
        )
    raise UsageError(f"{path}: is an HDF5 file but no Keras model (no model_config in it)")


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _parse(path: Path, text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: its configuration is not readable ({error})") from None


def folder_files(path: Path) -> list[Path]:
    """The regular files of a SavedModel folder, sorted by relative path.

    Raises:
        UsageError: a link in it points out of the folder.
    """
    root = path.resolve()
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder) / name
            if not file.resolve().is_relative_to(root):
                raise UsageError(f"{path}: '{name}' in it points out of the folder")
            found.append(file)
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())
