"""Execution providers of ONNX Runtime, really executed: QNN's HTP emulation, OpenVINO, WebGPU.

`edgekit doctor --target NAME --install` makes the environment of each; CUDA needs a GPU.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx_models import cnn, images, save_model, tensor, value
from support import edgekit

from edgekit.core.runner import Placement
from edgekit.core.target import load_target
from edgekit.engine.device_session import DeviceSession, device_module, open_on_device
from edgekit.engine.models import describe
from edgekit.engine.open_model import open_model
from edgekit.errors import PromiseError
from edgekit.runners import onnxruntime as cpu

_USERS_CACHE = os.environ.get("EDGEKIT_CACHE")
QNN, OPENVINO = "qualcomm-htp", "intel-openvino-onnxruntime"
WEBGPU, CUDA = "gpu-onnxruntime-webgpu", "gpu-onnxruntime-cuda"
PLACES = {QNN: "QNN", OPENVINO: "OpenVINO", WEBGPU: "WebGpu", CUDA: "CUDA"}
_FLAGS = Path("/proc/cpuinfo").read_text(encoding="utf-8").split() if os.name == "posix" else []
HAS_VNNI = "avx512_vnni" in _FLAGS

everywhere = pytest.mark.parametrize("name", PLACES)


@pytest.fixture(autouse=True)
def _users_cache(_own_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own cache, where the environments are."""
    if _USERS_CACHE is None:
        monkeypatch.delenv("EDGEKIT_CACHE")
    else:
        monkeypatch.setenv("EDGEKIT_CACHE", _USERS_CACHE)


def opened(name: str, path: Path, *, strict: bool = False, **options: str) -> DeviceSession:
    device = load_target(name).device
    assert device is not None
    if problem := device_module(device).unavailable(device.options):
        pytest.skip(f"{name}: {problem}")
    (own,) = device.delegates
    own = dataclasses.replace(own, options={**own.options, **options})
    device = dataclasses.replace(device, delegates=(own,), strict=strict)
    signature = describe(open_model(path)).signature
    files = {"model.onnx": path}
    return open_on_device(device, files, format="onnx", signature=signature, options={})


def ran(name: str, path: Path, x: Any, **how: Any) -> tuple[Any, Placement]:
    session = opened(name, path, **how)
    try:
        return session.run((x,))[0], session.placement()
    finally:
        session.close()


def on_cpu(path: Path, x: Any) -> Any:
    signature = describe(open_model(path)).signature
    return cpu.open(path, signature, cpu.Options()).run((x,))[0]


def largest_gap(found: Any, wanted: Any) -> float:
    return float(abs(found - wanted).max() / abs(wanted).max())


def weight(name: str, *shape: int) -> Any:
    return tensor(name, np.random.default_rng(len(name)).normal(size=shape) / 3)


@pytest.fixture
def convolution(tmp_path: Path) -> Path:
    """An open batch, Conv, Relu, MaxPool, Flatten, Gemm: NCHW."""
    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["c"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("MaxPool", ["r"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w1", "b1"], ["y"], "dense", transB=1),
    ]
    ends = [value("image", ["N", 1, 12, 12])], [value("y", ["N", 4])]
    weights = [weight("w0", 4, 1, 3, 3), weight("w1", 4, 144), weight("b1", 4)]
    return save_model(tmp_path / "c.onnx", helper.make_graph(nodes, "g", *ends, weights))  # type: ignore[no-any-return]


@pytest.fixture
def int8(convolution: Path, tmp_path: Path) -> Path:
    """The same with uint8 activations, the output too."""
    from onnxruntime import quantization

    samples = iter([{"image": row[None]} for row in images(32)])
    reader = type("Reader", (), {"get_next": lambda self: next(samples, None)})()
    path = tmp_path / "int8.onnx"
    quantization.quantize_static(
        str(convolution),
        str(path),
        reader,
        per_channel=False,
        weight_type=quantization.QuantType.QInt8,
    )
    return path


@pytest.fixture
def erf(tmp_path: Path) -> Path:
    """QNN has no Erf."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["g"], "dense", transB=1),
        helper.make_node("Erf", ["g"], ["e"], "erf"),
        helper.make_node("Relu", ["e"], ["y"], "relu"),
    ]
    ends = [value("x", ["N", 6])], [value("y", ["N", 4])]
    weights = [weight("w", 4, 6), weight("b", 4)]
    return save_model(tmp_path / "e.onnx", helper.make_graph(nodes, "g", *ends, weights))  # type: ignore[no-any-return]


class TestValues:
    @everywhere
    def test_float_is_that_of_the_cpu(self, name: str, convolution: Path) -> None:
        found, placed = ran(name, convolution, images(4), strict=True)
        assert {op.where for op in placed.ops} == {PLACES[name]}
        assert [attempt.ok for attempt in placed.attempts] == [True]
        assert largest_gap(found, on_cpu(convolution, images(4))) <= 1e-5

    @everywhere
    def test_int8_is_within_2_lsb(self, name: str, int8: Path) -> None:
        if name == OPENVINO and not HAS_VNNI:
            pytest.skip("without VNNI, OpenVINO's sums of int8 saturate at 16 bits")
        found, placed = ran(name, int8, images(16))
        wanted = on_cpu(int8, images(16))
        steps = np.unique(np.diff(np.unique(np.concatenate([found, wanted]).round(5))).round(5))
        assert abs(found - wanted).max() <= 2.01 * steps.min()
        left = {op.kind for op in placed.ops if op.where == "CPU"}
        assert left == ({"QuantizeLinear"} if name == WEBGPU else set())


class TestFallback:
    def test_qnn_names_the_op_and_the_reason(self, erf: Path) -> None:
        x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
        found, placed = ran(QNN, erf, x)
        assert largest_gap(found, on_cpu(erf, x)) <= 1e-5
        assert [(op.kind, op.where) for op in placed.ops if op.where != "QNN"] == [("Erf", "CPU")]
        assert "`Erf` are not supported" in next(op.reason for op in placed.ops if op.reason)
        with pytest.raises(PromiseError, match="QNN: it leaves 1 op to the CPU: Erf: "):
            opened(QNN, erf, strict=True)

    def test_qnn_fails_to_make_the_graph(self, tmp_path: Path) -> None:
        model = cnn(tmp_path / "m.onnx")
        found, placed = ran(QNN, model, images(2))
        assert [(one.what, one.ok) for one in placed.attempts] == [
            ("QNN", False), ("onnxruntime", True),
        ]  # fmt: skip
        assert placed.attempts[0].reason.startswith("Failed to finalize QNN graph")
        assert {op.where for op in placed.ops} == {"CPU"}
        assert largest_gap(found, on_cpu(model, images(2))) <= 1e-5

    def test_qnn_without_its_library(self, convolution: Path) -> None:
        with pytest.raises(PromiseError, match="QNN: the plugin no_such is not installed"):
            opened(QNN, convolution, strict=True, plugin="no_such")

    def test_openvino_on_a_device_that_is_not_there(self, convolution: Path) -> None:
        if Path("/dev/accel").exists():
            pytest.skip("there may be an NPU")
        _, placed = ran(OPENVINO, convolution, images(1), device_type="NPU")
        assert placed.attempts[0].reason == "it does not start here: Device NPU is not available"
        assert {op.where for op in placed.ops} == {"CPU"}
        with pytest.raises(PromiseError, match="OpenVINO: it does not start here: Device NPU"):
            opened(OPENVINO, convolution, strict=True, device_type="NPU")

    def test_no_nvidia_gpu(self) -> None:
        if Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists():
            pytest.skip("there may be a GPU")
        said = edgekit("doctor", "--target", CUDA, "--quiet")
        assert said.code == 3
        assert "no NVIDIA GPU is here" in said.out

    def test_a_broken_share_is_exit_1(self, erf: Path) -> None:
        opened(QNN, erf).close()
        said = edgekit("bench", erf, "--target", QNN, "--strict", "--quiet")
        assert said.code == 1, said
        assert "Erf" in said.err
