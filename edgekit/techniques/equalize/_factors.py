"""The factors that make the ranges of all pairs equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.frameworks.layer_weights import LayerWeights
from edgekit.techniques.equalize import Parameters
from edgekit.techniques.equalize._pairs import Pair

if TYPE_CHECKING:
    from edgekit.frameworks.layer_weights import Floats

__all__ = ["equalize", "mismatch", "ratio", "taken_peaks", "weights_of"]

_CONVERGED = 1e-3


def weights_of(model: Any, pairs: Sequence[Pair]) -> dict[str, LayerWeights]:
    """The weights of all layers in pairs, by name, as they are in `model`."""
    names = dict.fromkeys(layer.name for pair in pairs for layer in (pair.first, pair.second))
    return {name: LayerWeights(model.get_layer(name)) for name in names}


def equalize(
    weights: Mapping[str, LayerWeights], pairs: Sequence[Pair], parameters: Parameters
) -> None:
    """Changes the weights so that the ranges of each pair are equal."""
    import numpy as np

    ranges = {name: held.reduced() for name, held in weights.items()}
    totals = [np.ones(weights[pair.first.name].outputs) for pair in pairs]
    for _ in range(parameters.iterations):
        furthest = 0.0
        for index, pair in enumerate(pairs):
            wanted = totals[index] * _factors(ranges, pair)
            kept = np.clip(wanted, 1 / parameters.limit, parameters.limit)
            step = kept / totals[index]
            _move(ranges, pair, step)
            totals[index] = kept
            furthest = max(furthest, float(np.abs(np.log(step)).max()))
        if furthest < _CONVERGED:
            break
    for pair, total in zip(pairs, totals, strict=True):
        _move(weights, pair, total)


def taken_peaks(weights: Mapping[str, LayerWeights], pair: Pair) -> Floats:
    """The largest weight by which the second layer takes each output channel of the first."""
    peaks = weights[pair.second.name].input_peaks()
    taken: Floats = peaks.reshape(-1, weights[pair.first.name].outputs).max(0)
    return taken


def mismatch(weights: Mapping[str, LayerWeights], pair: Pair) -> float:
    """How many times apart making and taking weights are at most, over the channels in use."""
    import numpy as np

    made, taken = weights[pair.first.name].output_peaks(), taken_peaks(weights, pair)
    used = (made > 0) & (taken > 0)
    apart = np.abs(np.log(made[used] / taken[used]))
    return float(np.exp(apart.max(initial=0.0)))


def ratio(peaks: Floats) -> float:
    """The largest range over the smallest one that is not zero."""
    used = peaks[peaks > 0]
    return float(used.max() / used.min()) if len(used) else 1.0


def _factors(weights: Mapping[str, LayerWeights], pair: Pair) -> Floats:
    """sqrt(r1 / r2); 1 for a channel that nothing makes or nothing takes."""
    import numpy as np

    made, taken = weights[pair.first.name].output_peaks(), taken_peaks(weights, pair)
    used = (made > 0) & (taken > 0)
    factors: Floats = np.ones(len(made))
    factors[used] = np.sqrt(made[used] / taken[used])
    return factors


def _move(weights: Mapping[str, LayerWeights], pair: Pair, factors: Floats) -> None:
    import numpy as np

    second = weights[pair.second.name]
    weights[pair.first.name].scale_outputs(1 / factors)
    second.scale_inputs(np.tile(factors, second.inputs // len(factors)))
