"""Which layers follow each other so that a factor can be moved from one to the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgekit.frameworks.layer_graph import Call, LayerGraph, layer_graph, title
from edgekit.frameworks.layer_weights import activation_of, has_channels, why_not

__all__ = ["Pair", "find_pairs"]

_HOMOGENEOUS = frozenset({"linear", "relu", "leaky_relu"})
"""f(s * x) = s * f(x) for every s > 0."""
_DROPOUTS = frozenset(
    {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout"}
    | {"GaussianNoise", "AlphaDropout", "ActivityRegularization"}
)
_ALIKE: tuple[str, ...] = (
    "MaxPooling",
    "AveragePooling",
    "GlobalMaxPooling",
    "GlobalAveragePooling",
)
_ALIKE += ("ZeroPadding", "Cropping", "UpSampling")
"""Beginnings of the names of layers that treat every channel alike and for itself."""
_RESHAPES = frozenset({"Flatten", "Reshape"})


@dataclass(frozen=True, eq=False)
class Pair:
    """Two layers with nothing between them that does not pass factors on.

    Input channel `i` of the second is output channel `i % outputs` of the first: flattening puts
    the channels of all positions one after the other.
    """

    first: Any
    second: Any


def find_pairs(model: Any) -> tuple[list[Pair], list[tuple[str, str]]]:
    """The pairs of a model, and (title, reason) of layers that have no partner."""
    graph = layer_graph(model)
    pairs, left = [], []
    for layer in dict.fromkeys(call.layer for call in graph.calls):
        if not has_channels(layer):
            continue
        found = _partner(graph, layer)
        if isinstance(found, str):
            left.append((title(layer), found))
        elif found is not None:
            pairs.append(Pair(layer, found))
    return pairs, left


def _partner(graph: LayerGraph, first: Any) -> Any:
    """The second layer of the pair, or the reason why there is none; None for a last layer."""
    calls = graph.calls_of(first)
    if all(not graph.users(tensor) for call in calls for tensor in call.outputs):
        return None
    if len(calls) > 1 or why_not(first):
        return why_not(first) or f"it is used {len(calls)} times"
    activation = activation_of(first)
    if activation not in _HOMOGENEOUS:
        return _stopped(f"its activation {activation or 'without a name'}", activation)
    call, channels = calls[0], int(first.output.shape[-1])
    while True:
        reason, user = _next(graph, call)
        if user is None:
            return reason
        if has_channels(user.layer):
            return _second(graph, user.layer, channels)
        reason = _obstacle(user.layer, channels)
        if reason:
            return reason
        if not graph.users(user.outputs[0]):
            return None
        call = user


def _next(graph: LayerGraph, call: Call) -> tuple[str, Call | None]:
    user = graph.only_user(call)
    if user is None:
        where = "of the model" if call.outputs[0] in graph.outputs else "into several layers"
        return f"branching: the output of '{call.layer.name}' goes out {where}", None
    if len(user.inputs) > 1:
        return f"{title(user.layer)} takes other inputs too", None
    return "", user


def _second(graph: LayerGraph, layer: Any, channels: int) -> Any:
    if why_not(layer) or len(graph.calls_of(layer)) > 1:
        return why_not(layer) or f"'{layer.name}' after it is used several times"
    if int(layer.input.shape[-1]) % channels:
        return f"the channels of '{layer.name}' after it are not its own"
    return layer


def _stopped(what: str, activation: str) -> str:
    clip = ": its 6 would be another number for each channel" if activation == "relu6" else ""
    return f"{what} does not pass factors on{clip}"


def _obstacle(layer: Any, channels: int) -> str:
    """Why factors do not go through a layer, '' where they do."""
    kind = type(layer).__name__
    if kind == "BatchNormalization":
        return f"BatchNormalization '{layer.name}' is between: fold-batchnorm first"
    if kind == "Activation" and activation_of(layer) in _HOMOGENEOUS:
        return ""
    if kind == "Activation":
        return _stopped(f"activation {activation_of(layer)} '{layer.name}'", activation_of(layer))
    if kind == "ReLU" and (layer.max_value is not None or layer.threshold):
        known = "relu6" if layer.max_value == 6 and not layer.threshold else ""
        clip = f"clips at {layer.max_value:g}" if layer.max_value is not None else "has a threshold"
        return _stopped(f"ReLU '{layer.name}', which {clip},", known)
    if kind in _RESHAPES and int(layer.output.shape[-1] or 1) % channels:
        return f"{title(layer)} tears the channels apart"
    known_kind = kind in {"ReLU", "LeakyReLU", "PReLU"} | _DROPOUTS | _RESHAPES
    if not (known_kind or kind.startswith(_ALIKE)):
        return f"{title(layer)} is not known to pass factors on"
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return f"{title(layer)} has its channels first"
    return ""
