"""Keras: a .keras file, a legacy .h5 file, or a SavedModel folder."""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from pathlib import Path

from edgekit import lazy
from edgekit.core.artifact import InputScaling
from edgekit.core.description import Description
from edgekit.errors import UsageError
from edgekit.frameworks import files, keras_files, scaling

__all__ = [
    "SUFFIXES",
    "check",
    "describe",
    "digest",
    "parts",
    "read_scaling",
    "sniff",
    "write_scaling",
]

SUFFIXES = (".keras", ".h5", ".hdf5", "")

_SCALING = f"{scaling.KEY}.json"
_NOT_CONTENT = frozenset({"fingerprint.pb"})
_MAX_SCALING_BYTES = 10**7


def sniff(path: Path) -> bool:
    """By content: a zip with Keras's members, an HDF5 file, or a folder with saved_model.pb."""
    return keras_files.kind_of(path) is not None


def check(path: Path) -> None:
    """Checks that the file is whole, holds an architecture, and no layers that run code."""
    keras_files.check_file(path)


def digest(path: Path) -> str:
    """Over what the members hold; the time a `.keras` was saved and zip details do not count."""
    kind = keras_files.check_file(path)
    if kind == "hdf5":
        return files.sha256(path)
    if kind == "saved_model":
        return files.digest_parts(
            {
                file.relative_to(path).as_posix(): files.sha256(file)
                for file in keras_files.folder_files(path)
                if file.name not in _NOT_CONTENT
            }
        )
    with zipfile.ZipFile(path) as archive:
        names = [item.filename for item in archive.infolist() if not item.is_dir()]
        parts = {name: _member_digest(archive, name) for name in set(names)}
    parts[keras_files.METADATA] = keras_files.keras_version(path, kind)
    return files.digest_parts(parts)


def parts(path: Path) -> tuple[Path, ...]:
    """None: everything lies in the one file or folder."""
    return ()


def describe(path: Path) -> Description:
    """Opens the model with TensorFlow and reads its layers."""
    from edgekit.formats import _keras_bytes, _keras_layers
    from edgekit.frameworks import keras

    kind, loaded = keras_files.check_file(path), keras.load_model(path)
    size = _size(path)
    weights = _keras_layers.weights(loaded)
    held = sum(weight.size_bytes for weight in weights)
    return Description(
        format="keras",
        signature=loaded.signature,
        ops=_keras_layers.ops(loaded),
        weights=weights,
        size_bytes=size,
        bytes_by=_keras_bytes.bytes_by(path, kind, size, held),
        parameters=sum(weight.parameters for weight in weights),
        notes=loaded.notes,
    )


def read_scaling(path: Path) -> InputScaling | None:
    """Reads `edgekit.json` in the zip or folder, or the attribute 'edgekit' of an .h5."""
    payload = _read_payload(path)
    return None if payload is None else scaling.load(payload, where=str(path))


def write_scaling(path: Path, value: InputScaling) -> None:
    """Writes where `read_scaling` reads; the old file stays until the new one is whole."""
    kind, payload = keras_files.check_file(path), scaling.dump(value)
    if kind == "saved_model":
        with files.replacing(path / _SCALING) as temporary:
            temporary.write_bytes(payload)
        return
    with files.replacing(path) as temporary:
        if kind == "zip":
            _copy_zip(path, temporary, payload)
        else:
            shutil.copyfile(path, temporary)
            _write_attribute(temporary, payload)


def _read_payload(path: Path) -> bytes | None:
    kind = keras_files.kind_of(path) or keras_files.check_file(path)
    if kind == "hdf5":
        return _read_attribute(path)
    if kind == "saved_model":
        file = path / _SCALING
        return file.read_bytes()[:_MAX_SCALING_BYTES] if file.is_file() else None
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_SCALING) as member:
            return member.read(_MAX_SCALING_BYTES)
    except KeyError:
        return None
    except (zipfile.BadZipFile, zlib.error, OSError) as error:
        raise UsageError(f"{path}: is a damaged zip file ({error})") from None


def _member_digest(archive: zipfile.ZipFile, name: str) -> str:
    with archive.open(name) as member:
        return files.sha256_stream(member)


def _copy_zip(source: Path, target: Path, payload: bytes) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.infolist():
            if item.filename != _SCALING and not item.is_dir():
                with old.open(item) as member, new.open(item, "w", force_zip64=True) as copy:
                    shutil.copyfileobj(member, copy)
        new.writestr(zipfile.ZipInfo(_SCALING), payload)


def _read_attribute(path: Path) -> bytes | None:
    if not lazy.is_installed("h5py"):
        return None
    with keras_files.open_hdf5(path) as file:
        value = file.attrs.get(scaling.KEY)
    return value if value is None or isinstance(value, bytes) else str(value).encode()


def _write_attribute(path: Path, payload: bytes) -> None:
    with keras_files.open_hdf5(path, mode="r+") as file:
        file.attrs[scaling.KEY] = json.dumps(json.loads(payload))


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in keras_files.folder_files(path))
    return path.stat().st_size
