"""Placement and op times, read from what ONNX Runtime says that it executed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.artifact import Signature
from edgekit.errors import UsageError
from edgekit.runners import _onnxruntime
from edgekit.runners import onnxruntime as runner
from edgekit.runners._onnxruntime_profile import op_times, read_placement
from edgekit.runners.onnxruntime import OnnxruntimeSession, Options

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FLOAT, INT8, INT32 = np.float32, np.int8, np.int32


def value(name: str, shape: list[Any], dtype: str = "FLOAT") -> Any:
    return onnx.helper.make_tensor_value_info(name, getattr(onnx.TensorProto, dtype), shape)


def opened(
    folder: Path, nodes: list[Any], x: Any, y: Any, weights: dict[str, Any] | None = None
) -> OnnxruntimeSession:
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], tensors)
    opset = [onnx.helper.make_opsetid("", 17)]
    path = folder / "m.onnx"
    content = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    path.write_bytes(content.SerializeToString())
    return runner.open(path, Signature((), ()), Options())


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(
        kind, inputs.split(), outputs.split(), f"the_{outputs}", **attributes
    )


def dense(folder: Path, rows: Any = "N") -> OnnxruntimeSession:
    nodes = [node("MatMul", "x w", "h"), node("Softmax", "h", "y")]
    return opened(
        folder, nodes, value("x", [rows, 4]), value("y", [rows, 3]), {"w": np.ones((4, 3), FLOAT)}
    )


def quantized(folder: Path) -> OnnxruntimeSession:
    """A convolution in QDQ form, which the runtime makes one integer op of."""
    rng = np.random.default_rng(0)
    weights = {
        "s": np.array(0.05, FLOAT),
        "z": np.array(128, np.uint8),
        "w": rng.integers(-90, 90, (4, 2, 3, 3)).astype(INT8),
        "sw": np.array(0.01, FLOAT),
        "zw": np.array(0, INT8),
        "b": np.zeros(4, INT32),
        "sb": np.array(0.0005, FLOAT),
        "zb": np.array(0, INT32),
    }
    nodes = [
        node("QuantizeLinear", "x s z", "xq"),
        node("DequantizeLinear", "xq s z", "xd"),
        node("DequantizeLinear", "w sw zw", "wd"),
        node("DequantizeLinear", "b sb zb", "bd"),
        node("Conv", "xd wd bd", "c", kernel_shape=[3, 3]),
        node("QuantizeLinear", "c s z", "cq"),
        node("DequantizeLinear", "cq s z", "y"),
    ]
    return opened(folder, nodes, value("x", ["N", 2, 8, 8]), value("y", ["N", 4, 6, 6]), weights)


def placed(session: OnnxruntimeSession) -> list[tuple[str, str, str]]:
    return [(op.kind, op.where, op.dtype) for op in session.placement().ops]


def test_every_op_has_its_place_and_dtype_before_anything_was_run(tmp_path: Path) -> None:
    session = dense(tmp_path)
    assert placed(session) == [("MatMul", "CPU", "float32"), ("Softmax", "CPU", "float32")]
    assert [op.index for op in session.placement().ops] == [0, 1]
    assert {op.reason for op in session.placement().ops} == {session.placement().reason} == {""}


def test_a_quantized_convolution_is_shown_as_the_integer_op_that_runs(tmp_path: Path) -> None:
    found = placed(quantized(tmp_path))
    assert found[0] == ("QuantizeLinear", "CPU", "float32 to uint8")
    assert ("QLinearConv", "CPU", "uint8") in found
    assert "Conv" not in {kind for kind, _, _ in found}


def test_the_sample_that_was_run_is_the_one_that_is_looked_at(tmp_path: Path) -> None:
    """The model takes rows of five only, which no guess hits."""
    nodes = [node("Reshape", "x five", "y")]
    session = opened(
        tmp_path,
        nodes,
        value("x", [1, "L"]),
        value("y", [5, 1]),
        {"five": np.array([5, 1], np.int64)},
    )
    found = session.placement()
    assert [(op.kind, op.where, op.dtype) for op in found.ops] == [("Reshape", "CPU", "unknown")]
    assert found.reason == "as planned: ONNX Runtime ran none of the inputs that were tried"
    with pytest.raises(UsageError) as caught:
        session.profile(1)
    assert caught.value.message.endswith("ONNX Runtime ran none of the inputs that were tried")
    session._bound = [np.zeros((1, 5), FLOAT)]
    assert placed(session) == [("Reshape", "CPU", "float32")]


def test_a_loop_shows_its_ops_once(tmp_path: Path) -> None:
    body = onnx.helper.make_graph(
        [node("Add", "acc step", "more"), node("Identity", "go", "on")],
        "body",
        [value("i", [], "INT64"), value("go", [], "BOOL"), value("acc", [1, 2])],
        [value("on", [], "BOOL"), value("more", [1, 2])],
    )
    nodes = [onnx.helper.make_node("Loop", ["times", "true", "x"], ["y"], "loop", body=body)]
    session = opened(
        tmp_path,
        nodes,
        value("x", [1, 2]),
        value("y", [1, 2]),
        {
            "times": np.array(5, np.int64),
            "true": np.array(True),
            "step": np.ones((1, 2), FLOAT),
        },
    )
    kinds = [op.kind for op in session.placement().ops]
    assert sorted(set(kinds) - {"Identity"}) == ["Add", "Loop"]
    assert kinds.count("Add") == 1
    (add,) = (time for time in session.profile(3) if time.kind == "Add")
    assert add.calls == 10


def test_times_are_of_the_faster_half_of_the_runs(tmp_path: Path) -> None:
    session = dense(tmp_path)
    session.run((np.ones((3, 4), FLOAT),))
    times = session.profile(7)
    assert {(time.name, time.kind, time.where, time.calls) for time in times} == {
        ("the_h", "MatMul", "CPU", 4),
        ("the_y", "Softmax", "CPU", 4),
    }
    assert list(times) == sorted(times, key=lambda time: -time.total_ns)


def test_a_sample_that_cannot_run_is_an_error(tmp_path: Path) -> None:
    session = opened(
        tmp_path,
        [node("Gather", "table x", "y")],
        value("x", ["N", 1], "INT64"),
        value("y", ["N", 1, 2]),
        {"table": np.ones((4, 2), FLOAT)},
    )
    assert placed(session) == [("Gather", "CPU", "float32")]
    session._bound = [np.array([[9]])]
    with pytest.raises(UsageError, match="idx=9"):
        session.placement()


def test_no_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch, here = tmp_path / "scratch", tmp_path / "here"
    scratch.mkdir()
    here.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.chdir(here)
    session = dense(tmp_path)
    session.placement()
    session.profile(2)
    session._bound = [np.zeros((1, 9), FLOAT)]
    with pytest.raises(UsageError):
        session.placement()
    assert not list(scratch.iterdir()) + list(here.iterdir())


def event(op: str, side_in: list[Any], side_out: list[Any], ts: int = 0) -> dict[str, Any]:
    return {
        "cat": "Node",
        "name": f"n{op}_kernel_time",
        "ts": ts,
        "dur": 3,
        "args": {
            "op_name": op,
            "provider": "CPUExecutionProvider",
            "node_index": "0",
            "input_type_shape": side_in,
            "output_type_shape": side_out,
        },
    }


class OneProvider:
    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("op", "sides", "dtype"),
    [
        ("Add", ([{"double": [1]}], [{"double": [1]}]), "float64"),
        ("Shape", ([{"float": [1]}], [{"int64": [1]}]), "float32 to int64"),
        ("DynamicQuantizeMatMul", ([{"float": []}], [{"float": []}]), "float32 (int8 inside)"),
        ("Nothing", ([], []), "unknown"),
    ],
)
def test_dtypes_are_those_of_the_first_tensors(op: str, sides: Any, dtype: str) -> None:
    (found,) = read_placement(OneProvider(), [event(op, *sides)]).ops
    assert found.dtype == dtype


def test_the_first_run_and_the_slower_half_of_the_others_are_not_timed() -> None:
    runs = [
        {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur}
        for ts, dur in ((0, 10), (10, 5), (20, 90), (200, 6), (300, 500))
    ]
    at = (5, 12, 30, 201, 350)
    events = [
        item for ts, run in zip(at, runs, strict=True) for item in (event("A", [], [], ts), run)
    ]
    assert [(time.name, time.calls, time.total_ns) for time in op_times(events)] == [
        ("nA", 2, 6000)
    ]


def test_a_session_that_does_not_say_its_ops_has_none() -> None:
    assert _onnxruntime.kinds(object()) == set()
