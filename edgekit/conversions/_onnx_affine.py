"""Takes what follows a layer channel by channel (BatchNorm, Mul, Add) into its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["fold_affine"]

_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm"})


def fold_affine(graph: Any) -> int:
    """Folds, in place, and says how many nodes are gone.

    TensorFlow writes an inference BatchNorm as a Mul and an Add behind the layer. Folded it costs
    nothing, and a quantizer sees the layer's real range. Computed in float64.
    """
    folded = 0
    while (found := next(_pairs(graph), None)) is not None:
        chain, after, scale, shift = found
        _absorb(graph, chain.layer, scale, shift)
        chain.last.output[0] = after.output[0]
        graph.node.remove(after)
        folded += 1
    if folded:
        _drop_unused(graph)
    return folded


@dataclass(frozen=True)
class _Chain:
    """A layer, or one whose output a Squeeze takes alone, as behind a Conv1D; and its rank."""

    layer: Any
    last: Any
    rank: int


def _pairs(graph: Any) -> Iterator[tuple[_Chain, Any, Array, Array]]:
    """A layer, what follows it alone, and the factor and the summand of each channel."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in _reads(node))
    uses.update(value.name for value in graph.output)
    chains = _chains(graph, weights, uses)
    for after in graph.node:
        for place, name in enumerate(after.input):
            chain = chains.get(name)
            affine = None if chain is None else _affine(after, place, chain, weights)
            if chain is not None and affine is not None:
                yield chain, after, *affine


def _chains(graph: Any, weights: dict[str, Any], uses: Counter[str]) -> dict[str, _Chain]:
    """By the name of their output, those that one node alone reads."""
    found: dict[str, _Chain] = {}
    for node in graph.node:
        if node.op_type in _LAYERS and _is_plain(node, weights):
            found[node.output[0]] = _Chain(node, node, len(weights[node.input[1]].dims))
        elif node.op_type == "Squeeze" and node.input[0] in found:
            before, axes = found[node.input[0]], weights.get((*node.input, "")[1])
            places = [] if axes is None else _values(axes).tolist()
            if uses[node.input[0]] == 1 and places and min(places) >= 2:
                found[node.output[0]] = _Chain(before.layer, node, before.rank - len(places))
    return {name: chain for name, chain in found.items() if uses[name] == 1}


def _reads(node: Any) -> Iterator[str]:
    """What a node reads, its inner graphs too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in [attribute.g] * attribute.HasField("g") + list(attribute.graphs):
            yield from (value.name for value in inner.output)
            for found in inner.node:
                yield from _reads(found)


def _is_plain(layer: Any, weights: dict[str, Any]) -> bool:
    """Its weights are constants, and nothing is scaled or summed in an unusual way."""
    settings = {item.name: item for item in layer.attribute}
    if any(name not in weights for name in layer.input[1:] if name):
        return False
    if layer.op_type == "ConvTranspose":
        return "group" not in settings or settings["group"].i == 1
    if layer.op_type == "Gemm":
        factors = [settings[name].f for name in ("alpha", "beta") if name in settings]
        bias = weights[layer.input[2]].dims if len(layer.input) > 2 else [0]
        return all(factor == 1.0 for factor in factors) and len(bias) == 1
    return True


def _affine(
    after: Any, place: int, chain: _Chain, weights: dict[str, Any]
) -> tuple[Array, Array] | None:
    import numpy as np

    channels = weights[chain.layer.input[1]].dims[_channel_axis(chain.layer)]
    if after.op_type == "BatchNormalization" and place == 0:
        return _batch_norm(after, weights)
    if after.op_type not in ("Mul", "Add", "Sub", "Div") or len(after.input) != 2:
        return None
    if place == 1 and after.op_type in ("Sub", "Div"):
        return None
    other = weights.get(after.input[1 - place])
    values = None if other is None else _per_channel(other, channels, chain.rank)
    if values is None or (after.op_type == "Div" and not np.all(values)):
        return None
    ones, zeros = np.ones(channels), np.zeros(channels)
    match after.op_type:
        case "Mul":
            return values, zeros
        case "Div":
            return 1 / values, zeros
        case "Add":
            return ones, values
        case _:
            return ones, -values


def _batch_norm(node: Any, weights: dict[str, Any]) -> tuple[Array, Array] | None:
    import numpy as np

    if any(name not in weights for name in node.input[1:]) or len(node.output) > 1:
        return None
    gamma, beta, mean, variance = (_values(weights[name]) for name in node.input[1:])
    epsilon = next((item.f for item in node.attribute if item.name == "epsilon"), 1e-5)
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale


def _per_channel(tensor: Any, channels: int, rank: int) -> Any:
    """A constant that is one value, or one for each channel (axis 1) of an output of this rank."""
    import numpy as np

    values = _values(tensor)
    if values.ndim > rank:
        return None
    if values.size == 1:
        return np.full(channels, values.reshape(()))
    shape = (1,) * (rank - values.ndim) + values.shape
    fits = all(size == (channels if axis == 1 else 1) for axis, size in enumerate(shape))
    return values.reshape(channels) if fits else None


def _absorb(graph: Any, layer: Any, scale: Any, shift: Any) -> None:
    """Gives the layer new weights; the old ones may be another layer's too."""
    import numpy as np
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    kernel = weights[layer.input[1]]
    axis = _channel_axis(layer)
    along = [-1 if i == axis else 1 for i in range(len(kernel.dims))]
    had: list[str] = [*layer.input, "", ""][:3]
    bias: Any = _values(weights[had[2]]) if had[2] else np.zeros(len(scale))
    dtype = numpy_helper.to_array(kernel).dtype
    for place, name, values in (
        (1, kernel.name, _values(kernel) * scale.reshape(along)),
        (2, had[2] or f"{kernel.name}_bias", bias * scale + shift),
    ):
        fresh = name
        while fresh in weights:
            fresh += "_folded"
        graph.initializer.append(numpy_helper.from_array(values.astype(dtype), fresh))
        had[place] = fresh
    layer.input[:] = had


def _channel_axis(layer: Any) -> int:
    if layer.op_type == "Conv":
        return 0
    transposed = any(item.name == "transB" and item.i for item in layer.attribute)
    return 0 if transposed else 1


def _values(tensor: Any) -> Any:
    import numpy as np
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor).astype(np.float64)


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in _reads(node)}
    used |= {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
