"""Names in a converted ONNX model: those of the Keras layers, and the same in every process."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["layer_of", "rename"]

_COUNTER = re.compile(r"__\d+")
_ADDRESS = re.compile(r"einsum\d{6,}")
_OUTPUT = re.compile(r":\d+$")
_ROLES = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul"), ("input", "weight", "bias")),
    "Clip": ("input", "min", "max"),
    "LSTM": ("input", "weight", "recurrence", "bias"),
    "GRU": ("input", "weight", "recurrence", "bias"),
    "Reshape": ("input", "shape"),
}


def rename(graph: Any, layers: Sequence[str], *, doubled: bool) -> None:
    """Names nodes after layers, tensors after the nodes that make them, weights after those that
    read them; in place. The names of the graph's inputs and outputs stay.

    The engine's own names have counters and addresses of the process in them.
    """
    kept = {value.name for value in (*graph.input, *graph.output)}
    names = _Names(frozenset(layers), doubled, {name: name for name in kept}, set(kept), set())
    names.nodes(graph)
    names.tensors(graph)
    _apply(graph, names.tensor)


@dataclass
class _Names:
    layers: frozenset[str]
    doubled: bool
    tensor: dict[str, str]
    taken: set[str]
    taken_nodes: set[str]

    def nodes(self, graph: Any) -> None:
        """Names the nodes and what they write, those of inner graphs too."""
        weights = {tensor.name for tensor in graph.initializer}
        for value in graph.input:
            self._tensor(value.name, _plain(value.name))
        for node in graph.node:
            node.name = _fresh(self._node(node, weights), self.taken_nodes)
            for place, name in enumerate(node.output):
                self._tensor(name, node.name if place == 0 else f"{node.name}_{place}")
            for inner in _inner(node):
                self.nodes(inner)

    def tensors(self, graph: Any) -> None:
        """Names the weights, each after its first use."""
        weights = {tensor.name for tensor in graph.initializer}
        for node in graph.node:
            roles = _ROLES.get(node.op_type, ())
            for place, name in enumerate(node.input):
                role = roles[place] if place < len(roles) else f"input_{place}"
                if name in weights:
                    self._tensor(name, f"{node.name}/{role}")
            for inner in _inner(node):
                self.tensors(inner)
        for place, name in enumerate(sorted(weights - self.tensor.keys())):
            self._tensor(name, f"constant_{place}")

    def _tensor(self, name: str, wanted: str) -> None:
        if name and name not in self.tensor:
            self.tensor[name] = _fresh(wanted, self.taken)

    def _node(self, node: Any, weights: set[str]) -> str:
        """After its layer; one that the engine put in has none but that of its weights."""
        own = _clean(node.name, self.layers, self.doubled)
        if "/" in own:
            return own
        for name in node.input:
            scope, slash, _ = _clean(name, self.layers, self.doubled).partition("/")
            if name in weights and slash:
                return f"{scope}/{node.op_type}"
        return str(node.op_type)


def layer_of(name: str, layers: frozenset[str], *, doubled: bool) -> str:
    """The layer that a scope in a TensorFlow graph belongs to; '' where it is none.

    TensorFlow numbers a scope that is entered again, and Keras 3 enters each twice (`doubled`), the
    first time to build it: the ops of a layer 'conv' are under 'conv_1', and those of a layer
    'conv_1' under 'conv_1_2'.
    """
    stem = re.sub(r"_\d+$", "", name)
    order = (stem, name) if doubled else (name, stem)
    return next((found for found in order if found in layers), "")


def _clean(name: str, layers: frozenset[str], doubled: bool) -> str:
    """'model_1/conv_1/BiasAdd__7:0' becomes 'conv/BiasAdd'."""
    *scopes, last = _plain(name).split("/")
    found = [layer_of(scope, layers, doubled=doubled) for scope in scopes]
    first = next((place for place, layer in enumerate(found) if layer), 0)
    parts = [layer or scope for scope, layer in zip(scopes[first:], found[first:], strict=True)]
    return "/".join([*parts, last])


def _plain(name: str) -> str:
    """Without the engine's counters, a Python object's address, and the number of the output."""
    return _OUTPUT.sub("", _COUNTER.sub("", _ADDRESS.sub("einsum", name)))


def _fresh(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    taken.add(candidate)
    return candidate


def _inner(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _apply(graph: Any, tensors: dict[str, str]) -> None:
    for item in (*graph.input, *graph.output, *graph.initializer):
        item.name = tensors.get(item.name, item.name)
    for node in graph.node:
        node.input[:] = [tensors.get(name, name) for name in node.input]
        node.output[:] = [tensors.get(name, name) for name in node.output]
        for inner in _inner(node):
            _apply(inner, tensors)
    _sort_initializers(graph)


def _sort_initializers(graph: Any) -> None:
    """In the order of their first use: how a dict was filled is not part of a model."""
    place: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            place.setdefault(name, len(place))
    last = len(place)
    ordered = sorted(graph.initializer, key=lambda item: (place.get(item.name, last), item.name))
    del graph.initializer[:]
    graph.initializer.extend(ordered)
