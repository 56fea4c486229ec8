"""What a rewrite of a graph has made so far, and what it makes new nodes and constants with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize._onnx_model import require, unique, visits

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["Rewriter", "attributes_of", "copied", "names_of"]


@dataclass
class Rewriter:
    """What was made so far: names in use, narrow tensors by graph, source and
    layout, shared nodes."""

    parameters: Parameters
    folder: Path
    taken: set[str]
    made: dict[tuple[int, str, str], tuple[str, ...]] = field(default_factory=dict)
    activations: dict[tuple[int, str], tuple[str, ...]] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)

    def add(self, graph: Any, name: str, values: Array) -> str:
        """A new constant; returns its name."""
        import numpy as np

        tensor = graph.initializer.add()
        tensor.name, tensor.data_type = unique(name, self.taken), _code_of(values)
        tensor.dims.extend(values.shape)
        tensor.raw_data = np.ascontiguousarray(values).tobytes()
        return str(tensor.name)

    def node(self, kind: str, inputs: Iterable[str], like: str, **attributes: Any) -> Any:
        """A new node with one output, which has the node's name."""
        name = unique(like, self.taken)
        return require("onnx.helper").make_node(kind, list(inputs), [name], name, **attributes)


def copied(node: Any) -> Any:
    """A copy of a node, with the graphs inside it."""
    made = type(node)()
    made.CopyFrom(node)
    return made


def names_of(model: Any) -> set[str]:
    """Every name in use, of any graph."""
    found = {item.name for item in (*model.graph.input, *model.graph.initializer)}
    for visit in visits(model):
        found |= {visit.node.name, *visit.node.input, *visit.node.output}
        found |= {tensor.name for tensor in visit.graph.initializer}
    return found


def _code_of(values: Array) -> int:
    return int(require("onnx.helper").np_dtype_to_tensor_dtype(values.dtype))


def attributes_of(node: Any) -> dict[str, Any]:
    """The values of a node's attributes by name."""
    helper = require("onnx.helper")
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}
