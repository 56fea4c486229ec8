"""Scripts that stand for run.py, an int8 model, and what shows progress, for tests of devices."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.device import DeviceSpec
from edgekit.core.target import load_target

CACHE = os.environ.get("EDGEKIT_CACHE")
"""The user's own, before a test has one of its own."""

ECHO = """
import sys
print("hello", flush=True)
for line in sys.stdin:
    print(line.strip()[::-1], flush=True)
"""
"""Says hello, then every line backwards, and ends when its stdin does."""

REFERENCE = """
import importlib, json, platform, sys
import numpy as np
runtime = importlib.import_module(sys.argv[1])
kind = runtime.OpResolverType.BUILTIN_REF
model = runtime.Interpreter("model.tflite", num_threads=1, experimental_op_resolver_type=kind)
model.allocate_tensors()
model.set_tensor(model.get_input_details()[0]["index"], np.load("x.npy"))
model.invoke()
y = model.get_tensor(model.get_output_details()[0]["index"])
with open("/proc/cpuinfo") as file:
    part = [line.split()[-1] for line in file if line.startswith("CPU part")]
print(json.dumps({"y": y.ravel().tolist(), "machine": platform.machine(), "part": part}))
"""
"""Runs the model's reference kernels on x.npy."""


class Bars:
    """What was shown."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.advanced = 0

    @contextlib.contextmanager
    def __call__(self, text: str, total: int) -> Iterator[Bars]:
        self.texts.append(text)
        yield self

    def advance(self, count: int = 1, text: str = "") -> None:
        self.advanced += count


def ready(target: str, request: pytest.FixtureRequest) -> DeviceSpec:
    """A shipped target's device, real and ready: the user's own, or one made for this test run.

    It skips where neither is there.
    """
    from edgekit.core import catalog

    spec = load_target(target).device
    assert spec is not None
    device = catalog.load("devices", spec.via)
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    with pytest.MonkeyPatch.context() as users:
        users.delenv("EDGEKIT_CACHE")
        if CACHE:
            users.setenv("EDGEKIT_CACHE", CACHE)
        problem = device.unavailable(spec.options)
    if not problem:
        patch.delenv("EDGEKIT_CACHE")
        if CACHE:
            patch.setenv("EDGEKIT_CACHE", CACHE)
        return spec
    if "not made yet" not in problem or not os.environ.get("EDGEKIT_TEST_ALL"):
        pytest.skip(f"{problem}; EDGEKIT_TEST_ALL=1 makes it for the tests (20 s, 75 MB at most)")
    shared = request.getfixturevalue("tmp_path_factory").getbasetemp() / "devices"
    patch.setenv("EDGEKIT_CACHE", str(shared))
    device.install(spec.options, Bars())
    return spec


def script(folder: Path, text: str, name: str = "run.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def int8_convolution() -> bytes:
    """y = CONV_2D(x) with 3x3 kernels: (1, 8, 8, 4) to (1, 8, 8, 8), all int8."""
    import flatbuffers
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    values = np.random.default_rng(0)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [graph]

    def tensor(name: str, shape: tuple[int, ...], scale: float, kind: str, content: Any) -> Any:
        made, quantization = schema.TensorT(), schema.QuantizationParametersT()
        made.name, made.shape = name, np.array(shape, np.int32)
        made.type = getattr(schema.TensorType, kind)
        quantization.scale = np.array([scale], np.float32)
        quantization.zeroPoint = np.array([0], np.int64)
        made.quantization = quantization
        if content is not None:
            made.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(content.tobytes(), np.uint8)
        return made

    weights = values.integers(-127, 128, (8, 3, 3, 4)).astype(np.int8)
    bias = values.integers(-9999, 9999, 8).astype(np.int32)
    graph.tensors = [
        tensor("x", (1, 8, 8, 4), 0.02, "INT8", None),
        tensor("w", (8, 3, 3, 4), 0.01, "INT8", weights),
        tensor("b", (8,), 0.0002, "INT32", bias),
        tensor("y", (1, 8, 8, 8), 0.1, "INT8", None),
    ]
    op, code, options = schema.OperatorT(), schema.OperatorCodeT(), schema.Conv2DOptionsT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3
    options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
    op.inputs, op.outputs = np.array([0, 1, 2], np.int32), np.array([3], np.int32)
    graph.inputs, graph.outputs = np.array([0], np.int32), np.array([3], np.int32)
    graph.operators, model.operatorCodes = [op], [code]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
