"""Writes small int8 .tflite files of any op, with random weights, without a converter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

__all__ = ["Case", "Op", "T", "case", "write", "write_cases"]

_OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "EXPAND_DIMS": "ExpandDimsOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "RESHAPE": "ReshapeOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SQUEEZE": "SqueezeOptions",
    "SUB": "SubOptions",
}

_VERSION_1 = {"EXPAND_DIMS", "RELU_N1_TO_1", "RESHAPE", "SQUEEZE"}


@dataclass(frozen=True)
class T:
    """A tensor; `values` makes it a constant, one scale quantizes the whole of it."""

    name: str
    shape: Sequence[int]
    scale: float | Sequence[float] = 0.05
    zero_point: int = 0
    dtype: str = "int8"
    values: Any = None
    axis: int = 0
    signature: Sequence[int] | None = None


@dataclass(frozen=True)
class Op:
    """An op; a tensor's name '' leaves an optional input out."""

    kind: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1


def write(
    path: Path, tensors: Sequence[T], ops: Sequence[Op], inputs: Sequence[str], *outputs: str
) -> Path:
    """Writes a model of one graph."""
    index = {tensor.name: i for i, tensor in enumerate(tensors)} | {"": -1}
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [graph]
    graph.tensors = [_tensor(tensor, model.buffers) for tensor in tensors]
    graph.inputs = _numbers(index[name] for name in inputs)
    graph.outputs = _numbers(index[name] for name in outputs)
    model.operatorCodes = [_code(op) for op in ops]
    graph.operators = [_operator(i, op, index) for i, op in enumerate(ops)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


@dataclass(frozen=True)
class Case:
    """One op with tensors of its own; what has no values is an input of the model."""

    kind: str
    tensors: Sequence[T]
    output: T
    options: Mapping[str, Any]


def case(kind: str, tensors: Sequence[T], output: T, **options: Any) -> Case:
    """A case, with the op's options by their names in the schema."""
    return Case(kind, tensors, output, options)


def write_cases(path: Path, cases: Sequence[Case]) -> Path:
    """Writes a model of many ops side by side, because compiling one by one takes long."""
    tensors: list[T] = []
    ops, inputs, outputs = [], [], []
    for number, item in enumerate(cases):
        output = replace(item.output, name="y")
        own = [_renamed(tensor, number) for tensor in (*item.tensors, output)]
        tensors += [tensor for tensor in own if tensor.name]
        ops.append(_op(item, own))
        inputs += [tensor.name for tensor in own[:-1] if tensor.name and tensor.values is None]
        outputs.append(own[-1].name)
    return write(path, tensors, ops, inputs, *outputs)


def _renamed(tensor: T, number: int) -> T:
    return replace(tensor, name=tensor.name and f"{tensor.name}{number}")


def _op(item: Case, own: Sequence[T]) -> Op:
    version = 1 if item.kind in _VERSION_1 else 2
    return Op(
        item.kind, [tensor.name for tensor in own[:-1]], [own[-1].name], item.options, version
    )


def _numbers(values: Any) -> Any:
    return np.array(list(values), np.int32)


def _tensor(tensor: T, buffers: list[Any]) -> Any:
    made = schema.TensorT()
    made.name, made.shape = tensor.name.encode(), _numbers(tensor.shape)
    if tensor.signature is not None:
        made.shapeSignature = _numbers(tensor.signature)
    made.type = getattr(schema.TensorType, tensor.dtype.upper())
    if tensor.dtype == "int8":
        made.quantization = schema.QuantizationParametersT()
        scales = [tensor.scale] if isinstance(tensor.scale, float) else list(tensor.scale)
        made.quantization.scale = np.array(scales, np.float32)
        made.quantization.zeroPoint = np.array([tensor.zero_point] * len(scales), np.int64)
        made.quantization.quantizedDimension = tensor.axis
    if tensor.values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.asarray(tensor.values, tensor.dtype).tobytes(), np.uint8)
        made.buffer = len(buffers)
        buffers.append(buffer)
    return made


def _code(op: Op) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, op.kind)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = op.version
    return code


def _operator(number: int, op: Op, index: Mapping[str, int]) -> Any:
    made = schema.OperatorT()
    made.opcodeIndex = number
    made.inputs = _numbers(index[name] for name in op.inputs)
    made.outputs = _numbers(index[name] for name in op.outputs)
    name = _OPTIONS.get(op.kind)
    if name:
        made.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        made.builtinOptions = getattr(schema, f"{name}T")()
        for key, value in op.options.items():
            assert hasattr(made.builtinOptions, key), key
            setattr(made.builtinOptions, key, value)
    return made
