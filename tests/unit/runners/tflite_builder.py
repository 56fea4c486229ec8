"""Builds .tflite files of one or two ops, byte by byte, without any converter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


@dataclass(frozen=True)
class Tensor:
    """A tensor of a model to build; `values` makes it a constant."""

    name: str
    shape: Sequence[int]
    dtype: str = "float32"
    scale: float = 0.0
    zero_point: int = 0
    values: Any = None


@dataclass(frozen=True)
class Node:
    """An op by its name in the schema (RELU, SOFTMAX, or a custom one) and its tensors' names."""

    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    version: int = 1
    custom: bool = False


@dataclass(frozen=True)
class Graph:
    tensors: Sequence[Tensor]
    nodes: Sequence[Node]
    inputs: Sequence[str]
    outputs: Sequence[str]
    signature: Mapping[str, str] = field(default_factory=dict)
    """Names that a signature gives to tensors, by the tensor's own name."""


_OPTIONS = {
    "ADD": (schema.BuiltinOptions.AddOptions, schema.AddOptionsT),
    "SOFTMAX": (schema.BuiltinOptions.SoftmaxOptions, schema.SoftmaxOptionsT),
}


def build(graph: Graph) -> bytes:
    """Returns the bytes of the file."""
    index = {tensor.name: i for i, tensor in enumerate(graph.tensors)}
    model, part = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [part]
    part.tensors = [_tensor(tensor, model.buffers) for tensor in graph.tensors]
    part.inputs = _numbers(index[name] for name in graph.inputs)
    part.outputs = _numbers(index[name] for name in graph.outputs)
    model.operatorCodes = [_code(node) for node in graph.nodes]
    part.operators = [_operator(i, node, index) for i, node in enumerate(graph.nodes)]
    if graph.signature:
        model.signatureDefs = [_signature(graph, index)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def relu(shape: Sequence[int] = (1, 2), **node: Any) -> bytes:
    """y = RELU(x)."""
    return build(
        Graph(
            [Tensor("x", shape), Tensor("y", shape)],
            [Node(**{"op": "RELU", "inputs": ["x"], "outputs": ["y"], **node})],
            ["x"],
            ["y"],
        )
    )


def _numbers(values: Any) -> Any:
    return np.array(list(values), np.int32)


def _tensor(tensor: Tensor, buffers: list[Any]) -> Any:
    made = schema.TensorT()
    made.name = tensor.name.encode()
    made.shape = _numbers(max(size, 1) for size in tensor.shape)
    if any(size < 0 for size in tensor.shape):
        made.shapeSignature = _numbers(tensor.shape)
    made.type = getattr(schema.TensorType, tensor.dtype.upper())
    made.buffer = 0
    if tensor.scale:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = np.array([tensor.scale], np.float32)
        made.quantization.zeroPoint = np.array([tensor.zero_point], np.int64)
    if tensor.values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.asarray(tensor.values, tensor.dtype).tobytes(), np.uint8)
        made.buffer = len(buffers)
        buffers.append(buffer)
    return made


def _code(node: Node) -> Any:
    code = schema.OperatorCodeT()
    number = schema.BuiltinOperator.CUSTOM if node.custom else None
    code.builtinCode = number if number is not None else _builtin(node.op)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = node.version
    code.customCode = node.op.encode() if node.custom else None
    return code


def _builtin(op: str) -> int:
    return int(op) if op.isdigit() else getattr(schema.BuiltinOperator, op)


def _operator(number: int, node: Node, index: Mapping[str, int]) -> Any:
    made = schema.OperatorT()
    made.opcodeIndex = number
    made.inputs = _numbers(index[name] for name in node.inputs)
    made.outputs = _numbers(index[name] for name in node.outputs)
    if node.op in _OPTIONS:
        made.builtinOptionsType, options = _OPTIONS[node.op][0], _OPTIONS[node.op][1]()
        if node.op == "SOFTMAX":
            options.beta = 1.0
        made.builtinOptions = options
    return made


def _signature(graph: Graph, index: Mapping[str, int]) -> Any:
    made = schema.SignatureDefT()
    made.signatureKey = b"serving_default"
    made.subgraphIndex = 0
    made.inputs = [_named(graph, name, index) for name in graph.inputs]
    made.outputs = [_named(graph, name, index) for name in graph.outputs]
    return made


def _named(graph: Graph, name: str, index: Mapping[str, int]) -> Any:
    made = schema.TensorMapT()
    made.name = graph.signature[name].encode()
    made.tensorIndex = index[name]
    return made
