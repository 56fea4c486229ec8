"""Folders of images, read when they are needed."""

import numpy as np
import pytest
from PIL import Image

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.core.notes import Note
from edgekit.datasets import images
from edgekit.errors import UsageError


def picture(path, size=(6, 4), mode="RGB", value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    color = value if mode in ("L", "I;16") else (value,) * len(mode)
    Image.new(mode, size, color).save(path)


@pytest.fixture
def folder(tmp_path):
    for name in ("cat/a.png", "cat/b.jpg", "dog/c.png"):
        picture(tmp_path / name, value=50 if name[0] == "c" else 200)
    return tmp_path


def load(folder, signature=None, **options):
    return images.load(str(folder), images.Options(**options), signature)


def error(folder, signature=None, **options):
    with pytest.raises(UsageError) as caught:
        load(folder, signature, **options)
    return caught.value


def takes(*shape):
    return Signature((TensorSpec("x", (1, *shape), "float32"),), ())


def test_one_folder_is_one_class(folder):
    data = load(folder)
    assert data.class_names == ("cat", "dog")
    assert data.train.y.tolist() == [0, 0, 1]
    assert data.train.x[0].shape == (3, 4, 6, 3)
    assert data.train.x[0].dtype == np.uint8


def test_rows_are_read_by_number_slice_and_list(folder):
    (rows,) = load(folder).train.x
    assert rows[0].shape == (4, 6, 3)
    assert rows[0:2].shape == (2, 4, 6, 3)
    picked = rows[np.array([2, 0])]
    assert picked[:, 0, 0, 0].tolist() == [200, 50]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((8, 9, 3), (8, 9, 3)),
        ((8, 9, 1), (8, 9, 1)),
        ((8, 9), (8, 9)),
        ((3, 8, 9), (3, 8, 9)),
        ((None, None, 1), (4, 6, 1)),
    ],
)
def test_images_become_what_the_model_takes(folder, shape, expected):
    (rows,) = load(folder, takes(*shape)).train.x
    assert rows[:].shape == (3, *expected)
    assert rows[:].ravel()[0] == 50


def test_train_and_test_folders_are_two_pools(tmp_path):
    for name in ("train/cat/a.png", "train/dog/b.png", "test/dog/c.png"):
        picture(tmp_path / name)
    data = load(tmp_path)
    assert (len(data.train), data.test.y.tolist()) == (2, [1])


def test_a_test_class_that_training_has_not(tmp_path):
    for name in ("train/cat/a.png", "test/dog/c.png"):
        picture(tmp_path / name)
    assert error(tmp_path).message == (
        f"--data 'images:{tmp_path}': the class 'dog' is in test/ and not in train/"
    )


def test_unreadable_files_are_dropped_and_noted(folder):
    (folder / "cat" / "notes.txt").write_text("no image")
    whole = (folder / "cat" / "a.png").read_bytes()
    (folder / "dog" / "cut.png").write_bytes(whole[:50])
    (folder / "dog" / ".hidden").write_text("")
    data = load(folder)
    assert len(data.train) == 3
    reason = "not readable as images: cat/notes.txt, dog/cut.png"
    assert data.notes == (Note("dropped", "2 files", reason),)


def test_truncated_jpegs_are_dropped(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "a").mkdir()
    noise = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    noise.save(tmp_path / "a" / "whole.jpg")
    whole = (tmp_path / "a" / "whole.jpg").read_bytes()
    (tmp_path / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    assert len(load(tmp_path).train) == 1


def test_a_decompression_bomb_is_dropped(folder, monkeypatch):
    monkeypatch.setattr(images, "_MAX_PIXELS", 30)
    picture(folder / "cat" / "big.png", size=(50, 50))
    assert load(folder).notes[0].item == "1 file"


def test_an_oversized_file_is_not_even_read(folder, monkeypatch):
    monkeypatch.setattr(images, "_MAX_FILE_BYTES", 10)
    assert error(folder).message.endswith(" (3 files there are no image)")


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    picture(tmp_path / "a" / "x.png", mode="I;16", value=0x8080)
    (rows,) = load(tmp_path).train.x
    assert rows.shape == (1, 4, 6, 1)
    assert rows[0].ravel()[0] == 128


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_resize_modes(folder, resize):
    (rows,) = load(folder, takes(8, 8, 3), resize=resize).train.x
    corner = rows[0][0, 4, 0]
    assert corner == (0 if resize == "pad" else 50)


def test_the_digest_covers_pixels_and_options(folder):
    first = load(folder).digest
    assert load(folder).digest == first
    assert load(folder, resize="crop").digest != first
    picture(folder / "cat" / "a.png", value=51)
    assert load(folder).digest != first


def test_images_of_many_sizes_need_a_size(folder):
    picture(folder / "dog" / "d.png", size=(9, 9))
    found = error(folder)
    assert found.message == (
        f"--data 'images:{folder}': images have 2 sizes, and no model says which to take"
    )
    assert load(folder, size=(5,)).train.x[0].shape == (4, 5, 5, 3)
    assert load(folder, size=(5, 7), channels=1).train.x[0].shape == (4, 5, 7, 1)


def test_empty_folders(tmp_path):
    assert error("none").message == "--data 'images:none': no such folder"
    assert error(tmp_path).message == f"--data 'images:{tmp_path}': has no folder inside"
    (tmp_path / "cat").mkdir()
    assert error(tmp_path).message == f"--data 'images:{tmp_path}': has no image in {tmp_path}"


def test_a_model_that_takes_no_images(folder):
    assert error(folder, takes(10)).message.endswith("the model's input (10,) is no image")
    assert error(folder, takes(8, 8, 5)).message.endswith("has 5 channels, not 1 or 3")


def test_an_image_that_vanished_is_an_error(folder):
    (rows,) = load(folder).train.x
    (folder / "cat" / "a.png").write_text("gone")
    with pytest.raises(UsageError, match="changed since it was first read"):
        rows[0]


@pytest.mark.parametrize("bad", [{"size": (0,)}, {"size": (1, 2, 3)}, {"channels": 2}])
def test_options_have_ranges(bad):
    with pytest.raises(ValueError, match="must be"):
        images.Options(**bad)
