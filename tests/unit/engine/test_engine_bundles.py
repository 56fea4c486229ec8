"""What is written into a bundle: golden answers, tolerances, the front end, and the texts."""

from __future__ import annotations

import dataclasses
import getpass
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import cnn, images, token_model

from edgekit.core.artifact import InputScaling, Quantization, Signature, TensorSpec
from edgekit.core.bundle import Measured
from edgekit.core.data import Dataset, Pool
from edgekit.core.description import Description, Op, Weight
from edgekit.core.front_end import BoxesOutput, ClassesOutput, FrontEnd, ImageInput, ValuesOutput
from edgekit.core.target import Board, Target, load_target
from edgekit.engine.bundle_front_end import TaskFacts, front_end_of
from edgekit.engine.bundle_golden import make_golden, npy, travelling_name
from edgekit.engine.bundle_metrics import facts_in
from edgekit.engine.bundle_texts import labels_text, read_labels, requirements
from edgekit.engine.bundle_tolerance import delegate_tolerance, floor_of, tolerance_of, upwards
from edgekit.engine.bundles import Extras, open_bundle, write_bundle
from edgekit.engine.compress import DataRequest, open_for
from edgekit.engine.models import describe, open_artifact
from edgekit.engine.targets import target_for
from edgekit.errors import UsageError


@pytest.fixture(scope="module")
def onnx_cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of images, NCHW with an open batch, and its data beside it."""
    path = cnn(tmp_path_factory.mktemp("models") / "cnn.onnx")
    samples = images(40)
    labels = np.arange(40) % 4
    np.savez(path.with_name("d.npz"), x_train=samples, y_train=labels, x_test=samples[:20],
             y_test=labels[:20], class_names=np.array(["a", "b", "c", "d"]))  # fmt: skip
    return path


def pi(**changes: Any) -> Target:
    return dataclasses.replace(load_target("cpu-litert"), name="pi", **changes)


def written(tmp_path: Path, model: Path, name: str = "m.ekb", **options: Any) -> Path:
    source = open_artifact(model)
    source, data = open_for(source, options.pop("data", None), seed=0)
    out = tmp_path / name
    target = options.pop("target", None) or target_for(source, None, threads=None)
    write_bundle(source, target, out, data=data, **options)
    return out


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, onnx_cnn: Path) -> None:
    request = DataRequest(f"npz:{onnx_cnn.with_name('d.npz')}")
    first = written(tmp_path, onnx_cnn, "a.ekb", data=request)
    second = written(tmp_path, onnx_cnn, "b.ekb", data=request)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        infos = archive.infolist()
        texts = b"".join(archive.read(i) for i in infos if i.filename != "model.onnx").decode(
            "utf-8", "replace"
        )
    assert [info.filename for info in infos] == sorted(info.filename for info in infos)
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {info.external_attr >> 16 for info in infos} == {0o100644}
    for private in (str(tmp_path), str(onnx_cnn.parent), f"/{getpass.getuser()}/"):
        assert private not in texts


def test_a_bundle_of_an_onnx_model_on_data(tmp_path: Path, onnx_cnn: Path) -> None:
    request = DataRequest(f"npz:{onnx_cnn.with_name('d.npz')}")
    opened = open_bundle(written(tmp_path, onnx_cnn, data=request))
    manifest = opened.manifest
    assert manifest.golden.source == "test split of npz:d.npz"
    assert manifest.golden.kernels == "onnxruntime"
    assert manifest.inputs[0].shape == (None, 1, 12, 12)
    assert manifest.target.runtimes == ("onnxruntime",)
    assert manifest.target.options == {"optimization": "all"}
    assert opened.labels == ("a", "b", "c", "d")
    assert opened.front_end.input == ImageInput("image", 12, 12, 1, "first", is_assumed=True)
    assert opened.front_end.output == ClassesOutput("classes", "softmax")
    (inputs,), (outputs,) = opened.golden()
    assert inputs.shape == (8, 1, 12, 12)
    # Evenly over the split, so that all classes are among them.
    assert set(outputs.argmax(axis=1)) == {0, 1, 2, 3}
    names = {path.relative_to(opened.folder).parts[0] for path in opened.folder.rglob("*")}
    assert names == {
        "README.md", "SHA256SUMS", "golden", "labels.txt", "manifest.json", "model.onnx",
        "preprocess.json", "requirements.txt", "run.py",
    }  # fmt: skip
    assert "cnn" in (opened.folder / "README.md").read_text()


def test_a_tflite_bundle_has_all_kernels_and_the_c_runner(tmp_path: Path, tiny_float: Path) -> None:
    opened = open_bundle(written(tmp_path, tiny_float, target=pi(machines=("aarch64",))))
    golden = opened.manifest.golden
    assert golden.kernels == "reference"
    assert list(golden.tolerance) == ["reference", "builtin", "xnnpack", "delegate"]
    assert golden.tolerance["reference"].relative == 1e-5
    assert golden.tolerance["xnnpack"].measured is not None
    assert golden.tolerance["xnnpack"].measured.samples == 64
    assert opened.manifest.target.machines == ("aarch64",)
    assert "threads" not in opened.manifest.target.options
    assert opened.labels == ()
    assert opened.front_end.output == ValuesOutput("values")
    assert (opened.folder / "c" / "run.c").is_file()


def test_external_data_goes_along(tmp_path: Path, onnx_cnn: Path) -> None:
    import onnx

    big = tmp_path / "big.onnx"
    onnx.save(
        onnx.load(onnx_cnn), big, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    opened = open_bundle(written(tmp_path, big))
    assert opened.manifest.model.parts == ("w.bin",)
    assert (opened.folder / "w.bin").is_file()
    assert opened.manifest.model.size_bytes > opened.artifact.path.stat().st_size
    for name in ("run.py", "golden"):
        onnx.save(
            onnx.load(onnx_cnn), big, save_as_external_data=True, location=name, size_threshold=0
        )
        with pytest.raises(UsageError, match="no name for a file in a bundle"):
            written(tmp_path, big)


def test_several_inputs_have_a_golden_file_each(tmp_path: Path) -> None:
    model = token_model(tmp_path / "t.onnx")
    tokens = {name: np.ones((8, 6), np.int64) for name in ("input_ids", "attention_mask")}
    np.savez(tmp_path / "t.npz", **tokens, y=np.arange(8) % 3)
    request = DataRequest(f"npz:{tmp_path / 't.npz'}", output="classes")
    opened = open_bundle(written(tmp_path, model, data=request))
    assert len(opened.manifest.golden.inputs) == len(opened.manifest.golden.outputs) == 2
    assert opened.front_end.input.kind == "array"
    assert opened.front_end.scaling.scale == (1.0,)
    assert isinstance(opened.front_end.output, ClassesOutput)
    assert opened.front_end.output.index == 1
    with pytest.raises(UsageError, match="is dynamic, so no random input fits"):
        written(tmp_path, model)


def test_golden_outputs_that_are_no_numbers(tmp_path: Path, onnx_cnn: Path) -> None:
    samples = np.full((8, 1, 12, 12), 3e38, np.float32)
    np.savez(tmp_path / "d.npz", x=samples, y=np.arange(8) % 4)
    with pytest.raises(UsageError, match="is NaN or infinite"):
        written(tmp_path, onnx_cnn, data=DataRequest(f"npz:{tmp_path / 'd.npz'}"))


def test_few_samples_are_all_golden(tmp_path: Path, onnx_cnn: Path) -> None:
    source, data = open_for(
        open_artifact(onnx_cnn), DataRequest(f"npz:{onnx_cnn.with_name('d.npz')}"), seed=0
    )
    assert make_golden(source, data, count=100, seed=0).count == 20
    assert make_golden(source, data, count=3, seed=0).count == 3


def test_a_target_that_invents_its_outputs_has_no_bundle(tmp_path: Path, tiny_float: Path) -> None:
    with pytest.raises(UsageError, match="target 'null'"):
        written(tmp_path, tiny_float, target=load_target("null"))


# The tolerances.

NO_OPS = Description(
    "tflite", Signature((), (TensorSpec("y", (1, 3), "float32"),)), (), (), 1, (), 0
)
WEIGHT = Weight("w", (4, 4), "int8", 16)


def ops(*pairs: tuple[str, str]) -> tuple[Op, ...]:
    return tuple(Op(i, kind, kind, (dtype,)) for i, (kind, dtype) in enumerate(pairs))


def test_dynamic_range_models_are_given_more() -> None:
    dynamic = dataclasses.replace(
        NO_OPS, ops=ops(("FULLY_CONNECTED", "float32")), weights=(WEIGHT,)
    )
    for kernels in ("reference", "xnnpack"):
        floor = floor_of(dynamic, kernels)
        assert floor.relative == 2e-2
        assert "quantization of the activations" in floor.why
    unpacked = dataclasses.replace(
        dynamic, ops=ops(("DEQUANTIZE", "float32"), ("FULLY_CONNECTED", "float32"))
    )
    assert floor_of(unpacked, "xnnpack") == (2, 1e-4, "")
    onnx = dataclasses.replace(NO_OPS, format="onnx", ops=ops(("DynamicQuantizeLinear", "float32")))
    assert floor_of(onnx, "onnxruntime").relative == 2e-2


def test_float_outputs_of_integer_ops_show_their_steps() -> None:
    inside = dataclasses.replace(
        NO_OPS, ops=ops(("QUANTIZE", "int8"), ("CONV_2D", "int8")), weights=(WEIGHT,)
    )
    assert floor_of(inside, "xnnpack").relative == 2e-2
    assert floor_of(inside, "reference") == (0, 1e-5, "")


def test_what_was_measured_widens_the_floor() -> None:
    floor = floor_of(NO_OPS, "xnnpack")
    assert tolerance_of(floor, Measured(0, 0.0, 64)).lsb == 2
    wide = tolerance_of(floor, Measured(1, 0.001, 64))
    assert (wide.lsb, wide.relative) == (3, 0.003)
    assert tolerance_of(floor, "not measured: no kernel").why == "not measured: no kernel"
    assert delegate_tolerance({"a": wide}).lsb == 3
    assert delegate_tolerance({"a": wide}).relative == 1e-2


@given(st.floats(1e-30, 1e30))
def test_two_digits_upwards(value: float) -> None:
    assert value * (1 - 1e-9) <= upwards(value) <= value * 1.11
    assert upwards(upwards(value)) == upwards(value)


def test_the_bytes_of_an_array() -> None:
    import io

    array = np.arange(6, dtype=">i2").reshape(2, 3).T
    assert np.load(io.BytesIO(npy(array))).tolist() == array.tolist()
    assert b"'<i2'" in npy(array)
    assert b"'fortran_order': False" in npy(array)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("npz:/home/me/mnist.npz", "npz:mnist.npz"),
        ("images:/home/me/cats/", "images:cats"),
        ("npz:C:\\Users\\me\\d.npz", "npz:d.npz"),
        ("digits", "digits"),
        ("/home/me/x", "x"),
    ],
)
def test_names_travel_without_their_folders(name: str, expected: str) -> None:
    assert travelling_name(name) == expected


# The front end.


def signature(*shape: int | None, outputs: int = 1, dtype: str = "float32") -> Signature:
    own = TensorSpec("x", (1, *shape), dtype)
    return Signature((own,), tuple(TensorSpec(f"y{i}", (1, 3), "float32") for i in range(outputs)))


def front_end(model: Signature, *, scaling: InputScaling | None = None, **options: Any) -> FrontEnd:
    given = {"dataset": None, "task": None, "real": (), "own": None, **options}
    return front_end_of(model, scaling or InputScaling(), **given)


def dataset(said: dict[str, Any], *shape: int) -> Dataset:
    pool = Pool((np.zeros((2, *shape), np.uint8),), None)
    return Dataset("d", pool, None, "0", front_end=said)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((8, 8, 1), "last"), ((3, 9, 8), "first"), ((8, 8, 3), "last")],
)
def test_inputs_that_look_like_images(shape: tuple[int, ...], axes: str) -> None:
    found = front_end(signature(*shape)).input
    assert isinstance(found, ImageInput)
    assert found.axes == axes
    assert found.shape == shape
    assert found.is_assumed


@pytest.mark.parametrize("shape", [(7, 8, 1), (8, 8, 4), (8, 8, 8), (100,), (None, None, 3)])
def test_inputs_that_do_not(shape: tuple[int | None, ...]) -> None:
    assert front_end(signature(*shape)).input.kind == "array"


def test_images_of_another_range_have_their_levels() -> None:
    low = InputScaling((1 / 16,), (0.0,), 0.0, 16.0)
    found = front_end(signature(8, 8, 1), scaling=low)
    assert isinstance(found.input, ImageInput)
    assert found.input.levels == (0.0, 16.0)
    assert found.scaling.scale == (1 / 16,)
    bytes_ = front_end(signature(8, 8, 1), scaling=InputScaling((1,), (0,), 3.0, 251.0)).input
    assert isinstance(bytes_, ImageInput)
    assert bytes_.levels == (0.0, 255.0)


def test_the_data_says_what_it_read() -> None:
    said = {
        "kind": "image", "height": 9, "width": 8, "channels": 1, "axes": "none",
        "resize": "pad", "order": "rgb",
    }  # fmt: skip
    found = front_end(signature(9, 8, 1), dataset=dataset(said, 9, 8)).input
    assert isinstance(found, ImageInput)
    assert (found.axes, found.resize, found.is_assumed) == ("last", "pad", False)
    first = front_end(signature(1, 9, 8), dataset=dataset(said, 9, 8)).input
    assert isinstance(first, ImageInput)
    assert first.axes == "first"
    other = front_end(signature(5), dataset=dataset(said, 9, 8)).input
    assert other.kind == "array"
    table = {"kind": "table", "columns": ["a", "b"], "mean": [0.0, 1.0], "std": [1.0, 2.0]}
    assert front_end(signature(2), dataset=dataset(table, 2)).input.kind == "table"


def test_open_axes_are_those_of_the_data() -> None:
    found = front_end(signature(None, None, 3), dataset=dataset({}, 16, 16, 3)).input
    assert isinstance(found, ImageInput)
    assert found.shape == (16, 16, 3)


def test_integers_that_are_no_pixels_are_not_scaled() -> None:
    found = front_end(signature(8, 8, 1, dtype="int64"), scaling=InputScaling((2.0,), (1.0,)))
    assert found.input.kind == "array"
    assert found.scaling.scale == (1.0,)


@pytest.mark.parametrize(
    ("rows", "activation"),
    [
        ([[0.5, 0.25, 0.25]], "none"),
        ([[0.5, 0.2578125, 0.25]], "none"),  # 8 bits
        ([[0.9, 0.9, 0.9]], "softmax"),
        ([[5.0, -1.0, 0.0]], "softmax"),
        ([[0.7]], "none"),
        ([[-3.0]], "sigmoid"),
    ],
)
def test_scores_that_are_probabilities_already(rows: list[Any], activation: str) -> None:
    found = front_end(
        signature(4), task=TaskFacts("classification"), real=(np.array(rows, np.float32),)
    )
    assert found.output == ClassesOutput("classes", activation)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("regression", ValuesOutput("values")),
        ("detection", BoxesOutput("boxes", ("boxes", "scores", "classes"), "xyxy")),
        (
            "detection:boxes,classes,scores,count,yxyx",
            BoxesOutput("boxes", ("boxes", "classes", "scores", "count"), "yxyx"),
        ),
        ("detection:boxes,scores,cxcywh", ValuesOutput("values")),
    ],
)
def test_other_tasks(task: str, expected: Any) -> None:
    found = front_end(signature(4, outputs=4), task=TaskFacts.parse(task), real=())
    assert found.output == expected


def test_the_users_own_front_end(tmp_path: Path) -> None:
    own = tmp_path / "p.toml"
    own.write_text(
        '[input]\nkind = "image"\nheight = 8\nwidth = 8\nchannels = 1\naxes = "last"\n'
        'order = "bgr"\n[output]\nkind = "classes"\nactivation = "sigmoid"\nthreshold = 0.5\n'
    )
    found = front_end(signature(8, 8, 1), own=own)
    assert isinstance(found.input, ImageInput)
    assert (found.input.order, found.input.is_assumed) == ("bgr", False)
    assert found.output == ClassesOutput("classes", "sigmoid", 5, 0.5)
    with pytest.raises(UsageError, match="does not fit the model's input"):
        front_end(signature(9, 9, 1), own=own)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[inputs]\n", "unknown key 'inputs'"),
        ("input = 3\n", "must be a table"),
        ('[input]\nkind = "image"\n', "is missing"),
        ("[scaling]\nscale = [1.0, 2.0]\noffset = [0.0]\n", "scaling has 2 values"),
        ('[output]\nkind = "values"\nindex = 1\n', "index 1, and the model has 1 outputs"),
        ("[", "not valid TOML"),
    ],
)
def test_a_wrong_front_end_of_the_users(text: str, words: str, tmp_path: Path) -> None:
    own = tmp_path / "p.toml"
    own.write_text(text)
    with pytest.raises(UsageError, match=words):
        front_end(signature(8, 8, 1), own=own)


# The texts.


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "l.txt"
    path.write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\n")
    assert read_labels(path, 2) == ("cat", "dog")
    assert labels_text(("cat", "d\nog", "")) == "cat\nd\ufffdog\n2\n".encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\nb\n", "has 2 classes, and the model's output has 3"),
        (b"a\n\nb\n", "line 2 is empty"),
        (b"a\nb\x1b[1m\nc\n", "line 2 has characters"),
        (b"\xff\n", "not a text file in UTF-8"),
        (None, "no such file"),
        (b"x" * 4_000_001, "larger than 4 MB"),
    ],
)
def test_wrong_labels(content: bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "l.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_labels(path, 3)


def test_what_to_install_on_which_board() -> None:
    boards = [
        Board("new", "3.11", ("numpy==2.4.6", "ai-edge-litert==2.3.0")),
        Board("old", "3.9", ("numpy==2.4.6", "tflite-runtime==2.14.0")),
        Board("twin", "3.9", ("numpy==1.0",)),
    ]
    lines = requirements(boards, []).decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "numpy==2.4.6",
        'ai-edge-litert==2.3.0 ; python_version == "3.11"',
        'tflite-runtime==2.14.0 ; python_version == "3.9"',
    ]
    assert any("twin" in line for line in lines)
    assert requirements([], ["onnxruntime==1"]).decode().endswith("\nonnxruntime==1\n")


def test_a_folder_without_or_with_a_broken_report(tmp_path: Path) -> None:
    assert facts_in(tmp_path) is None
    for text in ("{", "[]", "{}", '{"result": 3}', json.dumps({"result": {"digest": 1}})):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(UsageError, match="is no report of edgekit's"):
            facts_in(tmp_path)


def test_labels_must_be_of_the_output(tmp_path: Path, onnx_cnn: Path) -> None:
    labels = tmp_path / "l.txt"
    labels.write_text("a\nb\n")
    with pytest.raises(UsageError, match="has 2 classes, and the model's output has 4"):
        written(tmp_path, onnx_cnn, extras=Extras(labels=labels))
    labels.write_text("a\nb\nc\nd\n")
    opened = open_bundle(written(tmp_path, onnx_cnn, extras=Extras(labels=labels)))
    assert opened.labels == ("a", "b", "c", "d")
    assert opened.front_end.output.kind == "classes"


def test_the_scaling_of_the_artifact_comes_back(tmp_path: Path, onnx_cnn: Path) -> None:
    request = DataRequest(f"npz:{onnx_cnn.with_name('d.npz')}", "scale=2.0,offset=0.5")
    opened = open_bundle(written(tmp_path, onnx_cnn, data=request))
    assert opened.artifact.scaling == InputScaling((2.0,), (0.5,))
    assert describe(opened.artifact).signature == opened.manifest.signature


def test_the_signature_keeps_quantization() -> None:
    from edgekit.core.bundle import Tensor

    spec = TensorSpec("x", (None, 3), "int8", Quantization(0.5, -3))
    assert Tensor.of(spec).spec == spec


def test_tables_say_their_columns_and_figures(tmp_path: Path) -> None:
    from edgekit.core.front_end import Input, TableInput
    from edgekit.core.strict_json import build_strictly, plain
    from edgekit.datasets import csv

    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "".join(f"{i},{i * i},{i % 2}\n" for i in range(8)))
    found = csv.load(str(path), csv.Options(), None)
    said = build_strictly(Input, plain(found.front_end), where="f")
    assert isinstance(said, TableInput)
    assert said.columns == ("a", "b")
    assert said.mean is not None
    assert said.std is not None
    raw = np.array([[i, i * i] for i in range(8)], np.float64)
    expected = ((raw - said.mean) / said.std).astype(np.float32)
    held = np.concatenate([np.asarray(found.train.x[0][:]), np.asarray(found.test.x[0][:])])  # type: ignore[union-attr]
    assert sorted(map(tuple, held.tolist())) == sorted(map(tuple, expected.tolist()))
    bare = csv.load(str(path), csv.Options(normalise=False), None)
    assert bare.front_end == {"kind": "table", "columns": ["a", "b"]}


def test_images_say_their_frame(tmp_path: Path) -> None:
    from PIL import Image

    from edgekit.datasets import images as kind

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", (9, 8)).save(tmp_path / name / "x.png")
    found = kind.load(str(tmp_path), kind.Options(resize="pad"), None)
    assert found.front_end == {
        "kind": "image", "height": 8, "width": 9, "channels": 1, "axes": "last",
        "resize": "pad", "order": "rgb",
    }  # fmt: skip
