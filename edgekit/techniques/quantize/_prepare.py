"""Rewrites a model around the engine: what it cannot read before, what it leaves behind after."""

from __future__ import annotations

from typing import Any

__all__ = ["finish", "prepare"]

_DEQUANTIZE, _SHAPE = 6, 77
_FLOAT32, _FLOAT16 = 0, 1


def prepare(model: Any) -> bool:
    """Changes a model (the schema's object form) into one the engine can read; False if it was.

    1. Files from before 2020 hold op codes only in the old field, and the engine reads the new
       one: it would take every op for ADD.
    2. Weights in float16 behind DEQUANTIZE ops become float32 weights, which the engine knows how
       to quantize. Their values do not change.
    """
    changes = [_renew_op_codes(model)]
    changes += [_expand_halves(model, graph) for graph in model.subgraphs]
    return any(changes)


def finish(model: Any) -> None:
    """Lets SHAPE ops read the quantized tensor: its shape is the same, and no op stays float.

    The engine puts a DEQUANTIZE in front of every op that it does not know, and models with a
    dynamic batch compute the shape for their RESHAPE.
    """
    for graph in model.subgraphs:
        users: dict[int, list[Any]] = {}
        for op in graph.operators:
            for index in op.inputs or ():
                users.setdefault(index, []).append(op)
        gone = {
            op.outputs[0]: op.inputs[0]
            for op in _dequantizes(model, graph)
            if all(_code(model, user) == _SHAPE for user in users.get(op.outputs[0], [op]))
        }
        _replace(model, graph, gone)


def _dequantizes(model: Any, graph: Any) -> list[Any]:
    """The DEQUANTIZE ops inside a graph; those that make its outputs are not among them."""
    return [
        op
        for op in graph.operators
        if _code(model, op) == _DEQUANTIZE and op.outputs[0] not in graph.outputs
    ]


def _code(model: Any, op: Any) -> int:
    return int(model.operatorCodes[op.opcodeIndex].builtinCode)


def _renew_op_codes(model: Any) -> bool:
    old = [code for code in model.operatorCodes if code.builtinCode < code.deprecatedBuiltinCode]
    for code in old:
        code.builtinCode = code.deprecatedBuiltinCode
    return bool(old)


def _expand_halves(model: Any, graph: Any) -> bool:
    """Turns each DEQUANTIZE of a float16 constant into a float32 constant."""
    gone = {
        op.outputs[0]: op.inputs[0]
        for op in _dequantizes(model, graph)
        if graph.tensors[op.inputs[0]].type == _FLOAT16
        and model.buffers[graph.tensors[op.inputs[0]].buffer].data is not None
    }
    halves = [graph.tensors[index] for index in set(gone.values())]
    for buffer in {tensor.buffer for tensor in halves}:
        _widen(model.buffers[buffer])
    for tensor in halves:
        tensor.type = _FLOAT32
    _replace(model, graph, gone)
    return bool(gone)


def _widen(buffer: Any) -> None:
    import numpy as np

    halves = np.ascontiguousarray(buffer.data, np.uint8).view(np.float16)
    buffer.data = halves.astype(np.float32).view(np.uint8)


def _replace(model: Any, graph: Any, gone: dict[int, int]) -> None:
    """Drops the ops that make the tensors in `gone`, which become the ones they stand for."""
    if not gone:
        return
    left = [index for index in range(len(graph.tensors)) if index not in gone]
    position = {index: place for place, index in enumerate(left)} | {-1: -1}

    def moved(indices: Any) -> Any:
        return None if indices is None else [position[gone.get(i, i)] for i in indices]

    graph.operators = [op for op in graph.operators if not gone.keys() & set(op.outputs or ())]
    for op in graph.operators:
        op.inputs, op.outputs = moved(op.inputs), moved(op.outputs)
        op.intermediates = moved(op.intermediates)
    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    for signature in model.signatureDefs or []:
        if model.subgraphs[signature.subgraphIndex] is graph:
            for item in (*(signature.inputs or ()), *(signature.outputs or ())):
                item.tensorIndex = position[item.tensorIndex]
    graph.tensors = [graph.tensors[index] for index in left]
