"""A small .tflite, written without TensorFlow: conv 3x3, reshape, dense."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np


@functools.cache
def small_tflite(*, signature: bool = True, custom: bool = False, metadata: bool = True) -> bytes:
    """Input (1, 8, 8, 1) with a dynamic batch; `custom` puts an op of its own at the end."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    rng = np.random.default_rng(0)
    values: list[Any] = [
        None,
        rng.normal(size=(4, 3, 3, 1)).astype(np.float32),
        rng.normal(size=4).astype(np.float32),
        np.array([-1, 256], np.int32),
        rng.normal(size=(3, 256)).astype(np.float32),
        rng.normal(size=3).astype(np.float32),
    ]
    tensors = [
        _tensor(schema, "input", (1, 8, 8, 1), 0, signature=(-1, 8, 8, 1)),
        _tensor(schema, "net/conv/kernel", (4, 3, 3, 1), 1),
        _tensor(schema, "net/conv/bias", (4,), 2),
        _tensor(schema, "net/conv/Relu;net/conv/BiasAdd", (1, 8, 8, 4), 0),
        _tensor(schema, "net/flat/shape", (2,), 3, dtype=schema.TensorType.INT32),
        _tensor(schema, "net/flat/Reshape", (1, 256), 0),
        _tensor(schema, "net/dense/kernel", (3, 256), 4),
        _tensor(schema, "net/dense/bias", (3,), 5),
        _tensor(schema, "output", (1, 3), 0),
    ]
    codes = [
        schema.BuiltinOperator.CONV_2D,
        schema.BuiltinOperator.RESHAPE,
        schema.BuiltinOperator.FULLY_CONNECTED,
    ]
    operators = [
        _operator(schema, 0, [0, 1, 2], [3], "Conv2DOptions", strideW=1, strideH=1,
                  dilationWFactor=1, dilationHFactor=1,
                  fusedActivationFunction=schema.ActivationFunctionType.RELU),
        _operator(schema, 1, [3, 4], [5], "ReshapeOptions"),
        _operator(schema, 2, [5, 6, 7], [8], "FullyConnectedOptions"),
    ]  # fmt: skip
    if custom:
        codes.append(schema.BuiltinOperator.CUSTOM)
        operators.append(schema.OperatorT(opcodeIndex=3, inputs=[8], outputs=[8]))
    graph = schema.SubGraphT(
        tensors=tensors, inputs=[0], outputs=[8], operators=operators, name="main"
    )
    model = schema.ModelT(version=3, description="small", subgraphs=[graph])
    model.operatorCodes = [
        schema.OperatorCodeT(
            builtinCode=code,
            deprecatedBuiltinCode=min(code, 127),
            version=1,
            customCode="MyOp" if code == schema.BuiltinOperator.CUSTOM else None,
        )
        for code in codes
    ]
    model.buffers = [
        schema.BufferT(data=None if value is None else value.reshape(-1).view(np.uint8))
        for value in values
    ]
    if metadata:
        model.buffers.append(schema.BufferT(data=np.frombuffer(b"1.5.0", np.uint8)))
        model.metadata = [schema.MetadataT(name="min_runtime_version", buffer=6)]
    if signature:
        model.signatureDefs = [
            schema.SignatureDefT(
                signatureKey="serving_default",
                inputs=[schema.TensorMapT(name="image", tensorIndex=0)],
                outputs=[schema.TensorMapT(name="scores", tensorIndex=8)],
            )
        ]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(data: bytes) -> np.ndarray[Any, Any]:
    """The outputs of the model for fixed inputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    image = np.random.default_rng(1).normal(size=(1, 8, 8, 1)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).copy()


def _tensor(
    schema: Any,
    name: str,
    shape: tuple[int, ...],
    buffer: int,
    *,
    dtype: int = 0,
    signature: tuple[int, ...] | None = None,
) -> Any:
    tensor = schema.TensorT(name=name, shape=list(shape), buffer=buffer, type=dtype)
    if signature is not None:
        tensor.shapeSignature = list(signature)
    return tensor


def _operator(
    schema: Any, code: int, inputs: list[int], outputs: list[int], options: str, **values: int
) -> Any:
    held = getattr(schema, f"{options}T")(**values)
    kind = getattr(schema.BuiltinOptions, options)
    return schema.OperatorT(
        opcodeIndex=code,
        inputs=inputs,
        outputs=outputs,
        builtinOptionsType=kind,
        builtinOptions=held,
    )
