"""Where the bytes of a Keras model are: weights, optimizer, config, metadata, container."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgekit import lazy
from edgekit.errors import UsageError
from edgekit.frameworks import keras_files

__all__ = ["bytes_by"]

_ORDER = ("weights", "optimizer", "config", "graph", "assets", "metadata", "container")
_OF_FOLDER = {
    "saved_model.pb": "graph",
    "keras_metadata.pb": "config",
    "fingerprint.pb": "metadata",
    "edgekit.json": "metadata",
}
_OF_ZIP = {
    keras_files.CONFIG: "config",
    keras_files.METADATA: "metadata",
    "edgekit.json": "metadata",
}


def bytes_by(
    path: Path, kind: keras_files.Kind, size: int, weights: int
) -> tuple[tuple[str, int], ...]:
    """Splits the `size` of a file or folder; `weights` is what the variables need in memory.

    What the values need is taken from the file itself. `container` is all that is left: names and
    tables of HDF5, zip and checkpoint, and free space between them.
    """
    try:
        if kind == "hdf5":
            found = _in_hdf5(path)
        elif kind == "zip":
            found = _in_zip(path)
        else:
            found = _in_folder(path, weights)
    except (OSError, RuntimeError, KeyError) as error:
        raise UsageError(f"{path}: its values cannot be measured ({error})") from None
    left, parts = size, {}
    for name in _ORDER[:-1]:
        parts[name] = min(found[name], left)  # Lists in HDF5 can be shared, or lie elsewhere.
        left -= parts[name]
    parts["container"] = left
    return tuple((name, held) for name, held in parts.items() if held or name == "weights")


def _in_hdf5(path: Path) -> Counter[str]:
    with keras_files.open_hdf5(path) as file:
        found = _values(file)
        for name in file.attrs:
            value = file.attrs[name]
            length = len(value) if isinstance(value, (str, bytes)) else 0
            found["config" if name == "model_config" else "metadata"] += length
    return found


def _in_zip(path: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    with zipfile.ZipFile(path) as archive:
        for item in archive.infolist():
            if item.filename == keras_files.WEIGHTS:
                found += _in_member(archive, item)
            else:
                found[_OF_ZIP.get(item.filename, "assets")] += item.compress_size
    return found


def _in_member(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> Counter[str]:
    """Compressed as a whole, weights and the rest cannot be told apart (Keras does not do that)."""
    if item.compress_type != zipfile.ZIP_STORED:
        return Counter(weights=item.compress_size)
    h5py = lazy.require("h5py", extra="tensorflow", needed_for=f"{archive.filename}")
    with archive.open(item) as member, h5py.File(member, "r") as file:
        return _values(file)


def _values(file: Any) -> Counter[str]:
    """What the datasets take up, by whether they lie with the optimizer."""
    found: Counter[str] = Counter()

    def add(name: str, item: Any) -> None:
        if hasattr(item, "id") and hasattr(item.id, "get_storage_size"):
            kind = "optimizer" if name.startswith("optimizer") else "weights"
            found[kind] += item.id.get_storage_size()

    file.visititems(add)
    return found


def _in_folder(path: Path, weights: int) -> Counter[str]:
    found = Counter(weights=weights, optimizer=_optimizer_in_checkpoint(path))
    for file in keras_files.folder_files(path):
        parts = file.relative_to(path).parts
        kind = "assets" if parts[0].startswith("assets") else _OF_FOLDER.get("/".join(parts), "")
        if kind:
            found[kind] += file.stat().st_size
    return found


def _optimizer_in_checkpoint(path: Path) -> int:
    from edgekit.frameworks import keras

    prefix = path / "variables" / "variables"
    if not prefix.with_suffix(".index").is_file():
        return 0
    tf = keras.import_tensorflow(f"{path}")
    reader = tf.train.load_checkpoint(str(prefix))
    dtypes = reader.get_variable_to_dtype_map()
    return sum(
        tf.TensorShape(shape).num_elements() * dtypes[name].size
        for name, shape in _optimizer_shapes(reader.get_variable_to_shape_map().items())
    )


def _optimizer_shapes(shapes: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [
        (name, shape)
        for name, shape in shapes
        if name.startswith("optimizer/") or "/.OPTIMIZER_SLOT/" in name
    ]
