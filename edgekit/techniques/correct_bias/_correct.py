"""Rounded copies of a model, and the biases that take the shift of their means out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.core.technique import Work
from edgekit.frameworks.layer_graph import layer_graph, title
from edgekit.frameworks.layer_weights import LayerWeights, has_channels, why_not
from edgekit.frameworks.rebuild import rebuild
from edgekit.techniques.correct_bias import Parameters
from edgekit.techniques.correct_bias._means import LayerMeans, measure

if TYPE_CHECKING:
    from edgekit.techniques.correct_bias._means import Batches

__all__ = ["correct", "rounded", "shift", "treated"]


def treated(model: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """Names of the layers to correct in the order of computation; (title, reason) of the others."""
    graph = layer_graph(model)
    names, left = [], []
    for layer in dict.fromkeys(call.layer for call in graph.calls):
        if not has_channels(layer):
            continue
        count = len(graph.calls_of(layer))
        reason = why_not(layer) or (f"it is used {count} times" if count > 1 else "")
        if reason:
            left.append((title(layer), reason))
        else:
            names.append(layer.name)
    return names, left


def rounded(model: Any, names: list[str], parameters: Parameters) -> Any:
    """A copy of the model whose weights have the values of integers."""
    made = rebuild(model, {})
    for name in names:
        weights = LayerWeights(made.get_layer(name))
        weights.round_to(parameters.bits, per_channel=parameters.per_channel)
        weights.store(made.get_layer(name))
    return made


def correct(model: Any, parameters: Parameters, batches: Batches, work: Work) -> Any:
    """A copy of the model whose biases fit the rounded weights."""
    names, _ = treated(model)
    weights = {name: LayerWeights(model.get_layer(name)) for name in names}
    made = rebuild(model, {name: held.config() for name, held in weights.items()})
    for name, held in weights.items():
        held.store(made.get_layer(name))
    wanted = measure(model, names, batches) if names else {}
    simulated = rounded(made, names, parameters)
    with work.progress("correct biases", len(names)) as bar:
        for name in names:
            found = measure(simulated, [name], batches)[name]
            change = wanted[name].channels - found.channels
            for each in (simulated, made):
                changed = LayerWeights(each.get_layer(name))
                changed.bias = changed.bias + change
                changed.store(each.get_layer(name))
            bar.advance()
    return made


def shift(wanted: Mapping[str, LayerMeans], found: Mapping[str, LayerMeans]) -> dict[str, float]:
    """By layer, the mean absolute shift of its channels' means over the layer's RMS."""
    import numpy as np

    return {
        name: float(np.mean(np.abs(found[name].channels - held.channels))) / (held.rms or 1.0)
        for name, held in wanted.items()
    }
