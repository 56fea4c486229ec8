"""Which layer of a Keras 3 model feeds which: for techniques that look at layers together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.frameworks.rebuild import rebuild

__all__ = ["Call", "LayerGraph", "layer_graph", "open_layers", "title"]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer (or bare operation); `inputs` and `outputs` are tensor keys."""

    layer: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class LayerGraph:
    """The calls of a model in execution order, and the keys of the tensors that it returns."""

    calls: tuple[Call, ...]
    outputs: frozenset[int]

    def calls_of(self, layer: Any) -> list[Call]:
        """The calls of one layer; more than one where it is shared."""
        return [call for call in self.calls if call.layer is layer]

    def maker(self, tensor: int) -> Call | None:
        """The call that makes a tensor, None for an input of the model."""
        return next((call for call in self.calls if tensor in call.outputs), None)

    def users(self, tensor: int) -> list[Call]:
        """The calls that take a tensor."""
        return [call for call in self.calls if tensor in call.inputs]

    def only_user(self, call: Call) -> Call | None:
        """The one call that takes the one output of `call`; None where there is none or more, or
        where the model returns that output too."""
        if len(call.outputs) != 1 or call.outputs[0] in self.outputs:
            return None
        users = self.users(call.outputs[0])
        return users[0] if len(users) == 1 else None


def layer_graph(model: Any) -> LayerGraph:
    """The graph of a functional model without nested ones, as `rebuild` makes it."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    nodes = [node for depth in depths for node in model._nodes_by_depth[depth]]
    return LayerGraph(
        tuple(
            Call(
                node.operation,
                tuple(id(tensor) for tensor in node.input_tensors),
                tuple(id(tensor) for tensor in node.outputs),
            )
            for node in nodes
            if node.operation is not None and not node.is_input
        ),
        frozenset(id(tensor) for tensor in model.outputs),
    )


def title(layer: Any) -> str:
    """What notes call a layer."""
    return f"{type(layer).__name__} '{layer.name}'"


def open_layers(path: Path) -> Any:
    """Opens a Keras file as a functional Keras 3 model without nested models.

    Raises:
        UsageError: it cannot be opened, or holds no layers.
    """
    from edgekit.frameworks.bridge import load_trainable

    try:
        # Made again, so that what cannot be is found before any work.
        return rebuild(load_trainable(path), {})
    except (ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"{path}: its layers cannot be taken apart: {reason}") from None
