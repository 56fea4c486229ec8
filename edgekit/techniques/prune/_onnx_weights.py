"""The weights of an ONNX model that pruning treats, and why the others are left alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError, did_you_mean
from edgekit.frameworks.onnx_files import all_graphs
from edgekit.frameworks.sparsity import matching
from edgekit.techniques.prune import Parameters

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["Plan", "Weight", "from_kernel", "make_plan", "node_names", "to_kernel"]

_PLACES = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
"""The input that holds the weights. That of a MatMul may also be its first."""
_FLOATS = {1: "float32", 10: "float16", 11: "float64"}


@dataclass(frozen=True)
class Weight:
    """One initializer, with the nodes that use it, the first of which says how it lies."""

    name: str
    kind: str
    nodes: tuple[str, ...]
    shape: tuple[int, ...]
    turned: bool = False
    is_depthwise: bool = False
    other_use: str = ""
    dtype: int = 1

    @property
    def item(self) -> str:
        """`Conv 'name'`, as notes have it."""
        more = f" and {len(self.nodes) - 1} more" if len(self.nodes) > 1 else ""
        return f"{self.kind} '{self.nodes[0]}'{more}"

    @property
    def size(self) -> int:
        """How many weights it has."""
        return prod(self.shape)


@dataclass(frozen=True)
class Plan:
    """What is pruned to which share of zeros, and what is left alone with the reason."""

    weights: tuple[tuple[Weight, float], ...]
    skipped: tuple[tuple[str, str], ...]


def make_plan(parameters: Parameters, model: Any) -> Plan:
    """Sorts the weights of a model into pruned and left alone.

    Raises:
        UsageError: a name pattern matches no node, or there is nothing to prune.
    """
    names = node_names(model)
    _check_patterns("skip", parameters.skip, names)
    found = tuple(_weights(model))
    users = tuple(name for weight in found for name in weight.nodes)
    _check_patterns("layer_sparsity", tuple(parameters.layer_sparsity), users)
    reasons = [_reason(parameters, weight) for weight in found]
    left = tuple((w.item, reason) for w, reason in zip(found, reasons, strict=True) if reason)
    treated = tuple(
        (weight, _share(parameters, weight))
        for weight, reason in zip(found, reasons, strict=True)
        if not reason
    )
    if not treated:
        shown = "; ".join(f"{item}: {reason}" for item, reason in left[:3])
        raise UsageError(
            f"prune: the model has no weights to prune{f' ({shown})' if shown else ''}",
            hint="change skip, min_weights or structure, or leave this step out",
        )
    return Plan(treated, (*left, *_others(parameters, model, found)))


def node_names(model: Any) -> tuple[str, ...]:
    """What patterns match: node names; a node without one goes by its first output."""
    return tuple(_name(node) for graph in all_graphs(model) for node in graph.node)


def to_kernel(weight: Weight, values: Array) -> Array:
    """The values with the axes (..., inputs, outputs), as in Keras."""
    import numpy as np

    if weight.kind == "Conv":
        return np.moveaxis(values, (1, 0), (-2, -1))
    if weight.kind == "ConvTranspose":
        return np.moveaxis(values, (0, 1), (-2, -1))
    return np.swapaxes(values, -1, -2) if weight.turned else values


def from_kernel(weight: Weight, kernel: Array) -> Array:
    """The inverse of `to_kernel`."""
    import numpy as np

    if weight.kind == "Conv":
        return np.moveaxis(kernel, (-2, -1), (1, 0))
    if weight.kind == "ConvTranspose":
        return np.moveaxis(kernel, (-2, -1), (0, 1))
    return np.swapaxes(kernel, -1, -2) if weight.turned else kernel


def _weights(model: Any) -> Iterator[Weight]:
    """Each initializer that is the weight of some node, once, in the order of the nodes."""
    tensors = {t.name: t for graph in all_graphs(model) for t in graph.initializer}
    users: dict[str, list[Any]] = {}
    others: dict[str, Any] = {}
    for graph in all_graphs(model):
        for node in graph.node:
            own = _weight_of(node, tensors)
            if own:
                users.setdefault(own, []).append(node)
            for name in node.input:
                if name in tensors and name != own:
                    others[name] = node
        others |= {value.name: value for value in graph.output if value.name in tensors}
    for name, nodes in users.items():
        first, tensor = nodes[0], tensors[name]
        settings = {a.name: a.i for a in first.attribute}
        shape, other = tuple(tensor.dims), others.get(name)
        yield Weight(
            name,
            first.op_type,
            tuple(_name(node) for node in nodes),
            shape,
            turned=_is_turned(first, name, settings),
            is_depthwise=_is_depthwise(first.op_type, shape, settings.get("group", 1)),
            other_use="" if other is None else _name(other),
            dtype=tensor.data_type,
        )


def _others(
    parameters: Parameters, model: Any, found: tuple[Weight, ...]
) -> Iterator[tuple[str, str]]:
    """Large initializers that are the weights of no op that is pruned: tables of a Gather, say."""
    known = {weight.name for weight in found}
    for graph in all_graphs(model):
        kinds = {name: node.op_type for node in graph.node for name in node.input}
        for tensor in graph.initializer:
            dims = tuple(tensor.dims)
            is_weight = tensor.data_type in _FLOATS and len(dims) > 1
            if tensor.name not in known and is_weight and prod(dims) >= parameters.min_weights:
                kind = kinds.get(tensor.name, "no op here")
                yield f"'{tensor.name}'", f"weights of {kind} are none that pruning treats"


def _weight_of(node: Any, tensors: dict[str, Any]) -> str:
    """The name of the initializer that is a node's weight; '' where it has none."""
    place = _PLACES.get(node.op_type)
    if place is None or node.domain not in ("", "ai.onnx"):
        return ""
    places = (place, 0) if node.op_type == "MatMul" else (place,)
    for at in places:
        name: str = node.input[at] if at < len(node.input) else ""
        if name in tensors and len(tensors[name].dims) > 1:
            return name
    return ""


def _is_turned(node: Any, name: str, settings: dict[str, int]) -> bool:
    """Its outputs come before its inputs: a transposed Gemm, or what a MatMul has at the left."""
    if node.op_type == "Gemm":
        return bool(settings.get("transB", 0))
    return bool(node.op_type == "MatMul" and node.input[1] != name)


def _is_depthwise(kind: str, shape: tuple[int, ...], groups: int) -> bool:
    return kind.startswith("Conv") and groups > 1 and shape[1] == 1


def _name(item: Any) -> str:
    outputs = getattr(item, "output", ())
    return str(item.name or next((name for name in outputs if name), ""))


def _share(parameters: Parameters, weight: Weight) -> float:
    own = parameters.layer_sparsity
    found = (own[p] for p in own for name in weight.nodes if fnmatchcase(name, p))
    return next(found, parameters.sparsity)


def _reason(parameters: Parameters, weight: Weight) -> str:
    """Why a weight is left alone; '' where it is not."""
    if any(matching(name, parameters.skip) for name in weight.nodes):
        return "left dense, as skip says"
    if _share(parameters, weight) == 0:
        return "left dense, as layer_sparsity says"
    if weight.dtype not in _FLOATS:
        return "its weights are no float32, float16 or float64 numbers"
    if weight.other_use:
        return f"'{weight.other_use}' uses its weights too, in another role"
    if weight.is_depthwise:
        return "a depthwise kernel has few weights, and the net loses most by them"
    if weight.size < parameters.min_weights:
        return f"its {weight.size} weights are fewer than min_weights = {parameters.min_weights}"
    if parameters.structure == "block":
        return _no_blocks(parameters, weight)
    return _no_groups(weight) if parameters.structure == "2:4" else ""


def _no_blocks(parameters: Parameters, weight: Weight) -> str:
    if len(weight.shape) != 2:
        return f"blocks are of weights with two axes, and these have {len(weight.shape)}"
    shape = weight.shape[::-1] if weight.turned else weight.shape
    if any(size <= side for size, side in zip(shape, parameters.block, strict=True)):
        return f"its shape {shape[0]} x {shape[1]} does not hold two blocks along each axis"
    return ""


def _no_groups(weight: Weight) -> str:
    """Runtimes read groups along the input channels."""
    if weight.kind == "ConvTranspose":
        return "groups of four input channels are not defined for ConvTranspose"
    inputs = weight.shape[1] if weight.kind == "Conv" or weight.turned else weight.shape[-2]
    if inputs <= 2:
        return f"with {inputs} input channels no group has more than two weights"
    return ""


def _check_patterns(key: str, patterns: tuple[str, ...], names: tuple[str, ...]) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(
                f"{key}: no node matches '{pattern}'",
                hint=did_you_mean(pattern, dict.fromkeys(names)),
            )
