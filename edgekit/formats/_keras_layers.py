"""Keras layers as ops, with their multiply-accumulates; nested models are flattened."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from edgekit.core.description import Op, Weight
from edgekit.frameworks.keras import LoadedModel

__all__ = ["ops", "weights"]

_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
_DENSE = frozenset(
    {"Dense"}
    | {f"{kind}{n}D" for kind in ("Conv", "DepthwiseConv", "SeparableConv") for n in (1, 2, 3)}
)
_TRANSPOSED = frozenset({f"Conv{n}DTranspose" for n in (1, 2, 3)})


def ops(loaded: LoadedModel) -> tuple[Op, ...]:
    """Each call of a layer in the order of the graph; none where only a signature is known."""
    if loaded.library == "saved_model":
        return ()
    calls = enumerate(_calls(loaded.model, ""))
    return tuple(_op(index, node, prefix) for index, (node, prefix) in calls)


def weights(loaded: LoadedModel) -> tuple[Weight, ...]:
    """Every variable of the model, under its path."""
    if loaded.library == "saved_model":
        signatures = loaded.model.signatures.values()
        held = {variable.name: variable for item in signatures for variable in item.variables}
        return tuple(_weight(variable) for variable in held.values())
    return tuple(_weight(variable) for variable in loaded.model.weights)


def _weight(variable: Any) -> Weight:
    import numpy as np

    name = str(getattr(variable, "path", variable.name)).partition(":")[0]
    shape = tuple(int(size) for size in variable.shape)
    dtype = _dtype(variable)
    width = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
    return Weight(name, shape, dtype, math.prod(shape) * width)


def _calls(model: Any, prefix: str) -> Iterator[tuple[Any, str]]:
    """The nodes of a functional graph, deepest first, those of models inside it in their place."""
    graph = getattr(model, "_functional", None) or model
    by_depth = graph._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            layer = _layer(node)
            if node.is_input:
                continue
            if hasattr(layer, "_nodes_by_depth") or hasattr(layer, "_functional"):
                yield from _calls(layer, f"{prefix}{layer.name}/")
            else:
                yield node, prefix


def _op(index: int, node: Any, prefix: str) -> Op:
    layer = _layer(node)
    inputs, outputs = _tensors(node)
    kind = type(layer).__name__
    dtypes = dict.fromkeys(_dtype(tensor) for tensor in (*inputs, *outputs))
    macs = _macs(kind, layer, inputs, outputs)
    return Op(index, kind, f"{prefix}{layer.name}", tuple(dtypes), macs)


def _layer(node: Any) -> Any:
    return node.operation if hasattr(node, "operation") else node.layer


def _tensors(node: Any) -> tuple[list[Any], list[Any]]:
    """The tensors that go into and come out of a call, in Keras 3 and in Keras 2."""
    if hasattr(node, "operation"):
        return list(node.input_tensors), list(node.outputs)
    return list(node.keras_inputs), _flat(node.outputs)


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [item for part in value.values() for item in _flat(part)]
    if isinstance(value, (list, tuple)):
        return [item for part in value for item in _flat(part)]
    return [value]


def _macs(kind: str, layer: Any, inputs: list[Any], outputs: list[Any]) -> int | None:
    """Positions that the kernels visit, times the size of the kernels."""
    kernels = [getattr(layer, name, None) for name in _KERNELS]
    shapes = {id(kernel): tuple(kernel.shape) for kernel in kernels if kernel is not None}
    if kind in _DENSE:
        positions = _positions(layer, outputs[0])
    elif kind in _TRANSPOSED:
        positions = _positions(layer, inputs[0])
    else:
        return None
    return None if positions is None else positions * sum(map(math.prod, shapes.values()))


def _positions(layer: Any, tensor: Any) -> int | None:
    """The size of one sample without its channels; None where it is dynamic."""
    shape = list(tensor.shape)[1:]
    del shape[0 if getattr(layer, "data_format", "") == "channels_first" else -1]
    return None if any(size is None for size in shape) else math.prod(shape)


def _dtype(tensor: Any) -> str:
    return str(getattr(tensor.dtype, "name", tensor.dtype))
