"""Each kind of bad `.onnx`, data, recipe and option: one sentence, a hint, nothing left behind."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import answers, cnn, images, save_model, tensor, token_model, tokens, value
from support import edgekit

CPU = ("--target", "cpu-onnxruntime")
INT8, DYNAMIC = (("--recipe", name, *CPU) for name in ("int8", "dynamic-int8"))
ENDS = [value("x", ["N", 16])], [value("y", ["N", 4])]
QUANTIZE = '[[technique]]\nname = "quantize"\nscheme = "int8"\n'
PROMISE = '[promise]\nmax_accuracy_drop = "1 pt"\n'


@dataclass(frozen=True)
class Place:
    """Where a user works: a folder with the files, and an empty one that is the current folder."""

    files: Path
    here: Path
    cache: Path

    def model(self, *nodes: onnx.NodeProto, opset: int = 17, **domains: int) -> Path:
        """A model of these nodes with the weights `w`, from x to y."""
        weights = [tensor("w", np.random.default_rng(0).normal(size=(16, 4)))]
        graph = helper.make_graph(nodes, "g", *ENDS, weights)
        return save_model(self.files / "m.onnx", graph, opset=opset, **domains)

    def data(self, **arrays: Any) -> tuple[str, str]:
        np.savez(self.files / "d.npz", **arrays)
        return "--data", f"npz:{self.files}/d.npz"

    def recipe(self, text: str) -> tuple[str, ...]:
        (self.files / "r.toml").write_text(f'summary = "x"\n{text}')
        return ("--recipe", str(self.files / "r.toml"), *CPU)

    def refused(self, *arguments: object, command: str = "compress", code: int = 2) -> str:
        """Runs a command and returns what it said, having checked that it left nothing."""
        before = sorted(self.files.rglob("*"))
        arguments += ("--out", self.files / "out") if command == "compress" else ()
        done = edgekit(command, *arguments)
        assert (done.code, done.out) == (code, ""), done
        assert "Traceback" not in done.err
        lines = done.err.splitlines()
        assert lines[0].startswith("error: "), done.err
        assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: ")), done.err
        assert not lines[0].endswith("."), "one sentence, without a full stop"
        assert sorted(self.files.rglob("*")) == before, "something was written"
        assert list(self.here.iterdir()) == [], "something was left in the current folder"
        scratch = self.cache / "scratch"
        assert not scratch.exists() or list(scratch.iterdir()) == []
        return done.err.replace(str(self.files), "DIR")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    found = Place(tmp_path / "files", tmp_path / "here", tmp_path / "cache")
    found.files.mkdir()
    found.here.mkdir()
    monkeypatch.chdir(found.here)
    monkeypatch.setenv("EDGEKIT_CACHE", str(found.cache))
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cnn(tmp_path_factory.mktemp("plain") / "cnn.onnx")


def pictures(count: int = 64) -> dict[str, np.ndarray]:
    return {"x": images(count), "y": np.arange(count) % 4}


def matmul(name: str = "mm", source: str = "x", target: str = "y") -> onnx.NodeProto:
    return helper.make_node("MatMul", [source, "w"], [target], name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: b"\x08\x07\x12\xff\xff\xff", "is cut off: 6 bytes of at least"),
        (lambda _: b"hello, these are only words\n", "is no ONNX model"),
        (lambda whole: whole[:20], "is cut off: 20 bytes of at least"),
        (lambda whole: whole[: len(whole) // 2], "is cut off: "),
        (lambda whole: whole[:-3], "is cut off: "),
        (lambda whole: whole.replace(b"conv0", b"c\xff\xfe\xfd0"), "is a damaged ONNX model"),
        (lambda _: b"", "is empty"),
    ],
)
def test_a_file_that_is_damaged(
    make: Callable[[bytes], bytes], message: str, place: Place, plain: Path
) -> None:
    (place.files / "m.onnx").write_bytes(make(plain.read_bytes()))
    said = place.refused(place.files / "m.onnx", *DYNAMIC)
    assert "DIR/m.onnx" in said
    assert message in said


def outside(place: Place, plain: Path, location: str) -> Path:
    """The model with its weights in another file, which it then says to be at `location`."""
    path = place.files / "m.onnx"
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 100}
    onnx.save(onnx.load(str(plain)), str(path), **options)
    model = onnx.load(str(path), load_external_data=False)
    for item in (entry for held in model.graph.initializer for entry in held.external_data):
        item.value = location if item.key == "location" else item.value
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("wieghts.bin", "DIR/m.onnx: its external data 'wieghts.bin' is missing\nhint: put it"),
        ("../../etc/passwd", "its external data '../../etc/passwd' lies outside its folder"),
        ("/etc/passwd", "its external data '/etc/passwd' lies outside its folder"),
        ("link.bin", "its external data 'link.bin' lies outside its folder"),
        ("m.onnx", "its external data 'm.onnx' is the model file itself"),
    ],
)
def test_external_data(location: str, message: str, place: Place, plain: Path) -> None:
    (place.files / "link.bin").symlink_to("/etc/passwd")
    assert message in place.refused(outside(place, plain, location), *DYNAMIC)


def test_external_data_that_is_cut_off(place: Place, plain: Path) -> None:
    path = outside(place, plain, "weights.bin")
    os.truncate(place.files / "weights.bin", 500)
    said = place.refused(path, *DYNAMIC)
    assert "tensor 'w0': its external data 'weights.bin' ends at byte 500" in said
    assert "hint: the file is cut off, or belongs to another model" in said


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("MatMull", {}, r"node 'odd' \(MatMull\): opset 17 has no op 'MatMull'\nhint: did you"),
        ("Gelu", {}, r"node 'odd' \(Gelu\): opset 17 has no op 'Gelu'\nhint: opset 20 has it"),
        ("Relu", {"opset": 99}, r"node 'odd' \(Relu\): opset 99 is none of 1 to \d+, which onnx"),
        ("Relu", {"opset": 0}, r"node 'odd' \(Relu\): opset 0 is none of 1 to"),
        ("my.Odd", {}, r"node 'odd' \(my.Odd\): the model does not say its opset of the domain"),
        (
            "my.Odd",
            {"my": 1},
            r"the op 'my.Odd' \(node 'odd'\) is not one that ONNX Runtime .* has",
        ),
    ],
)
def test_an_op_that_is_not_there(
    kind: str, options: dict[str, int], message: str, place: Place
) -> None:
    domain, _, name = kind.rpartition(".")
    nodes = helper.make_node(name, ["x"], ["h"], "odd", domain=domain), matmul(source="h")
    model = place.model(*nodes, **options)
    data = place.data(x=np.ones((64, 16), np.float32), y=np.arange(64) % 4)
    for asked in ((*INT8, *data), DYNAMIC):
        said = place.refused(model, *asked)
        assert "DIR/m.onnx: " in said
        assert re.search(message, said), said


def test_an_opset_that_the_checker_knows_and_the_runtime_does_not(place: Place) -> None:
    newest = onnx.defs.onnx_opset_version()
    said = place.refused(place.model(matmul(), opset=newest), *DYNAMIC)
    assert f"DIR/m.onnx: has the opset {newest}, and ONNX Runtime" in said


@pytest.mark.parametrize("command", ["compress", "bench", "convert"])
def test_sizes_that_nothing_settles(command: str, place: Place) -> None:
    model = cnn(place.files / "m.onnx", size=("H", "W"))
    more: dict[str, tuple[object, ...]] = {
        "compress": DYNAMIC,
        "bench": (),
        "convert": ("--to", "ort", "--out", place.files / "m.ort"),
    }
    said = place.refused(model, *more[command], command=command)
    assert "input 'image': axis 2 of (None, 1, None, None) is dynamic" in said
    assert "\nhint: " in said


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"imgae": images(64)}, "rename the array 'imgae' to 'image'"),
        ({"x": images(64).astype("U5")}, "inputs have the dtype <U5, which is no number"),
        ({"x": images(64).astype(complex)}, "holds the dtype complex128"),
        ({"x": images(64).transpose(0, 2, 3, 1).repeat(3, 3)}, "12 x 12 x 3, and the model's"),
        ({"x": images(64) * np.nan}, "NaN"),
        ({"x": images(3)}, "has 3 samples, and the splits need at least 4"),
    ],
)
def test_data_for_an_image_model(
    arrays: dict[str, np.ndarray], message: str, place: Place, plain: Path
) -> None:
    (count,) = {len(held) for held in arrays.values()}
    data = place.data(**arrays, y=np.arange(count) % 4)
    assert message in place.refused(plain, *INT8, *data)


def float_ids(given: dict[str, Any]) -> None:
    given["input_ids"] = given["input_ids"].astype(np.float32)


def misspelt_ids(given: dict[str, Any]) -> None:
    given["input_id"] = given.pop("input_ids")


def no_mask(given: dict[str, Any]) -> None:
    del given["attention_mask"]


def short_mask(given: dict[str, Any]) -> None:
    given["attention_mask"] = given["attention_mask"][:, :5]


def high_ids(given: dict[str, Any]) -> None:
    given["input_ids"] = given["input_ids"] + 1000


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (float_ids, "samples are float32, and the model's input 'input_ids' takes int64\nhint: "),
        (misspelt_ids, "hint: rename the array 'input_id' to 'input_ids'"),
        (no_mask, "the inputs input_ids, attention_mask (or each with _train and _test) are not"),
        (short_mask, "node 'keep' (Mul): Attempting to broadcast an axis"),
        (high_ids, "node 'embed' (Gather): indices element out of data bounds, idx=10"),
    ],
)
@pytest.mark.parametrize("recipe", [INT8, DYNAMIC])
def test_data_for_a_token_model(
    spoil: Callable[[dict[str, Any]], None], message: str, recipe: Any, place: Place
) -> None:
    model = token_model(place.files / "m.onnx")
    given: dict[str, Any] = tokens(64)
    spoil(given)
    data = place.data(**given, y=np.arange(64) % 3)
    assert message in place.refused(model, *recipe, *data, "--output", "classes")


def test_an_output_that_is_not_there(place: Place) -> None:
    model = token_model(place.files / "m.onnx")
    data = place.data(**tokens(64), y=np.arange(64) % 3)
    said = place.refused(model, *INT8, *data, "--output", "clases")
    assert said == (
        "error: --output 'clases': the model has no such output\nhint: did you mean 'classes'?\n"
    )
    said = place.refused(model, *DYNAMIC, "--output", "classes")
    assert "--output says something of data, and there is no --data" in said


def test_values_that_become_nan_inside_the_model(place: Place) -> None:
    nodes = helper.make_node("Log", ["x"], ["h"], "log"), matmul(source="h")
    x = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
    data = place.data(x=x, y=np.arange(64) % 4)
    assert place.refused(place.model(*nodes), *INT8, *data) == (
        "error: quantize: tensor 'h' becomes NaN on a calibration sample\n"
        "hint: look at that sample: the float model has no answer to it\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{QUANTIZE}skip = ['covn*']", "quantize: skip 'covn*' matches no op of the model\nhint"),
        (f"{QUANTIZE}weights_only = ['dence']", "hint: did you mean 'dense'"),
        (f"{QUANTIZE}op_types = ['Convv']", "op_types 'Convv' is no kind of op of the model\nhint"),
        (f"{QUANTIZE}op_types = ['LSTM']", "op_types 'LSTM' is no kind of op of the model\nhint"),
        (f"{QUANTIZE}ladder = true", "'quantize' has a ladder, and the recipe no promise to climb"),
        (
            f"{PROMISE}[[technique]]\nname = 'prune'\nladder = true\n{QUANTIZE}ladder = true",
            "both have a ladder",
        ),
        ("[[technique]]\nname = 'prune'\nskip = ['dence']", "skip: no node matches 'dence'\nhint"),
        ("[[technique]]\nname = 'prune'\nepochs = 9", "epochs: 9 is for training"),
        ("[[technique]]\nname = 'simplify'\nopset = 99", "opset must be from 13 to 23, not 99"),
        ("[[technique]]\nname = 'fine-tune'", "'fine-tune' cannot work on a"),
    ],
)
def test_a_recipe_that_does_not_fit(text: str, message: str, place: Place, plain: Path) -> None:
    recipe, data = place.recipe(f"{text}\n"), place.data(**pictures())
    assert message in place.refused(plain, *recipe, *data)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("imagee=1x1x12x12", "--input 'imagee': m.onnx has no such input\nhint: did you mean 'im"),
        ("image=1x12x12", "has 3 sizes, and the input has 4\nhint: it is ?x1x?x?"),
        ("image=1x3x12x12", "axis 1 of the input is fixed to 1\nhint: it is ?x1x?x?"),
        ("image", "--input 'image' is no name with a shape\nhint: write it as --input NAME="),
        ("image=axb", "is no name with a shape"),
        ("image=0x1x12x12", "has the size 0, which is not from 1 to"),
        ("image=1x1x16x16", "samples have the shape 1 x 12 x 12, and the model's input 'image'"),
    ],
)
def test_an_input_shape_that_does_not_fit(given: str, message: str, place: Place) -> None:
    model = cnn(place.files / "m.onnx", size=("H", "W"))
    data = place.data(**pictures())
    assert message in place.refused(model, *DYNAMIC, *data, "--input", given)


def test_input_shapes_that_contradict_each_other(place: Place) -> None:
    model = token_model(place.files / "m.onnx")
    shapes = ("--input", "input_ids=1x6", "--input", "attention_mask=2x6")
    said = place.refused(model, *DYNAMIC, *shapes)
    assert "axis 0 is called 'batch', which --input 'input_ids=1x6' sets to 1\nhint: " in said
    said = place.refused(model, *DYNAMIC, "--input", "input_ids=1x6", "--input", "input_ids=1x6")
    assert "names the input 'input_ids' a second time" in said


def test_a_model_that_is_quantized_already(place: Place) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["packed", "step"], ["v"], "unpack"),
        helper.make_node("MatMul", ["x", "v"], ["y"], "mm"),
    ]
    weights = [tensor("packed", np.ones((16, 4)), np.int8), tensor("step", 0.1)]
    model = save_model(place.files / "m.onnx", helper.make_graph(nodes, "g", *ENDS, weights))
    data = place.data(x=np.ones((64, 16), np.float32), y=np.arange(64) % 4)
    for recipe in ("int8", "dynamic-int8", "float16", "int8-safe"):
        said = place.refused(model, "--recipe", recipe, *CPU, *data)
        assert "the model is quantized already (DequantizeLinear 'unpack')\nhint: start" in said


def test_a_promise_that_is_broken_is_exit_code_1(place: Place) -> None:
    """The model is written all the same, and its report says what is not kept, with figures."""
    model, x = cnn(place.files / "m.onnx", offset=1e4), images(200)
    data = place.data(x=x, y=answers(model, {"image": x})[0].argmax(axis=1))
    out = place.files / "out"
    done = edgekit("compress", model, *place.recipe(PROMISE + QUANTIZE), *data, "--out", out)
    assert done.code == 1, done
    assert "FAIL accuracy: -" in done.out
    assert (out / "model.onnx").is_file()
    assert list(place.here.iterdir()) == []
