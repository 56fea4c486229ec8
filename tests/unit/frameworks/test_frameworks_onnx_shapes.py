"""Input shapes of ONNX models: read from the command line, fixed, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.frameworks import _onnx_save, onnx_files, onnx_shapes
from edgekit.frameworks.onnx_shapes import parse_shapes, with_shapes

onnx = pytest.importorskip("onnx")


def _model(**changes: Any) -> Any:
    """Mean of `tokens` looked up in a table, beside the flattened `image`."""
    from onnx import TensorProto, helper, numpy_helper

    table = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["looked"], name="look"),
        helper.make_node("ReduceMean", ["looked"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Concat", ["mean", "flat"], ["y"], axis=1),
        helper.make_node("Shape", ["y"], ["size"]),
        helper.make_node("Reshape", ["y", "shape"], ["z"]),
    ]
    graph = helper.make_graph(
        changes.get("nodes", nodes),
        "g",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "?", "?"]),
            helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n", "length"]),
        ],
        [
            helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", "features"]),
            helper.make_tensor_value_info("looked", TensorProto.FLOAT, ["n", "length", 8]),
        ],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([0, -1], np.int64), "shape"),
        ],
        value_info=[helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["n", 8])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "m.onnx"
    onnx.save_model(_model(), str(file))
    return file


def _fixed(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    out = path.with_name("fixed.onnx")
    with_shapes(path, shapes, out)
    onnx_files.check_model(out)
    return out


def _error(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        _fixed(path, shapes)
    assert not path.with_name("fixed.onnx").exists()
    return caught.value


def _dims(values: Any) -> dict[str, list[int | str]]:
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in values
    }


def test_fixed_shapes_go_through_the_whole_model(path: Path) -> None:
    import onnxruntime

    out = _fixed(path, {"image": (2, 3, 4, 5), "tokens": (2, 7)})
    graph = onnx.load(str(out)).graph
    assert _dims(graph.input) == {"image": [2, 3, 4, 5], "tokens": [2, 7]}
    assert _dims(graph.output) == {"z": [2, 68], "looked": [2, 7, 8]}
    assert _dims(graph.value_info)["mean"] == [2, 8]
    feed = {
        "image": np.ones((2, 3, 4, 5), np.float32),
        "tokens": np.arange(14, dtype=np.int64).reshape(2, 7),
    }
    runs = []
    for file in (path, out):
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        runs.append(session.run(None, feed))
    assert [list(value.shape) for value in session.get_outputs()] == [[2, 68], [2, 7, 8]]
    for before, after in zip(*runs, strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_named_axis_is_fixed_in_other_inputs_too(path: Path) -> None:
    out = _fixed(path, {"tokens": (1, 7)})
    assert _dims(onnx.load(str(out)).graph.input) == {"image": [1, 3, "?", "?"], "tokens": [1, 7]}


def test_an_input_without_a_shape_gets_one(path: Path) -> None:
    model = _model()
    model.graph.input[1].type.tensor_type.ClearField("shape")
    onnx.save_model(model, str(path))
    out = _fixed(path, {"tokens": (4, 2)})
    assert _dims(onnx.load(str(out)).graph.input)["tokens"] == [4, 2]


def test_external_data_goes_along(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_onnx_save, "_MOST_INLINE", 100)
    apart = path.with_name("apart.onnx")
    onnx_files.save(onnx_files.load(path), apart)
    out = _fixed(apart, {"image": (2, 3, 4, 5), "tokens": (2, 7)})
    assert out.with_name("fixed.onnx.data").is_file()
    assert _dims(onnx.load(str(out)).graph.output)["z"] == [2, 68]


def test_small_external_tensors_settle_shapes(path: Path) -> None:
    onnx.save_model(
        _model(), str(path), save_as_external_data=True, location="m.data", size_threshold=0
    )
    out = _fixed(path, {"image": (2, 3, 4, 5), "tokens": (2, 7)})
    assert _dims(onnx.load(str(out), load_external_data=False).graph.output)["z"] == [2, 68]


@pytest.mark.parametrize(
    ("shapes", "message", "hint"),
    [
        ({"tokenz": (1, 7)}, "--input 'tokenz': m.onnx has no such input", "'tokens'"),
        ({"table": (1, 7)}, "--input 'table': m.onnx has no such input", "known: image, tokens"),
        (
            {"tokens": (7,)},
            "--input 'tokens=7' has 1 sizes, and the input has 2",
            "it is ?x?",
        ),
        (
            {"image": (1, 1, 4, 4)},
            "--input 'image=1x1x4x4': axis 1 of the input is fixed to 3",
            "it is ?x3x?x?",
        ),
        (
            {"image": (1, 3, 4, 4), "tokens": (2, 7)},
            "--input 'tokens=2x7': axis 0 is called 'n', which --input 'image=1x3x4x4' sets to 1",
            "one size",
        ),
    ],
)
def test_shapes_that_do_not_fit(
    path: Path, shapes: dict[str, tuple[int, ...]], message: str, hint: str
) -> None:
    error = _error(path, shapes)
    assert error.message == message
    assert hint in error.hint


def test_an_input_that_is_no_tensor(path: Path) -> None:
    model = _model()
    kind = onnx.helper.make_sequence_type_proto(onnx.helper.make_tensor_type_proto(1, None))
    model.graph.input.append(onnx.helper.make_value_info("many", kind))
    onnx.save_model(model, str(path))
    assert "is no tensor" in _error(path, {"many": (1,)}).message


def test_where_inference_fails_the_model_keeps_its_own_shapes(path: Path) -> None:
    graph = _model()
    graph.graph.node[3].attribute[0].i = 9  # No such axis.
    found, problem = onnx_shapes.infer(graph, path.parent)
    assert problem == "" or problem.startswith("shapes could not be inferred: ")
    assert _dims(found.graph.output)["looked"] == ["n", "length", 8]


def test_a_failing_engine_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx.shape_inference

    def fails(*arguments: object, **options: object) -> None:
        raise RuntimeError("(node: x) this\nand that")

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", fails)
    found, problem = onnx_shapes.infer(_model(), path.parent)
    assert problem == "shapes could not be inferred: (node: x) this"
    assert len(found.graph.node) == 6


def test_a_model_too_big_to_infer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_shapes, "_MOST_BYTES", 10)
    assert "too big without its initializers" in onnx_shapes.infer(_model(), path.parent)[1]


def test_shapes_of_the_command_line() -> None:
    assert parse_shapes([]) == {}
    assert parse_shapes(["x=1x3x224x224", "a=b:0=7"]) == {"x": (1, 3, 224, 224), "a=b:0": (7,)}
    assert onnx_shapes.shape_text(()) == "scalar"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["x"], "--input 'x' is no name with a shape"),
        (["=1x3"], "--input '=1x3' is no name with a shape"),
        (["x="], "--input 'x=' is no name with a shape"),
        (["x=1x"], "--input 'x=1x' is no name with a shape"),
        (["x=1,3"], "--input 'x=1,3' is no name with a shape"),
        (["x=-1x3"], "--input 'x=-1x3' is no name with a shape"),
        (["x=1x0"], "--input 'x=1x0' has the size 0, which is not from 1 to 1048576"),
        (["x=1048577"], "--input 'x=1048577' has the size 1048577, which is not"),
        (["x=" + "9" * 5000], "has the size 99999999999999999999, which is not"),
        (["x=1x1x1x1x1x1x1x1x1"], "has 9 sizes, and 8 are the most"),
        (["x=1", "x=2"], "--input 'x=2' names the input 'x' a second time"),
    ],
)
def test_what_is_no_shape(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_shapes(texts)
    assert message in caught.value.message
