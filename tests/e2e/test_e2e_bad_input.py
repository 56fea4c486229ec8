"""Each kind of bad input: one sentence, a hint, exit code 2, nothing written, no traceback."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import edgekit

INT8 = ("--recipe", "int8", "--target", "cpu-litert")
DYNAMIC = ("--recipe", "dynamic-int8", "--target", "cpu-litert")


def refused(tmp_path: Path, *arguments: object) -> str:
    """Runs compress into a new folder and returns what it said, having checked all the rest."""
    before = sorted(tmp_path.rglob("*"))
    outcome = edgekit("compress", *arguments, "--out", tmp_path / "out")
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    lines = outcome.err.splitlines()
    assert lines[0].startswith("error: ")
    assert len(lines) <= 2, outcome.err
    assert sorted(tmp_path.rglob("*")) == before, "something was written"
    return outcome.err


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_text(folder: Path, _: Path) -> Path:
    (folder / "m.tflite").write_text("not a model at all, only words\n")
    return folder / "m.tflite"


def make_empty(folder: Path, _: Path) -> Path:
    (folder / "m.tflite").touch()
    return folder / "m.tflite"


def make_truncated(folder: Path, model: Path) -> Path:
    content = model.read_bytes()
    (folder / "m.tflite").write_bytes(content[: len(content) // 2])
    return folder / "m.tflite"


def make_other_zip(folder: Path, _: Path) -> Path:
    return write_zip(folder / "m.keras", {"readme.txt": b"hello"})


def make_cut_zip(folder: Path, _: Path) -> Path:
    path = write_zip(
        folder / "m.keras", {"config.json": b"{}" * 400, "model.weights.h5": b"x" * 999}
    )
    path.write_bytes(path.read_bytes()[:500])
    return path


def make_empty_folder(folder: Path, _: Path) -> Path:
    (folder / "m").mkdir()
    return folder / "m"


def make_broken_onnx(folder: Path, _: Path) -> Path:
    (folder / "m.onnx").write_bytes(b"\x08\x07\x12\xff\xff\xff")
    return folder / "m.onnx"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder, _: folder / "nowhere.keras", r"model '.*nowhere.keras': no such file"),
        (make_text, r"m\.tflite.*"),
        (make_empty, r"model '.*m\.tflite' is empty"),
        (make_truncated, r"m\.tflite.*(truncated|cut|damaged|outside|past|beyond|ends)"),
        (make_other_zip, r"m\.keras.*(no|not|lacks|without)"),
        (make_cut_zip, r"m\.keras.*"),
        (make_empty_folder, r"model '.*m' is empty"),
        (make_broken_onnx, r"m\.onnx"),
    ],
)
def test_a_file_that_is_no_model(
    make: Callable[[Path, Path], Path], message: str, tmp_path: Path, tiny_float: Path
) -> None:
    said = refused(tmp_path, make(tmp_path, tiny_float), *INT8, "--data", "digits")
    assert re.search(message, said), said


def test_a_misspelt_file_gets_the_nearest(tmp_path: Path, tiny_float: Path) -> None:
    shutil.copy(tiny_float, tmp_path / "kws.tflite")
    said = refused(tmp_path, tmp_path / "kvs.tflite", *DYNAMIC)
    assert "hint: did you mean 'kws.tflite'?" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_an_unreadable_model(tmp_path: Path, tiny_float: Path) -> None:
    path = tmp_path / "m.tflite"
    shutil.copy(tiny_float, path)
    path.chmod(0)
    assert "cannot be read: permission denied" in refused(tmp_path, path, *DYNAMIC)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("zoo:digits-cmn", *INT8),
            "error: model 'zoo:digits-cmn': the zoo has no 'digits-cmn'\n"
            "hint: did you mean 'digits-cnn' or 'ds-cnn'?\n",
        ),
        (
            ("zoo:digits-cnn", "--recipe", "int9", "--target", "cpu-litert"),
            "error: unknown recipe 'int9'\nhint: did you mean 'int8' or 'int16x8' or 'qat-int8'?\n",
        ),
        (
            ("zoo:digits-cnn", "--recipe", "int8", "--target", "cpu-litter"),
            "error: unknown target 'cpu-litter'\n"
            "hint: did you mean 'cpu-litert' or 'gpu-litert' or 'cpu-tflite-runtime'?\n",
        ),
        (
            ("zoo:digits-cnn", *INT8),
            "error: model 'zoo:digits-cnn' is trained first, and there is no data to train on\n"
            "hint: name it with --data, such as --data digits\n",
        ),
        (
            ("zoo:digits-cnn", "--recipe", "my.toml", "--target", "cpu-litert"),
            "error: recipe 'my.toml': no such file\n",
        ),
        (
            ("zoo:digits-cnn", *INT8, "--data", "digit"),
            "error: --data 'digit': unknown kind 'digit'\nhint: did you mean 'digits'?\n",
        ),
        (
            ("zoo:digits-cnn", *INT8, "--task", "regression"),
            "error: --task says something of data, and there is no --data\n",
        ),
    ],
)
def test_a_name_that_does_not_exist(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    assert refused(tmp_path, *arguments) == message


def test_an_option_that_does_not_exist(tmp_path: Path) -> None:
    outcome = edgekit("compress", "m.tflite", "--recpie", "int8")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--recipe" in outcome.err
    outcome = edgekit("compres", "m.tflite")
    assert outcome.code == 2
    assert "did you mean 'compress'" in outcome.err


TECHNIQUE = '[[technique]]\nname = "quantize"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("summary = 3\n", "r.toml: summary: must be a string, not 3\n"),
        ("sumary = 'x'\n", "r.toml: unknown key 'sumary'\nhint: did you mean 'summary'?\n"),
        ("summary = 'x'\n[promise]\nmax_size = 12\n", "r.toml: promise: max_size: 12 has no unit"),
        (
            "summary = 'x'\n[promise]\nmax_accuracy_drop = '1 kB'\n",
            "r.toml: promise: max_accuracy_drop: '1 kB' has the unit 'kB'; "
            "a difference of percentages is in pt, like '1 pt'\n",
        ),
        (
            "summary = 'x'\n[promise]\nmax_latency_ratio = -1\n",
            "r.toml: promise: max_latency_ratio must be above 0 and at most 1000, not -1\n",
        ),
        (
            "summary = 'x'\n[[technique]]\nname = 'quantise'\n",
            "r.toml: technique 1: unknown technique 'quantise'\n"
            "hint: did you mean 'quantize' or 'equalize' or 'quantize-aware-train'?\n",
        ),
        (
            f"summary = 'x'\n{TECHNIQUE}scheme = 'int4x'\n",
            "r.toml: technique 1: scheme: unknown value 'int4x'\n"
            "hint: did you mean 'int8' or 'int16x8'?\n",
        ),
        (f"summary = 'x'\n{TECHNIQUE}scheme = 'int8'\nsamples = 0\n", "technique 1: samples must"),
        ("summary = 'x\n", "r.toml: not valid TOML: "),
    ],
)
def test_a_recipe_with_a_mistake(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    said = refused(tmp_path, "zoo:digits-cnn", "--recipe", path, "--target", "cpu-litert")
    assert message in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("summary = 'x'\nformat = 'tflite'\nrunner = 'litter'\n", "unknown runner 'litter'\nhint"),
        ("summary = 'x'\nformat = 'onnx'\nrunner = 'litert'\n", "'litert' cannot open onnx"),
        (
            "summary = 'x'\ninherit = 'cpu-litert'\n[options]\nthreads = 0\n",
            "t.toml: options: thre",
        ),
        (
            "summary = 'x'\ninherit = 'cpu-litert'\n[options]\nthread = 1\n",
            "t.toml: options: unknown key 'thread'\nhint: did you mean 'threads'?\n",
        ),
    ],
)
def test_a_target_with_a_mistake(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(text)
    said = refused(tmp_path, "zoo:digits-cnn", "--recipe", "int8", "--target", path)
    assert message in said


def save(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)
    return f"npz:{path}"


def images(count: int = 64, shape: tuple[int, ...] = (8, 8, 1), classes: int = 10) -> dict:
    rng = np.random.default_rng(0)
    x = rng.random((count, *shape), dtype=np.float32)
    return {"x": x, "y": (np.arange(count) % classes).astype(np.int64)}


def test_data_of_another_shape(tmp_path: Path, tiny_float: Path) -> None:
    data = save(tmp_path / "d.npz", **images(shape=(9, 8, 1)))
    said = refused(tmp_path, tiny_float, *INT8, "--data", data)
    assert re.search(r"9.*8.*1.*8.*8.*1", said), said


def test_more_labels_than_outputs(tmp_path: Path, tiny_float: Path) -> None:
    data = save(tmp_path / "d.npz", **images(classes=32))
    said = refused(tmp_path, tiny_float, *INT8, "--data", data)
    assert "32" in said


def test_non_finite_inputs_are_counted(tmp_path: Path, tiny_float: Path) -> None:
    arrays = images()
    arrays["x"][3, 0, 0, 0], arrays["x"][5, 1, 1, 0] = np.nan, np.inf
    said = refused(tmp_path, tiny_float, *INT8, "--data", save(tmp_path / "d.npz", **arrays))
    assert "inputs have 1 NaN and 1 infinite values\nhint: drop or replace them first" in said


def test_text_instead_of_numbers(tmp_path: Path, tiny_float: Path) -> None:
    arrays = images() | {"x": np.full((64, 8, 8, 1), "a")}
    refused(tmp_path, tiny_float, *INT8, "--data", save(tmp_path / "d.npz", **arrays))


def test_npz_without_the_arrays(tmp_path: Path, tiny_float: Path) -> None:
    data = save(tmp_path / "d.npz", images=np.zeros((4, 8, 8, 1)))
    assert "images" in refused(tmp_path, tiny_float, *INT8, "--data", data)


def test_npz_that_is_none(tmp_path: Path, tiny_float: Path) -> None:
    (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 cut")
    assert "d.npz" in refused(tmp_path, tiny_float, *INT8, "--data", f"npz:{tmp_path}/d.npz")
    assert "gone.npz" in refused(tmp_path, tiny_float, *INT8, "--data", f"npz:{tmp_path}/gone.npz")


def test_idx_with_a_wrong_magic(tmp_path: Path, tiny_float: Path) -> None:
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(b"\x01\x02\x03\x04" + bytes(100))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x01\x05")
    said = refused(tmp_path, tiny_float, *INT8, "--data", f"idx:{tmp_path}")
    assert "train-images-idx3-ubyte.gz" in said


def test_a_folder_without_images(tmp_path: Path, tiny_float: Path) -> None:
    (tmp_path / "pictures").mkdir()
    refused(tmp_path, tiny_float, *INT8, "--data", f"images:{tmp_path}/pictures")


def test_csv_with_text_in_a_number_column(tmp_path: Path, tiny_float: Path) -> None:
    (tmp_path / "d.csv").write_text("a,b,label\n1,2,0\n3,many,1\n")
    said = refused(tmp_path, tiny_float, *INT8, "--data", f"csv:{tmp_path}/d.csv")
    assert re.search(r"(row|line) [23]", said), said
    assert "'b'" in said


def test_static_int8_needs_data(tmp_path: Path, tiny_float: Path) -> None:
    assert refused(tmp_path, tiny_float, *INT8) == (
        "error: recipes/int8.toml: 'quantize' needs data to calibrate on\n"
        "hint: name it with --data\n"
    )


def test_an_output_that_exists(tmp_path: Path, tiny_float: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/model.tflite").write_text("precious")
    said = refused(tmp_path, tiny_float, *DYNAMIC)
    assert (
        said == f"error: --out '{tmp_path}/out' exists already\nhint: use --force to replace it\n"
    )
    assert (tmp_path / "out/model.tflite").read_text() == "precious"


def test_a_place_that_cannot_be_written(tmp_path: Path, tiny_float: Path) -> None:
    (tmp_path / "file").touch()
    outcome = edgekit("compress", tiny_float, *DYNAMIC, "--out", tmp_path / "file/out")
    assert outcome.code == 2
    assert "a part of that path is a file" in outcome.err


def test_tensorflow_that_is_not_installed(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorflow", "keras", "tf_keras"):
        monkeypatch.setitem(sys.modules, name, None)
    said = refused(tmp_path, "zoo:digits-cnn", *INT8, "--data", "digits")
    assert "which is not installed\nhint: pip install 'edgekit-ml[tensorflow]'\n" in said
