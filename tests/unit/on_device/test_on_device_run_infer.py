"""`run.py infer`: files of numbers become inputs, and each sample a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_folder import bundle, command, edit, int8_model, runner
from PIL import Image

IMAGE = {
    "kind": "image",
    "height": 8,
    "width": 8,
    "channels": 1,
    "axes": "last",
    "resize": "stretch",
    "order": "rgb",
    "is_assumed": True,
}
BY_255 = {"scale": [1 / 255], "offset": [0.0]}


def spec(*shape: int | None, dtype: str = "float32", name: str = "x") -> dict[str, Any]:
    scale = None
    return {"name": name, "shape": [1, *shape], "dtype": dtype, "scale": scale, "zero_point": None}


def read(path: Path, how: dict[str, Any], *specs: dict[str, Any], **scaling: Any) -> list[Any]:
    full = {"scale": [1.0], "offset": [0.0], **scaling}
    return runner().Reader(how, full, specs).read(str(path))  # type: ignore[no-any-return]


ARRAY = {"kind": "array"}


def test_each_file_is_a_line_and_a_bad_one_is_an_error(tmp_path: Path) -> None:
    names = [f"digit {i}" for i in range(10)]
    folder = bundle(tmp_path / "b", input=IMAGE, scaling=BY_255, labels=names)
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "bad.png").write_bytes(b"x")
    done = command(folder, "infer", tmp_path / "bad.png", tmp_path / "a.png", tmp_path / "none.png")
    assert done.returncode == 2
    bad, good, none = map(json.loads, done.stdout.splitlines())
    assert set(bad) == {"file", "error"}
    assert "No such file" in none["error"]
    assert [len(good["classes"]), good["file"]] == [3, str(tmp_path / "a.png")]
    probs = runner().Model(str(folder)).predict(pixels[..., None] / np.float32(255))
    best = int(probs.argmax())
    assert good["classes"][0]["label"] == f"digit {best}"
    assert good["classes"][0]["index"] == best
    assert good["classes"][0]["score"] == pytest.approx(float(probs.max()), rel=1e-4)
    assert done.stderr.count("is assumed") == 1
    done = command(folder, "infer", "--top-k", "1", tmp_path / "a.png")
    assert (done.returncode, len(json.loads(done.stdout)["classes"])) == (0, 1)


def test_the_samples_of_an_array_are_rows(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    done = command(folder, "infer", folder / "golden" / "input_0.npy")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["row"] for line in done.stdout.splitlines()] == [0, 1, 2, 3]


def test_an_int8_model_takes_the_same_files(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", int8_model(), input=IMAGE, scaling=BY_255)
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / "a.png")
    (answer,) = runner().Model(str(folder)).infer(str(tmp_path / "a.png"))
    probs = runner().Model(str(folder)).predict(np.ones((8, 8, 1)))
    assert answer["classes"][0]["index"] == int(probs.argmax())


def test_a_bare_model_cannot_infer(tmp_path: Path, tiny_float: Path) -> None:
    with pytest.raises(runner().Fault, match="only a bundle says"):
        runner().Model(str(tiny_float)).infer("a.npy")


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (4, 2, 3), (6,), (4, 6)])
def test_arrays_are_samples_or_one(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    np.save(tmp_path / "a.npy", values)
    (found,) = read(tmp_path / "a.npy", ARRAY, spec(2, 3))
    assert np.array_equal(found, values.reshape(-1, 2, 3))
    assert found.dtype == np.float32


def test_arrays_of_other_shapes_or_names_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(5))
    with pytest.raises(runner().Fault, match="is none of samples of"):
        read(tmp_path / "a.npy", ARRAY, spec(2, 3))
    np.savez(tmp_path / "a.npz", b=np.zeros(6), c=np.zeros(6))
    with pytest.raises(runner().Fault, match=r"has the arrays \['b', 'c'\]"):
        read(tmp_path / "a.npz", ARRAY, spec(2, 3))
    with pytest.raises(runner().Fault, match="takes array data"):
        read(tmp_path / "a.txt", ARRAY, spec(2))
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        read(tmp_path / "a.npy", ARRAY, spec(1))


def test_several_inputs_come_by_their_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", b=np.ones((2, 3)), a=np.zeros((2, 4), np.int32))
    ids, x = read(tmp_path / "a.npz", ARRAY, spec(4, dtype="int32", name="a"), spec(3, name="b"))
    assert (ids.dtype, ids.shape, x.shape) == (np.int32, (2, 4), (2, 3))


def test_scaling_is_one_value_or_one_a_channel(tmp_path: Path) -> None:
    raw = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    np.save(tmp_path / "last.npy", raw)
    np.save(tmp_path / "first.npy", raw.transpose(0, 3, 1, 2))
    three = {"scale": [1.0, 2.0, 3.0], "offset": [0.5, 0.0, -0.5]}
    (last,) = read(tmp_path / "last.npy", ARRAY, spec(2, 4, 3), **three)
    assert np.allclose(last, raw * np.float32([1, 2, 3]) + np.float32([0.5, 0, -0.5]))
    (first,) = read(tmp_path / "first.npy", ARRAY, spec(3, 2, 4), **three)
    assert np.array_equal(first, last.transpose(0, 3, 1, 2))
    (plain,) = read(tmp_path / "last.npy", ARRAY, spec(2, 4, 3, dtype="int32"), **three)
    assert np.array_equal(plain, raw)


def test_scaling_is_edgekits_own(tmp_path: Path) -> None:
    from edgekit.core.artifact import InputScaling, TensorSpec
    from edgekit.engine.data_inputs import prepare

    raw = np.random.default_rng(1).integers(0, 256, (5, 4, 4, 3), np.uint8)
    np.save(tmp_path / "a.npy", raw)
    scaling = InputScaling((0.017, 0.018, 0.019), (-2.1, -2.0, -1.8))
    wanted = prepare(raw, TensorSpec("x", (1, 4, 4, 3), "float32"), scaling)
    how = {"scale": list(scaling.scale), "offset": list(scaling.offset)}
    (found,) = read(tmp_path / "a.npy", ARRAY, spec(4, 4, 3), **how)
    assert np.array_equal(found, wanted)


def test_a_table_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('\ufeffname, b ,a\n"x, y",2,1\n\nz,4,3\n', encoding="utf-8")
    how = {"kind": "table", "columns": ["a", "b"], "mean": [2.0, 3.0], "std": [1.0, 2.0]}
    (found,) = read(path, how, spec(2))
    assert found.tolist() == [[-1.0, -0.5], [1.0, 0.5]]
    (found,) = read(path, {**how, "mean": None, "std": None}, spec(2))
    assert found.tolist() == [[1, 2], [3, 4]]


def test_a_table_normalises_as_edgekits_own_data(tmp_path: Path) -> None:
    from edgekit.datasets import csv as own

    rng = np.random.default_rng(4)
    path = tmp_path / "t.csv"
    values = rng.normal(size=(40, 2)).tolist()
    rows = "".join(f"{a!r},{b!r},{i % 2}\n" for i, (a, b) in enumerate(values))
    path.write_text("a,b,label\n" + rows)
    data = own.load(str(path), own.Options(), None)
    raw = np.array([[float(n) for n in row.split(",")[:2]] for row in rows.splitlines()])
    plain = own.load(str(path), own.Options(normalise=False), None)
    chosen = [int(np.abs(raw - row).sum(axis=1).argmin()) for row in plain.train.x[0][:]]
    mean, std = raw[chosen].mean(axis=0), raw[chosen].std(axis=0)
    how = {"kind": "table", "columns": ["a", "b"], "mean": mean.tolist(), "std": std.tolist()}
    (found,) = read(path, how, spec(2))
    assert np.array_equal(found[chosen], data.train.x[0][:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,c\n1,2\n", "lacks a column of a, b"),
        ("a,b\n1,2\n3,\n", "line 3: could not convert string to float: ''"),
        ("a,b\n1,2\n3\n", "line 3: list index out of range"),
        ("a,b\n", "is none of samples of"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(runner().Fault, match=message):
        read(tmp_path / "t.csv", {"kind": "table", "columns": ["a", "b"]}, spec(2))


def test_rows_of_numbers_are_samples(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,2,3,4\n5,6,7,8\n")
    (found,) = read(tmp_path / "t.csv", ARRAY, spec(2, 2))
    assert found.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]


def test_a_bundle_says_how_answers_are_made(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    edit(folder, "preprocess.json", output={"kind": "values", "activation": "none"})
    rows = runner().Model(str(folder)).infer(str(folder / "golden" / "input_0.npy"))
    assert [len(row["values"]) for row in rows] == [10] * 4
