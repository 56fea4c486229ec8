"""Walks a Keras 3 functional graph and follows the channels of every tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from edgekit.frameworks._channel_labels import Labels
from edgekit.frameworks._channel_rules import BlockedError, Call, Layer, rule_for
from edgekit.frameworks.rebuild import functional

if TYPE_CHECKING:
    from edgekit.frameworks._channel_labels import Vector

__all__ = ["trace"]


def trace(model: Any, skip: Sequence[str]) -> tuple[dict[str, Layer], Labels]:
    """The layers by name in the order of the graph, and what is known of their channels."""
    graph, walk = functional(model), _Walk(skip)
    for node in _nodes(graph):
        walk.visit(node)
    for tensor in graph.outputs:
        walk.pin(tensor, "it is an output of the model", above_all=True)
    return walk.layers, walk.labels


def _nodes(graph: Any) -> Iterator[Any]:
    by_depth = graph._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        yield from by_depth[depth]


class _Walk:
    """One pass over the graph; `channels` are those of the last axis of each tensor, by its id."""

    def __init__(self, skip: Sequence[str]) -> None:
        self._skip = skip
        self._channels: dict[int, Vector] = {}
        self.layers: dict[str, Layer] = {}
        self.labels = Labels()

    def visit(self, node: Any) -> None:
        """Follows the channels through one call of a layer."""
        if node.is_input:
            for tensor in node.outputs:
                self._start(tensor, "it is an input of the model")
            return
        layer = self.layers.setdefault(node.operation.name, Layer(node.operation))
        _add_positions(layer, node)
        try:
            made = self._apply(layer, node)
        except BlockedError as error:
            self._block(layer, node, str(error))
            return
        self._channels[id(node.outputs[0])] = made
        pattern = next((p for p in self._skip if fnmatchcase(node.operation.name, p)), None)
        if pattern is not None:
            self.labels.pin(made, f"skip has '{pattern}'")

    def pin(self, tensor: Any, reason: str, *, above_all: bool = False) -> None:
        """Keeps the channels of a tensor."""
        channels = self._channels.get(id(tensor))
        if channels is not None:
            self.labels.pin(channels, reason, above_all=above_all)

    def _apply(self, layer: Layer, node: Any) -> Vector:
        rule = rule_for(layer.layer)
        found = [self._channels.get(id(tensor)) for tensor in node.input_tensors]
        inputs = [channels for channels in found if channels is not None]
        if not inputs or len(inputs) < len(found) or len(node.outputs) != 1:
            raise BlockedError(f"{layer.kind} on a tensor without a known last axis")
        shapes = [tuple(tensor.shape[1:]) for tensor in node.input_tensors]
        output = tuple(node.outputs[0].shape[1:])
        return rule(Call(layer, self.labels, inputs, shapes, output, _constants(node)))

    def _block(self, layer: Layer, node: Any, reason: str) -> None:
        """Keeps all channels that the layer reads or makes."""
        where = f"{reason} ('{layer.layer.name}')"
        for tensor in node.input_tensors:
            self.pin(tensor, where)
        for channels in (*layer.weights.values(), *layer.config.values()):
            self.labels.pin(channels, where)
        for tensor in node.outputs:
            self._start(tensor, where)

    def _start(self, tensor: Any, reason: str) -> None:
        """New channels that stay; none where the last axis has no known size."""
        shape = tuple(tensor.shape)
        if len(shape) > 1 and shape[-1] is not None:
            self._channels[id(tensor)] = self.labels.fresh(int(shape[-1]))
            self.pin(tensor, reason)


def _constants(node: Any) -> list[Any]:
    """The arguments of a call that are no tensors of the graph."""
    given = [*node.arguments.args, *node.arguments.kwargs.values()]
    flat = [item for value in given for item in (value if isinstance(value, list) else [value])]
    return [item for item in flat if not hasattr(item, "_keras_history")]


def _add_positions(layer: Layer, node: Any) -> None:
    """Counts where the kernels are applied: in the input where they spread, else in the output."""
    tensor = node.input_tensors[0] if "Transpose" in layer.kind else node.outputs[0]
    shape = list(tensor.shape)[1:]
    if not shape or layer.positions is None:
        return
    del shape[0 if getattr(layer.layer, "data_format", None) == "channels_first" else -1]
    layer.positions = None if None in shape else layer.positions + math.prod(shape)
