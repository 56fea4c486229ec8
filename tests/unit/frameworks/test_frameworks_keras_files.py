"""Keras files from outside: each kind of damage is one sentence; TensorFlow is not needed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import UsageError
from edgekit.frameworks.keras_files import check_file, keras_version, kind_of

h5py = pytest.importorskip("h5py")

DENSE = {"class_name": "Dense", "config": {"name": "dense"}}
LAMBDA = {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}


def _zip(path: Path, config: Any = DENSE, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", b"\x89HDF weights")
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def _hdf5(path: Path, config: Any = None, **attributes: Any) -> Path:
    with h5py.File(path, "w") as file:
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        for name, value in attributes.items():
            file.attrs[name] = value
    return path


def _error(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        check_file(path)
    assert "\n" not in caught.value.message
    return caught.value.message.removeprefix(f"{path}: ")


def test_the_three_kinds(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    archive, file = _zip(tmp_path / "m.keras"), _hdf5(tmp_path / "m.h5", DENSE, keras_version="2.4")
    assert [kind_of(path) for path in (archive, file, folder)] == ["zip", "hdf5", "saved_model"]
    assert [check_file(path) for path in (archive, file, folder)] == ["zip", "hdf5", "saved_model"]
    assert keras_version(archive, "zip") == "3.15.1"
    assert keras_version(file, "hdf5") == "2.4"


def test_what_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    assert _error(path) == "cannot be read: No such file or directory"
    path.write_bytes(b"")
    assert _error(path) == "the file is empty"
    path.write_bytes(b"hello world")
    assert _error(path) == "is no Keras model (it starts with b'hello wo')"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", b"x")
    assert _error(path) == "is a zip file but no Keras model (no config.json in it)"
    assert kind_of(path) is None
    (tmp_path / "folder").mkdir()
    assert _error(tmp_path / "folder") == "is a folder without saved_model.pb"
    (tmp_path / "folder" / "saved_model.pb").touch()
    assert _error(tmp_path / "folder") == "saved_model.pb is empty"


def test_a_cut_off_zip(tmp_path: Path) -> None:
    path = _zip(tmp_path / "m.keras")
    path.write_bytes(path.read_bytes()[:-30])
    assert _error(path) == "is a cut off or damaged zip file (File is not a zip file)"
    assert kind_of(path) is None


def test_a_wrong_checksum(tmp_path: Path) -> None:
    path = _zip(tmp_path / "m.keras")
    path.write_bytes(path.read_bytes().replace(b"HDF weights", b"HDF weighty"))
    assert _error(path) == "is a damaged zip file (wrong checksum of model.weights.h5)"


def test_a_member_that_points_out(tmp_path: Path) -> None:
    path = _zip(tmp_path / "m.keras", **{"../evil": b"x"})
    assert _error(path) == "holds a file that points out of the zip: '../evil'"


def test_a_zip_bomb(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(DENSE))
        archive.writestr("model.weights.h5", bytes(20_000_000))
    assert _error(path) == "'model.weights.h5' in it says it unpacks to 20000000 bytes, too many"


def test_a_configuration_that_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", b"{")
        archive.writestr("model.weights.h5", b"x")
    assert _error(path).startswith("its configuration is not readable (Expecting property name")


def test_a_cut_off_hdf5(tmp_path: Path) -> None:
    path = _hdf5(tmp_path / "m.h5", DENSE)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size - 10])
    assert _error(path) == f"is cut off: {size - 10} bytes of {size} are there"
    path.write_bytes(path.read_bytes()[:12])
    assert _error(path) == "is cut off or damaged (its HDF5 header is not readable)"


def test_only_weights(tmp_path: Path) -> None:
    path = _hdf5(tmp_path / "m.h5", layer_names=["dense"])
    assert _error(path) == "holds only weights, and the architecture is needed too"
    other = _hdf5(tmp_path / "other.h5")
    assert _error(other) == "is an HDF5 file but no Keras model (no model_config in it)"


def test_python_code_is_refused_before_loading(tmp_path: Path) -> None:
    layer = {"class_name": "Lambda", "config": {"name": "squash", "function": LAMBDA}}
    expected = "the layer 'squash' holds Python code, which edgekit never runs from a file"
    assert _error(_zip(tmp_path / "m.keras", {"layers": [DENSE, layer]})) == expected
    old = {
        "class_name": "Lambda",
        "config": {"name": "squash", "function": ["code", None, None], "function_type": "lambda"},
    }
    assert _error(_hdf5(tmp_path / "m.h5", {"layers": [DENSE, old]})) == expected


def test_losses_of_ones_own_are_no_reason_to_refuse(tmp_path: Path) -> None:
    loss = {"module": "my_losses", "class_name": "MyLoss", "config": {}}
    path = _zip(tmp_path / "m.keras", {**DENSE, "compile_config": {"loss": loss}})
    assert check_file(path) == "zip"
