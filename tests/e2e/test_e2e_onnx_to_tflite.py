"""ONNX to TFLite with the real onnx2tf; making its environment takes a download of 85 MB once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.conversions import onnx_to_tflite as conversion
from edgekit.frameworks import files, isolated

pytestmark = [pytest.mark.download, pytest.mark.slow]

_OWN_CACHE = files.cache_root()
"""The cache of whoever runs the tests, where the environment may be; read before it is hidden."""


@pytest.fixture(autouse=True)
def _environment(shared_cache: Path) -> None:
    """Lends the environment to the tests' own cache, or has it made there."""
    folder = _OWN_CACHE / "environments"
    found = isolated.status(conversion.REQUIREMENTS, _OWN_CACHE)
    if found.problem:
        pytest.skip(found.problem)
    if not found.is_present and not os.environ.get("EDGEKIT_TEST_ALL"):
        pytest.skip("onnx2tf's environment is not there: EDGEKIT_TEST_ALL=1 makes it")
    if found.is_present and not (shared_cache / "environments").exists():
        (shared_cache / "environments").symlink_to(folder)


def edgekit(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekit", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CNN as PyTorch exports it: NCHW, an open batch, an image and classes out."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["image:0", "w0", "b0"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["features"]),
        helper.make_node("MaxPool", ["features"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w1"], ["classes"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("image:0", TensorProto.FLOAT, ["N", 3, 12, 8])],
        [
            helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["N", 5]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 4, 12, 8]),
        ],
        [weight("w0", 4, 3, 3, 3), weight("b0", 4), weight("w1", 5, 96)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    path = tmp_path_factory.mktemp("onnx") / "cnn.onnx"
    onnx.save(made, str(path))
    return path


def shapes(path: Path) -> list[list[int]]:
    from ai_edge_litert.interpreter import Interpreter

    opened = Interpreter(str(path))
    ends = (*opened.get_input_details(), *opened.get_output_details())
    return [end["shape"].tolist() for end in ends]


def test_the_layout_stays(model: Path, tmp_path: Path) -> None:
    done = edgekit("convert", model, "--to", "tflite", "--out", tmp_path / "m.tflite", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert shapes(tmp_path / "m.tflite") == [[1, 3, 12, 8], [1, 5], [1, 4, 12, 8]]
    assert [file.name for file in tmp_path.iterdir()] == ["m.tflite"]


def test_channels_last(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.tflite"
    options = ("--conversion-options", "layout=nhwc")
    done = edgekit("convert", model, "--to", "tflite", *options, "--out", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "NCHW to NHWC" in done.stdout + done.stderr
    assert shapes(out) == [[1, 12, 8, 3], [1, 5], [1, 12, 8, 4]]


def test_int8_with_data_as_the_onnx_model_takes_it(model: Path, tmp_path: Path) -> None:
    import onnxruntime

    x = np.random.default_rng(0).random((300, 3, 12, 8), np.float32)
    classes = onnxruntime.InferenceSession(str(model)).run(["classes"], {"image:0": x})[0].argmax(1)
    np.savez(tmp_path / "d.npz", x=x, y=np.unique(classes, return_inverse=True)[1])
    out = tmp_path / "m.tflite"
    assert not edgekit("convert", model, "--to", "tflite", "--out", out, cwd=tmp_path).returncode
    done = edgekit(
        *("compress", out, "--recipe", "int8", "--target", "cpu-litert"),
        *(
            "--data",
            f"npz:{tmp_path}/d.npz",
            "--task",
            "classification",
            "--out",
            tmp_path / "int8",
        ),
        cwd=tmp_path,
    )
    made = tmp_path / "int8" / "model.tflite"
    assert made.is_file(), done.stdout + done.stderr
    assert shapes(made)[0] == [1, 3, 12, 8]


def test_an_op_that_it_cannot_convert(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8, 8]) for name in "xy"]
    node = helper.make_node("GridSample", ["x", "g"], ["y"], name="warp", mode="cubic")
    grid = numpy_helper.from_array(np.zeros((1, 8, 8, 2), np.float32), "g")
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [grid])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    made.ir_version = 9
    onnx.save(made, str(tmp_path / "m.onnx"))
    out = tmp_path / "m.tflite"
    done = edgekit("convert", tmp_path / "m.onnx", "--to", "tflite", "--out", out, cwd=tmp_path)
    assert done.returncode == 1
    assert "onnx2tf wrote the op 'ONNX_GRIDSAMPLE' (node 'y'), which no runtime" in done.stderr
    assert not out.exists()
