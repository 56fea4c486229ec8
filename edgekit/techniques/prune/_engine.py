"""Prunes in training with tensorflow-model-optimization: ramp, wrapping, masks, unwrapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.frameworks.bridge import import_tfmot, to_tf_keras
from edgekit.frameworks.keras import import_tf_keras, quiet
from edgekit.techniques.prune import Parameters
from edgekit.techniques.prune._plan import Goal, block_of

__all__ = ["Ramp", "callback", "ramp_over", "stripped", "wrapped"]

_UPDATES = 32
"""How often the masks are renewed on the ramp: each time sorts all weights of a kernel, and the
steps of a cube in 32 parts are small."""


@dataclass(frozen=True)
class Ramp:
    """The steps, counted from 1, between which masks are renewed, and every how many of them.

    `end` is always hit: `end - begin` is a multiple of `every`. The engine's default of every 100
    steps prunes nothing, without a word, where a training is shorter.
    """

    begin: int
    end: int
    every: int

    def first_full_epoch(self, steps_an_epoch: int) -> int:
        """The first epoch, from 1, after which all zeros are there."""
        return -(-self.end // steps_an_epoch)


def ramp_over(parameters: Parameters, steps: int) -> Ramp:
    """The ramp within a training of so many steps."""
    if parameters.structure == "2:4":
        return Ramp(1, 1, 1)
    begin = min(max(1, round(parameters.begin * steps)), steps)
    end = min(max(begin, round(parameters.end * steps)), steps)
    every = max(1, -(-(end - begin) // _UPDATES))
    return Ramp(begin, begin + (end - begin) // every * every, every)


def callback() -> Any:
    """What counts the steps for the engine, and sets the zeros after each epoch."""
    return import_tfmot("prune").sparsity.keras.UpdatePruningStep()


def wrapped(model: Any, parameters: Parameters, goals: Mapping[str, Goal], ramp: Ramp) -> Any:
    """A tf_keras copy of a Keras 3 model whose layers in `goals` prune themselves in training."""
    sparsity, tf_keras = import_tfmot("prune").sparsity.keras, import_tf_keras("prune")
    blocks = block_of(parameters) if parameters.structure == "block" else (1, 1)
    groups = (2, 4) if parameters.structure == "2:4" else None

    def wrap(layer: Any) -> Any:
        if layer.name not in goals:
            return layer
        return sparsity.prune_low_magnitude(
            layer,
            pruning_schedule=_schedule(sparsity, parameters, goals[layer.name], ramp),
            block_size=blocks,
            sparsity_m_by_n=groups,
        )

    with quiet():
        made = tf_keras.models.clone_model(to_tf_keras(model), clone_function=wrap)
    for layer in _wrappers(made):
        for weight, mask, _ in layer.pruning_vars:
            # Zeros from earlier steps must not grow back before the first renewal.
            mask.assign((weight.numpy() != 0).astype(mask.dtype.as_numpy_dtype))
    return made


def stripped(model: Any) -> Any:
    """The trained model without wrappers, its masked weights exactly 0."""
    import numpy as np

    for layer in _wrappers(model):
        for weight, mask, _ in layer.pruning_vars:
            # Not the product: half of the zeros would be -0, other bytes, and compress worse.
            weight.assign(np.where(mask.numpy() != 0, weight.numpy(), 0))
    with quiet():
        return import_tfmot("prune").sparsity.keras.strip_pruning(model)


def _wrappers(model: Any) -> list[Any]:
    return [layer for layer in model.layers if hasattr(layer, "pruning_obj")]


def _schedule(sparsity: Any, parameters: Parameters, goal: Goal, ramp: Ramp) -> Any:
    if goal.wanted <= goal.present:
        # As sparse already: its zeros are fixed in the first step.
        return sparsity.ConstantSparsity(goal.wanted, begin_step=1, end_step=1, frequency=1)
    if parameters.ramp == "constant" or ramp.end == ramp.begin:
        return sparsity.ConstantSparsity(
            goal.wanted, begin_step=ramp.begin, end_step=ramp.end, frequency=ramp.every
        )
    return sparsity.PolynomialDecay(
        initial_sparsity=goal.present,
        final_sparsity=goal.wanted,
        begin_step=ramp.begin,
        end_step=ramp.end,
        frequency=ramp.every,
    )
