"""Equalizes the weight ranges of Keras models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Models, Work
from edgekit.errors import PromiseError
from edgekit.frameworks.keras import save_keras
from edgekit.frameworks.layer_graph import open_layers
from edgekit.frameworks.likeness import relative_difference
from edgekit.lazy import version
from edgekit.techniques.equalize import Parameters
from edgekit.techniques.equalize._factors import (
    equalize,
    mismatch,
    ratio,
    taken_peaks,
    weights_of,
)
from edgekit.techniques.equalize._pairs import Pair, find_pairs

__all__ = ["apply", "check", "verify", "versions"]

_PROBES = 16
_TOLERANCE = 1e-4
_SLACK = 1.001
"""Rounding to float32 may move a ratio that was equal before."""


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return {name: version(name) for name in ("tensorflow", "keras", "numpy")}


def check(parameters: Parameters, source: Artifact, models: Models) -> None:
    """Raises UsageError for a model without layers; one without pairs is left as it is."""
    open_layers(source.path)


def apply(parameters: Parameters, source: Artifact, work: Work) -> None:
    """Writes the model with equal ranges in all pairs."""
    model = open_layers(source.path)
    pairs, _ = find_pairs(model)
    weights = weights_of(model, pairs)
    equalize(weights, pairs, parameters)
    for name, held in weights.items():
        held.store(model.get_layer(name))
    save_keras(model, work.output)


def verify(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where a pair is less equal than before, or the outputs changed."""
    model = open_layers(source.path)
    pairs, left = find_pairs(model)
    if not pairs:
        work.note("nothing to equalize", "the model", "no two of its layers make a pair")
    for item, reason in left:
        work.note("skipped", item, reason)
    _prove_ranges(model, open_layers(result.path), pairs, work)
    probes = work.probes(_PROBES)
    apart = relative_difference(work.predict(source, probes), work.predict(result, probes))
    found = f"the largest relative difference is {apart:.2g} on {len(probes[0])} probes"
    if not apart <= _TOLERANCE:
        raise PromiseError(f"equalize: the outputs changed: {found}, above {_TOLERANCE:g}")
    work.evidence("proven", "outputs are unchanged", found)


def _prove_ranges(old: Any, new: Any, pairs: Sequence[Pair], work: Work) -> None:
    before, after = weights_of(old, pairs), weights_of(new, pairs)
    for pair in pairs:
        first, second = pair.first.name, pair.second.name
        was, now = mismatch(before, pair), mismatch(after, pair)
        if now > was * _SLACK:
            raise PromiseError(
                f"equalize: '{first}' and '{second}' are further apart than before: "
                f"{was:.4g} -> {now:.4g} times"
            )
        made = [ratio(held[first].output_peaks()) for held in (before, after)]
        taken = [ratio(taken_peaks(held, pair)) for held in (before, after)]
        work.evidence(
            "equalized",
            f"'{first}' and '{second}'",
            f"channel ranges (largest over smallest) {made[0]:.3g} -> {made[1]:.3g} in the "
            f"first and {taken[0]:.3g} -> {taken[1]:.3g} in the second; the two differ by at "
            f"most {was:.3g} -> {now:.3g} times",
        )
