"""Folds BatchNormalization behind ConvTranspose, which ONNX Runtime leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["fold_transposed"]


class _Graph:
    """Who makes and who reads each value of the main graph."""

    def __init__(self, graph: Any) -> None:
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, int] = {value.name: 1 for value in graph.output}
        for node in graph.node:
            inside = any(a.HasField("g") or a.graphs for a in node.attribute)
            for name in node.input:
                # A graph inside may read any value by name, so nothing is taken for its only one.
                self.readers[name] = self.readers.get(name, 0) + (2 if inside else 1)

    def only_reader_of(self, name: str, kind: str) -> Any:
        """The node of a kind that makes a value which is read once; None where there is none."""
        node = self.makers.get(name)
        fits = node is not None and node.op_type == kind and self.readers.get(name) == 1
        return node if fits else None

    def array(self, name: str) -> Array | None:
        """The values of a constant."""
        from onnx import numpy_helper

        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)


def fold_transposed(model: Any) -> Any:
    """Folds each BatchNormalization that takes a ConvTranspose, or its sum with a bias."""
    if any(a.HasField("g") or a.graphs for node in model.graph.node for a in node.attribute):
        return model  # Graphs inside read values of this one by name.
    for norm in [node for node in model.graph.node if node.op_type == "BatchNormalization"]:
        _fold_one(model, norm)
    return model


def _fold_one(model: Any, norm: Any) -> None:
    import numpy as np
    from onnx import numpy_helper

    graph = _Graph(model.graph)
    settings = {a.name: a for a in norm.attribute}
    found = [graph.array(name) for name in norm.input[1:5]]
    add = graph.only_reader_of(norm.input[0], "Add")
    summand, at = _bias_in(graph, add) if add is not None else (None, norm.input[0])
    conv = graph.only_reader_of(at, "ConvTranspose")
    weight = None if conv is None else graph.array(conv.input[1])
    if weight is None or len(norm.output) > 1 or any(array is None for array in found):
        return
    if settings["training_mode"].i if "training_mode" in settings else False:
        return
    scale, shift, mean, variance = (np.asarray(array, np.float64) for array in found)
    epsilon = settings["epsilon"].f if "epsilon" in settings else 1e-5
    factor = scale / np.sqrt(variance + epsilon)
    bias: Any = _bias_of(graph, conv, len(factor))
    if add is not None:
        if summand is None or summand.size != len(factor) or bias is None:
            return
        bias = bias + summand.reshape(-1)
    if bias is None:
        return
    name = norm.output[0]
    weights = _scaled(weight, factor, {a.name: a for a in conv.attribute})
    biases = ((bias - mean) * factor + shift).astype(weight.dtype)
    model.graph.initializer.append(numpy_helper.from_array(weights, f"{name}_weight"))
    model.graph.initializer.append(numpy_helper.from_array(biases, f"{name}_bias"))
    conv.input[1] = f"{name}_weight"
    del conv.input[2:]
    conv.input.append(f"{name}_bias")
    model.graph.node.remove(norm)
    if add is not None:
        model.graph.node.remove(add)
    conv.output[0] = name


def _bias_in(graph: _Graph, add: Any) -> tuple[Array | None, str]:
    """The constant of an Add that has one value a channel, and the name of what it is added to."""
    for own, other in ((0, 1), (1, 0)):
        array = graph.array(add.input[own])
        if array is not None:
            shape = array.shape if array.ndim < 4 else array.shape[1:]
            per_channel = len(shape) > 1 and array.size == shape[0]
            return (array if per_channel else None), add.input[other]
    return None, ""


def _bias_of(graph: _Graph, conv: Any, channels: int) -> Array | None:
    import numpy as np

    if len(conv.input) > 2 and conv.input[2]:
        return graph.array(conv.input[2])
    return np.zeros(channels)


def _scaled(weight: Array, factor: Array, settings: Mapping[str, Any]) -> Array:
    """Its output channels are the second axis, counted anew in each group."""
    groups = settings["group"].i if "group" in settings else 1
    shape = weight.shape
    parts = weight.reshape(groups, shape[0] // groups, shape[1], -1).astype("float64")
    made: Array = (parts * factor.reshape(groups, 1, shape[1], 1)).reshape(shape)
    return made.astype(weight.dtype)
