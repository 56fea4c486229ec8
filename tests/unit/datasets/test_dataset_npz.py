"""Arrays of an .npz file, and files that are none."""

import io
import os
import zipfile

import numpy as np
import pytest

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.datasets import _npy, npz
from edgekit.errors import UsageError

X, Y = np.arange(24, dtype=np.float32).reshape(6, 4), np.array([0, 1, 2, 0, 1, 2])


def load(path, signature=None):
    return npz.load(str(path), npz.Options(), signature)


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def signature(*names):
    output = (TensorSpec("out", (None, 3), "float32"),)
    return Signature(tuple(TensorSpec(name, (None, 4), "float32") for name in names), output)


def error(path, signature=None):
    with pytest.raises(UsageError) as caught:
        load(path, signature)
    return caught.value


def test_x_and_y_are_one_pool(tmp_path):
    data = load(save(tmp_path / "a.npz", x=X, y=Y))
    assert data.test is None
    assert data.input_names == ()
    np.testing.assert_array_equal(data.train.x[0], X)
    np.testing.assert_array_equal(data.train.y, Y)


def test_train_and_test_arrays_are_two_pools(tmp_path):
    data = load(save(tmp_path / "a.npz", x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2]))
    assert (len(data.train), len(data.test)) == (6, 2)


def test_labels_may_be_absent(tmp_path):
    assert load(save(tmp_path / "a.npz", x=X)).train.y is None


def test_test_arrays_alone_leave_nothing_to_train_on(tmp_path):
    data = load(save(tmp_path / "a.npz", x_test=X, y_test=Y))
    assert (len(data.train), data.train.y, len(data.test)) == (0, None, 6)
    assert data.train.x[0].shape == (0, 4)


def test_calibration_samples_need_no_labels(tmp_path):
    data = load(save(tmp_path / "a.npz", x_train=X, x_test=X, y_test=Y))
    assert data.train.y is None
    np.testing.assert_array_equal(data.test.y, Y)


def test_inputs_go_by_the_models_names(tmp_path):
    path = save(tmp_path / "a.npz", mask=X + 1, ids=X, y=Y)
    data = load(path, signature("ids", "mask"))
    assert data.input_names == ("ids", "mask")
    np.testing.assert_array_equal(data.train.x[1], X + 1)


def test_named_inputs_have_train_and_test_variants(tmp_path):
    path = save(tmp_path / "a.npz", a_train=X, b_train=X, a_test=X[:1], b_test=X[:1], y_test=Y[:1])
    data = load(path, signature("a", "b"))
    assert (len(data.train), len(data.test)) == (6, 1)


def test_without_a_model_every_other_array_is_an_input(tmp_path):
    assert load(save(tmp_path / "a.npz", p=X, q=X, y=Y)).input_names == ("p", "q")


def test_class_names_are_taken(tmp_path):
    data = load(save(tmp_path / "a.npz", x=X, y=Y, class_names=np.array(["a", "b", "c"])))
    assert data.class_names == ("a", "b", "c")


def test_the_digest_is_of_the_content(tmp_path):
    first = load(save(tmp_path / "a.npz", x=X, y=Y)).digest
    other = load(save(tmp_path / "b.npz", x=X + 1, y=Y)).digest
    assert first == load(tmp_path / "a.npz").digest
    assert first != other


def test_large_arrays_are_mapped_and_leave_no_file_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(_npy, "LARGE_BYTES", 1000)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(_npy.tempfile, "tempdir", str(scratch))
    x = np.arange(4000, dtype=np.float32).reshape(100, 40)
    np.savez_compressed(tmp_path / "a.npz", x=x, y=np.zeros(100, int))
    (rows,) = load(tmp_path / "a.npz").train.x
    assert isinstance(rows.base, np.memmap) or isinstance(rows, np.memmap)
    assert os.listdir(scratch) == []
    np.testing.assert_array_equal(rows, x)


def test_fortran_order_is_kept(tmp_path):
    path = save(tmp_path / "a.npz", x=np.asfortranarray(X), y=Y)
    np.testing.assert_array_equal(load(path).train.x[0], X)


def test_missing_arrays_list_what_is_there(tmp_path):
    path = save(tmp_path / "a.npz", images=X, labels=Y)
    found = error(path, signature("image"))
    assert found.message == (
        f"--data 'npz:{path}': the inputs x or image (or each with _train and _test) "
        "are not there; it has images, labels"
    )


def test_no_file_and_no_path():
    assert error("none.npz").message == "--data 'npz:none.npz': no such file"
    assert error("").hint == "write npz:FILE"


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + b"\0" * 50])
def test_a_file_that_is_no_archive(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    assert error(path).message.startswith(f"--data 'npz:{path}': not a readable .npz file: ")


def test_every_truncation_is_an_error_and_never_a_traceback(tmp_path):
    whole = save(tmp_path / "whole.npz", x=X, y=Y).read_bytes()
    path = tmp_path / "cut.npz"
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        error(path)


def test_damaged_bytes_are_found_by_their_checksum(tmp_path):
    path = save(tmp_path / "a.npz", x=X, y=Y)
    data = bytearray(path.read_bytes())
    data[data.index(X.tobytes())] ^= 1
    path.write_bytes(data)
    assert "Bad CRC-32" in error(path).message


def test_python_objects_are_never_unpickled(tmp_path):
    path = save(tmp_path / "a.npz", x=np.array([{}, []], dtype=object))
    assert error(path).message == (
        f"--data 'npz:{path}': the array 'x' holds Python objects, which edgekit does not read"
    )


def test_a_header_that_lies_about_its_size(tmp_path):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)}
    )
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", buffer.getvalue())
    assert error(path).message == (
        f"--data 'npz:{path}': the array 'x' says it is (1000000000000,) of float32, "
        "and holds 0 bytes"
    )


def test_a_bomb_is_refused_before_it_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(_npy, "_BOMB_BYTES", 1000)
    monkeypatch.setattr(_npy, "LARGE_BYTES", 1000)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros((1000, 1000), np.uint8))
    assert "which looks like a zip bomb" in error(path).message


def test_no_scratch_space(tmp_path, monkeypatch):
    monkeypatch.setattr(_npy, "LARGE_BYTES", 10)
    usage = type("Usage", (), {"free": 5})
    monkeypatch.setattr(_npy.shutil, "disk_usage", lambda folder: usage)
    path = save(tmp_path / "a.npz", x=X)
    assert "needs 96 B of scratch space" in error(path).message
