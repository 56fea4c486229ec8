"""LiteRT's GPU really executed: on this machine's, or on SwiftShader, which emulates one.

`edgekit doctor --target gpu-litert --install` takes SwiftShader from Debian.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_folder import int8_model
from support import edgekit

from edgekit.core.target import load_target
from edgekit.devices import vulkan
from edgekit.engine.device_session import DeviceSession, open_on_device
from edgekit.engine.models import describe
from edgekit.engine.open_model import open_model
from edgekit.runners import litert

_USERS_CACHE = os.environ.get("EDGEKIT_CACHE")
NAME = "gpu-litert"


@pytest.fixture(autouse=True)
def _its_driver(_own_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own cache, where SwiftShader is."""
    if _USERS_CACHE is None:
        monkeypatch.delenv("EDGEKIT_CACHE")
    else:
        monkeypatch.setenv("EDGEKIT_CACHE", _USERS_CACHE)
    pytest.importorskip("ai_edge_litert.compiled_model")
    target = load_target(NAME)
    assert target.device is not None
    if problem := vulkan.unavailable(target.device.options):
        pytest.skip(problem)


def opened(path: Path) -> DeviceSession:
    device = load_target(NAME).device
    assert device is not None
    signature = describe(open_model(path)).signature
    files = {"model.tflite": path}
    return open_on_device(device, files, format="tflite", signature=signature, options={})


def on_cpu(path: Path, *inputs: Any, kernels: Any = "xnnpack") -> Any:
    signature = describe(open_model(path)).signature
    return litert.open(path, signature, litert.Options(kernels=kernels)).run(inputs)


def chain(path: Path, dtype: str, *kinds: str) -> Path:
    """(1, 8, 8, 4) of one dtype through ops without weights, or a 1x1 CONV_2D with a stride."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [graph]
    graph.tensors, graph.operators, model.operatorCodes = [], [], []

    def tensor(shape: Sequence[int], kind: str, scale: float, content: Any = None) -> int:
        made = schema.TensorT()
        made.name, made.shape = f"t{len(graph.tensors)}", np.array(shape, np.int32)
        made.type = getattr(schema.TensorType, kind.upper())
        if kind != "float32":
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.array([scale], np.float32)
            made.quantization.zeroPoint = np.array([0], np.int64)
        if content is not None:
            made.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(content.tobytes(), np.uint8)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    last = tensor((1, 8, 8, 4), dtype, 0.05)
    graph.inputs = [last]
    for number, kind in enumerate(kinds):
        code, op = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = code.builtinCode
        code.version, op.opcodeIndex, op.inputs = 3 if dtype == "int8" else 1, number, [last]
        shape = (1, 8, 8, 4)
        if kind == "CONV_2D":
            rng, shape = np.random.default_rng(0), (1, 4, 4, 4)
            weights = rng.integers(-127, 128, (4, 1, 1, 4)).astype(np.int8)
            op.inputs += [tensor((4, 1, 1, 4), "int8", 0.01, weights)]
            op.inputs += [tensor((4,), "int32", 0.0005, np.zeros(4, np.int32))]
            op.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
            op.builtinOptions = schema.Conv2DOptionsT()
            op.builtinOptions.strideW = op.builtinOptions.strideH = 2
            op.builtinOptions.dilationWFactor = op.builtinOptions.dilationHFactor = 1
        elif kind == "LOCAL_RESPONSE_NORMALIZATION":
            op.builtinOptionsType = schema.BuiltinOptions.LocalResponseNormalizationOptions
            op.builtinOptions = schema.LocalResponseNormalizationOptionsT()
            op.builtinOptions.radius, op.builtinOptions.bias = 1, 1.0
            op.builtinOptions.alpha, op.builtinOptions.beta = 0.5, 0.5
        last = tensor(shape, dtype, 0.05)
        op.outputs = [last]
        model.operatorCodes.append(code)
        graph.operators.append(op)
    graph.outputs = [last]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path


def test_floats_are_within_1e_5_of_the_cpu(tiny_float: Path) -> None:
    x = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype(np.float32)
    session = opened(tiny_float)
    try:
        (found,), placed = session.run((x,)), session.placement()
    finally:
        session.close()
    (wanted,) = on_cpu(tiny_float, x)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert {op.where for op in placed.ops} == {"WebGPU"}
    assert placed.delegated == 1.0
    assert [(one.what, one.ok) for one in placed.attempts] == [("GPU", True)]


def test_int8_is_within_2_lsb_of_the_cpu(tmp_path: Path) -> None:
    path = tmp_path / "int8.tflite"
    path.write_bytes(int8_model())
    x = np.random.default_rng(0).integers(-128, 128, (8, 8, 8, 1)).astype(np.int8)
    session = opened(path)
    try:
        (found,), placed = session.run((x,)), session.placement()
    finally:
        session.close()
    (wanted,) = on_cpu(path, x)
    assert np.abs(found.astype(int) - wanted).max() <= 2
    assert placed.delegated == 1.0


def test_what_a_gpu_leaves_to_the_cpu_is_told_op_by_op(tmp_path: Path) -> None:
    kinds = ("RELU", "LOCAL_RESPONSE_NORMALIZATION", "RELU6", "EXP")
    path = chain(tmp_path / "mixed.tflite", "float32", *kinds)
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 4)).astype(np.float32)
    session = opened(path)
    try:
        (found,), placed = session.run((x,)), session.placement()
    finally:
        session.close()
    assert np.allclose(found, on_cpu(path, x)[0], rtol=1e-5)
    assert [op.where for op in placed.ops] == ["CPU", "CPU", "WebGPU", "WebGPU"]
    assert placed.ops[0].reason.startswith("the GPU takes one part of the graph, the largest")
    assert placed.ops[1].reason == "the GPU delegate says: Operation is not supported"


def test_a_stride_that_a_gpu_computes_wrongly_is_refused(tmp_path: Path) -> None:
    """LiteRT 2.3.0 forgets the stride of a quantized 1x1 convolution, and says nothing."""
    path = chain(tmp_path / "strided.tflite", "int8", "CONV_2D")
    x = np.random.default_rng(0).integers(-128, 128, (1, 8, 8, 4)).astype(np.int8)
    session = opened(path)
    try:
        (found,), placed = session.run((x,)), session.placement()
    finally:
        session.close()
    failed = [one for one in placed.attempts if not one.ok]
    if not failed:  # A newer LiteRT may do it right.
        assert np.abs(found.astype(int) - on_cpu(path, x)[0]).max() <= 2
        return
    assert "and so would compute wrong values" in failed[0].reason
    assert np.array_equal(found, on_cpu(path, x)[0]), "the CPU computed"
    said = edgekit("inspect", path, "--target", NAME).out
    assert "fell back   GPU: it makes the output of a convolution {1, 8, 8, 1, 4} where" in said


def test_an_adapter_that_is_not_there_is_no_silent_cpu(
    tiny_float: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "icd.json"
    driver.write_text('{"file_format_version": "1.0.0", "ICD": {"library_path": "/no.so"}}')
    monkeypatch.setenv("VK_ICD_FILENAMES", str(driver))
    session = opened(tiny_float)
    try:
        placed = session.placement()
    finally:
        session.close()
    assert "no GPU is found (no adapter)" in placed.attempts[0].reason
    assert {op.where for op in placed.ops} <= {"CPU", "XNNPACK"}
    found = edgekit("validate", tiny_float, "--target", NAME, "--strict")
    assert found.code in (1, 2), found.err


@pytest.mark.slow
def test_a_bundle_proves_itself_on_the_gpu_and_is_not_timed(
    tiny_float: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "tiny.ekb"
    made = edgekit("bundle", tiny_float, "--target", NAME, "--out", bundle)
    assert made.code == 0, made.err
    found = edgekit("validate", bundle, "--targets", NAME)
    assert found.code == 0, found.err + found.out
    assert "WebGPU 6" in found.out
    if "SwiftShader" in found.out:
        assert "latency: emulated by SwiftShader: no timing" in found.out
