"""The format keras: digest and scaling without TensorFlow, describe with it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.artifact import InputScaling
from edgekit.errors import UsageError
from edgekit.formats import keras as format_keras
from edgekit.frameworks.keras import import_keras, load_model, predict, quiet

SCALING = InputScaling((1 / 127.5,), (-1.0,), 0.0, 255.0)


def _archive(
    path: Path, *, date: str = "today", weights: bytes = b"\x89HDF", order: int = 1
) -> Path:
    members = {
        "metadata.json": json.dumps({"keras_version": "3.15.1", "date_saved": date}).encode(),
        "config.json": b"{}",
        "model.weights.h5": weights,
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name in list(members)[::order]:
            archive.writestr(name, members[name])
    return path


def test_digest_is_of_the_content(tmp_path: Path) -> None:
    first = format_keras.digest(_archive(tmp_path / "a.keras"))
    assert first == format_keras.digest(_archive(tmp_path / "b.keras", date="tomorrow", order=-1))
    assert first != format_keras.digest(_archive(tmp_path / "c.keras", weights=b"other"))


def test_digest_of_a_folder(tmp_path: Path) -> None:
    digests = []
    for name, fingerprint, graph in (("a", b"1", b"x"), ("b", b"2", b"x"), ("c", b"1", b"y")):
        folder = tmp_path / name
        (folder / "variables").mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(graph)
        (folder / "fingerprint.pb").write_bytes(fingerprint)
        (folder / "variables" / "variables.index").write_bytes(b"i")
        digests.append(format_keras.digest(folder))
    assert digests[0] == digests[1] != digests[2]


def test_a_folder_may_not_point_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"x")
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(UsageError, match="'link' in it points out of the folder"):
        format_keras.digest(folder)


def test_scaling_travels_in_every_kind(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    archive = _archive(tmp_path / "m.keras")
    hdf5 = tmp_path / "m.h5"
    with h5py.File(hdf5, "w") as file:
        file.attrs["model_config"] = "{}"
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"x")
    for path in (archive, hdf5, folder):
        assert format_keras.read_scaling(path) is None
        format_keras.write_scaling(path, InputScaling())
        format_keras.write_scaling(path, SCALING)
        assert format_keras.read_scaling(path) == SCALING
    assert len(list(tmp_path.iterdir())) == 3, "no temporary file is left"


def test_damaged_scaling(tmp_path: Path) -> None:
    path = _archive(tmp_path / "m.keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("edgekit.json", b"[1]")
    with pytest.raises(UsageError) as caught:
        format_keras.read_scaling(path)
    assert caught.value.message == (
        f"{path}: the input scaling stored in it is damaged "
        "(it must have scale, offset, and may have low and high)"
    )


@pytest.fixture(scope="module")
def nested() -> Any:
    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    head = keras.Sequential(
        [keras.Input((8, 8, 6)), layers.Flatten(name="flatten"), layers.Dense(5, name="out")]
    )
    head.name = "head"
    image = keras.Input((8, 8, 3), name="image")
    value = layers.SeparableConv2D(6, 3, padding="same", name="separable")(image)
    value = layers.Conv2DTranspose(4, 2, strides=2, name="up")(value)
    value = layers.Conv2D(6, 2, strides=2, name="down")(value)
    value = layers.DepthwiseConv2D(3, padding="same", name="depth")(value)
    return keras.Model(image, head(value))


@pytest.mark.tensorflow
def test_describe(nested: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with quiet():
        nested.save(str(path))
    description = format_keras.describe(path)
    assert [(op.kind, op.name, op.macs) for op in description.ops] == [
        ("SeparableConv2D", "separable", 64 * (27 + 18)),
        ("Conv2DTranspose", "up", 64 * 4 * 6 * 4),
        ("Conv2D", "down", 64 * 4 * 4 * 6),
        ("DepthwiseConv2D", "depth", 64 * 9 * 6),
        ("Flatten", "head/flatten", None),
        ("Dense", "head/out", 384 * 5),
    ]
    assert description.parameters == nested.count_params()
    assert description.signature.inputs[0].shape == (None, 8, 8, 3)
    assert sum(size for _, size in description.bytes_by) == description.size_bytes
    assert {op.dtypes for op in description.ops} == {("float32",)}


@pytest.mark.tensorflow
def test_keras_still_opens_a_file_with_scaling(nested: Any, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    expected = nested(rows).numpy()
    for name in ("m.keras", "m.h5"):
        path = tmp_path / name
        with quiet():
            nested.save(str(path))
        first = format_keras.digest(path)
        format_keras.write_scaling(path, SCALING)
        assert format_keras.digest(path) != first
        with quiet():
            opened = import_keras().models.load_model(str(path), compile=False)
        np.testing.assert_array_equal(opened(rows).numpy(), expected)
        np.testing.assert_array_equal(predict(load_model(path), (rows,))[0], expected)


@pytest.mark.tensorflow
def test_two_saves_have_one_digest(nested: Any, tmp_path: Path) -> None:
    for name in ("a.keras", "b.keras"):
        with quiet():
            nested.save(str(tmp_path / name))
    assert format_keras.digest(tmp_path / "a.keras") == format_keras.digest(tmp_path / "b.keras")


@pytest.mark.tensorflow
def test_the_bytes_of_every_kind_add_up(tmp_path: Path) -> None:
    keras = import_keras()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("adam", "mse")
    with quiet():
        model.fit(np.ones((8, 4), np.float32), np.ones((8, 3), np.float32), verbose=0)
        model.save(str(tmp_path / "m.keras"))
        model.save(str(tmp_path / "m.h5"))
        model.export(str(tmp_path / "m"))
    weights = 4 * (4 * 3 + 3)
    optimizer = 2 * weights + 4 + 8
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        config = archive.getinfo("config.json").file_size
    for name, held in (("m.keras", optimizer), ("m.h5", optimizer), ("m", None)):
        described = format_keras.describe(tmp_path / name)
        split = dict(described.bytes_by)
        assert sum(split.values()) == described.size_bytes
        assert (split["weights"], split.get("optimizer")) == (weights, held)
        assert split["container"] > 0
    assert dict(format_keras.describe(tmp_path / "m.keras").bytes_by)["config"] == config
    assert split["graph"] == (tmp_path / "m" / "saved_model.pb").stat().st_size
