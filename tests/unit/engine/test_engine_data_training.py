"""The train and select splits as a training reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.artifact import IDENTITY, InputScaling, Signature, TensorSpec
from edgekit.engine.data import LoadedData, open_data
from edgekit.engine.data_training import left_out, training_data
from edgekit.errors import UsageError

SCALING = InputScaling(scale=(0.5,), offset=(1.0,))
PIXELS = np.random.default_rng(0).integers(0, 256, (120, 4, 4), dtype=np.uint8)


def signature(*shapes: tuple[int, ...]) -> Signature:
    inputs = tuple(TensorSpec(f"i{n}", (None, *s), "float32") for n, s in enumerate(shapes))
    return Signature(inputs, (TensorSpec("scores", (None, 3), "float32"),))


def opened(folder: Path, **arrays: Any) -> LoadedData:
    np.savez(folder / "d.npz", **arrays)
    return open_data(f"npz:{folder / 'd.npz'}", signature=None)


@pytest.fixture
def data(tmp_path: Path) -> LoadedData:
    y = np.arange(120) % 3
    return opened(tmp_path, x_train=PIXELS, y_train=y, x_test=PIXELS[:30], y_test=y[:30])


def test_splits_are_those_of_the_data(data: LoadedData) -> None:
    made = training_data(data, signature((4, 4, 1)), IDENTITY)
    assert len(made.x_train[0]) == data.split_sizes["train"]
    assert len(made.x_select[0]) == data.split_sizes["select"]
    assert made.classes == 3
    assert made.y_train is not None
    assert made.y_select is not None
    np.testing.assert_array_equal(made.y_train[:], data.indices("train") % 3)
    np.testing.assert_array_equal(made.y_select[:], data.indices("select") % 3)


def test_samples_are_scaled_and_shaped_when_they_are_read(data: LoadedData) -> None:
    rows = training_data(data, signature((4, 4, 1)), SCALING).x_train[0]
    raw = PIXELS[data.indices("train")].astype(np.float32)[..., None]
    assert (rows.shape, rows.dtype) == ((len(rows), 4, 4, 1), "float32")
    assert rows[:5].dtype == np.float32
    np.testing.assert_array_equal(rows[:5], raw[:5] * np.float32(0.5) + 1)
    np.testing.assert_array_equal(rows[np.array([7, 2])], raw[[7, 2]] * np.float32(0.5) + 1)


def test_a_model_yet_to_be_made_gets_samples_of_their_own_shape(data: LoadedData) -> None:
    made = training_data(data, None, IDENTITY)
    np.testing.assert_array_equal(made.x_train[0][:3], PIXELS[data.indices("train")[:3]])
    assert made.x_train[0].dtype == "float32"


def test_training_reads_what_batches_give(data: LoadedData) -> None:
    own = training_data(data, signature((4, 4, 1)), SCALING)
    for split, x in (("train", own.x_train), ("select", own.x_select)):
        batches = data.batches(split, 7, signature((4, 4, 1)), SCALING)  # type: ignore[arg-type]
        whole = np.concatenate([inputs[0] for inputs, _ in batches])
        np.testing.assert_array_equal(x[0][:], whole)


def test_without_labels(tmp_path: Path) -> None:
    x = PIXELS.reshape(120, 16).astype(np.float32)
    np.savez(tmp_path / "d.npz", x_train=x, x_test=x[:30])
    same = Signature(
        (TensorSpec("x", (None, 16), "float32"),), (TensorSpec("y", (None, 16), "float32"),)
    )
    data = open_data(f"npz:{tmp_path / 'd.npz'}", signature=same)
    made = training_data(data, same, IDENTITY)
    assert (made.y_train, made.y_select, made.classes) == (None, None, None)


def test_no_model_of_other_inputs(data: LoadedData) -> None:
    with pytest.raises(UsageError):
        training_data(data, signature((4, 4, 1), (2,)), IDENTITY)


def test_an_autoencoder_learns_its_own_input_and_what_is_normal(tmp_path: Path) -> None:
    """Labels mark anomalies: as classes they would train a 16-class classifier."""
    x = PIXELS.reshape(120, 16).astype(np.float32)
    marks = (np.arange(120) % 4 == 0).astype(np.int64)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=marks, x_test=x[:30], y_test=marks[:30])
    same = Signature(
        (TensorSpec("x", (None, 16), "float32"),), (TensorSpec("y", (None, 16), "float32"),)
    )
    data = open_data(f"npz:{tmp_path / 'd.npz'}", signature=same)
    made = training_data(data, same, IDENTITY)
    assert (made.y_train, made.y_select, made.classes) == (None, None, None)
    normal = [row for row in data.indices("train") if not marks[row]]
    np.testing.assert_array_equal(made.x_train[0][:], x[normal])
    count, reason = left_out(data, made)
    assert count == data.split_sizes["train"] - len(normal) > 0
    assert reason == "they are anomalies, and a model learns to reconstruct what is normal"


def test_nothing_is_left_out_of_classes(data: LoadedData) -> None:
    assert left_out(data, training_data(data, signature((4, 4, 1)), IDENTITY)) == (0, "")
