"""MNIST-style files, in the variants that circulate, and damaged ones."""

import contextlib
import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.datasets import idx
from edgekit.errors import UsageError
from edgekit.units import format_bytes

IMAGES = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)
LABELS = np.array([0, 1, 2, 1, 0], np.uint8)
CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def encoded(values, code="u1"):
    header = bytes((0, 0, CODES[code], values.ndim)) + np.array(values.shape, ">u4").tobytes()
    return header + values.astype(code).tobytes()


def write(folder, name, values, code="u1"):
    data = encoded(values, code)
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


def load(folder, signature=None):
    return idx.load(str(folder), idx.Options(), signature)


def error(folder):
    with pytest.raises(UsageError) as caught:
        load(folder)
    return caught.value


def signature(*shape):
    return Signature((TensorSpec("x", (1, *shape), "float32"),), ())


@pytest.mark.parametrize(
    "names",
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    ],
)
def test_names_may_have_dots_and_be_gzipped(tmp_path, names):
    write(tmp_path, names[0], IMAGES)
    write(tmp_path, names[1], LABELS)
    data = load(tmp_path)
    np.testing.assert_array_equal(data.train.x[0], IMAGES[..., None])
    np.testing.assert_array_equal(data.train.y, LABELS)
    assert data.test is None


@pytest.mark.parametrize("prefix", ["t10k", "test"])
def test_the_test_pair_is_the_test_pool(tmp_path, prefix):
    write(tmp_path, "train-images-idx3-ubyte", IMAGES)
    write(tmp_path, "train-labels-idx1-ubyte", LABELS)
    write(tmp_path, f"{prefix}-images-idx3-ubyte", IMAGES[:2])
    write(tmp_path, f"{prefix}-labels-idx1-ubyte", LABELS[:2])
    data = load(tmp_path)
    assert (len(data.train), len(data.test)) == (5, 2)


def test_plain_files_are_mapped(tmp_path):
    write(tmp_path, "train-images-idx3-ubyte", IMAGES)
    (rows,) = load(tmp_path).train.x
    assert isinstance(rows, np.memmap)


def test_the_channel_axis_is_what_the_model_wants(tmp_path):
    write(tmp_path, "train-images-idx3-ubyte", IMAGES)
    assert load(tmp_path).train.x[0].shape == (5, 3, 4, 1)
    assert load(tmp_path, signature(3, 4, 1)).train.x[0].shape == (5, 3, 4, 1)
    assert load(tmp_path, signature(3, 4)).train.x[0].shape == (5, 3, 4)


@pytest.mark.parametrize("code", CODES)
def test_every_number_type_of_the_format(tmp_path, code):
    write(tmp_path, "train-images-idx3-ubyte", IMAGES, code)
    np.testing.assert_array_equal(load(tmp_path).train.x[0][..., 0], IMAGES)


def test_a_wrong_magic_names_file_and_magic(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"PNG data")
    assert error(tmp_path).message == (
        f"--data 'idx:{tmp_path}': train-images-idx3-ubyte: the magic is 0x504e4720, "
        "which is no IDX file's"
    )


def test_an_empty_file_has_no_magic(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b""))
    assert error(tmp_path).message == (
        f"--data 'idx:{tmp_path}': train-images-idx3-ubyte.gz: is empty, and no IDX file"
    )


def test_a_header_that_ends_early(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(encoded(IMAGES)[:6])
    assert error(tmp_path).message == (
        f"--data 'idx:{tmp_path}': train-images-idx3-ubyte: the magic is 0x00000803, and the sizes "
        "that it announces (3) are not there"
    )


def test_a_file_with_too_few_bytes(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(encoded(IMAGES)[:-1])
    assert error(tmp_path).message == (
        f"--data 'idx:{tmp_path}': train-images-idx3-ubyte: says it holds 5 x 3 x 4 values, "
        "60 bytes, and has 59"
    )


def test_a_gzip_file_with_too_many_bytes(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(encoded(IMAGES) + b"\0" * 10_000_000))
    assert error(tmp_path).message.endswith("60 bytes, and has more")


def test_a_file_that_is_not_gzip(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"no")
    assert "train-images-idx3-ubyte.gz: not a readable gzip file" in error(tmp_path).message


def test_large_gzip_files_are_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "LARGE_BYTES", 10)
    write(tmp_path, "train-images-idx3-ubyte.gz", IMAGES)
    np.testing.assert_array_equal(load(tmp_path).train.x[0][..., 0], IMAGES)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(encoded(IMAGES)[:-3]))
    assert error(tmp_path).message.endswith("60 bytes, and has 57")


def test_a_gzip_bomb_is_refused_before_it_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "scratch_map", None)
    zeros = np.zeros((80_000, 30, 30), np.uint8)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(encoded(zeros), 9))
    assert error(tmp_path).message == (
        f"--data 'idx:{tmp_path}': train-images-idx3-ubyte.gz: grows from "
        f"{format_bytes(path.stat().st_size)} to 72.0 MB, which looks like a gzip bomb"
    )


def test_a_header_that_promises_too_much_is_refused(tmp_path):
    header = bytes((0, 0, 0x08, 3)) + np.array([1 << 20, 1 << 10, 1 << 10], ">u4").tobytes()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header))
    assert error(tmp_path).message.endswith("to 1100 GB, which looks like a gzip bomb")


def test_no_folder_and_no_files(tmp_path):
    assert error("none").message == "--data 'idx:none': no such folder"
    assert error(tmp_path).message == f"--data 'idx:{tmp_path}': has no IDX images"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=64))
def test_arbitrary_bytes_are_read_or_refused(tmp_path, data):
    for name in ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"):
        (tmp_path / name).write_bytes(data)
        with contextlib.suppress(UsageError):
            load(tmp_path)
        (tmp_path / name).unlink()
