"""How much the loss would change without a channel, by its first-order Taylor expansion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.core.data import TrainingData
from edgekit.core.training import TrainingOptions
from edgekit.frameworks._hooks import load_hooks
from edgekit.frameworks._objectives import choose
from edgekit.frameworks._quiet import import_tensorflow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Places", "loss_changes"]

Places = tuple[tuple[int, int], ...]
"""(weight's index, axis) of a layer's weights that go with a channel."""


def loss_changes(
    model: Any,
    places: Mapping[str, Places],
    data: TrainingData,
    options: TrainingOptions,
    *,
    batches: int,
    seed: int,
    hooks: Mapping[str, Any],
) -> dict[str, NDArray[np.float64]]:
    """For each layer and channel, (sum of gradient x weight) squared, its mean over train batches.

    Molchanov et al., arXiv:1906.10771, equation 8. The model runs as in inference.
    """
    import numpy as np

    names = [(name, *place) for name, found in places.items() for place in found]
    weights = [model.get_layer(name).weights[weight].value for name, weight, _ in names]
    objective = choose(
        data, tuple(model.outputs[0].shape), options, own=load_hooks(options.hooks, hooks).loss
    )
    gradients = _gradients(model, weights, objective)
    totals: dict[str, Any] = dict.fromkeys(places, 0.0)
    for x, y in _batches(data, options.batch_size, batches, seed):
        changes: dict[str, Any] = dict.fromkeys(places, 0.0)
        for (name, _, axis), weight, gradient in zip(names, weights, gradients(x, y), strict=True):
            product = np.asarray(gradient, np.float64) * np.asarray(weight, np.float64)
            others = tuple(each for each in range(product.ndim) if each != axis)
            changes[name] = changes[name] + product.sum(axis=others)
        totals = {name: totals[name] + changes[name] ** 2 / batches for name in places}
    return totals


def _gradients(model: Any, weights: list[Any], objective: Any) -> Callable[..., list[Any]]:
    """The gradients of the mean loss as a compiled function of (inputs, labels)."""
    tf = import_tensorflow()

    @tf.function  # type: ignore[untyped-decorator]
    def gradients(x: list[Any], y: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            packed = tf.nest.pack_sequence_as(model._inputs_struct, x)
            outputs = tf.nest.flatten(model(packed, training=False))
            loss = tf.reduce_mean(objective.loss(y, outputs))
        return tape.gradient(loss, weights, unconnected_gradients="zero")

    return lambda x, y: [value.numpy() for value in gradients(x, y)]


def _batches(data: TrainingData, size: int, count: int, seed: int) -> Any:
    """Batches of train samples, drawn without replacement as far as there are enough."""
    import numpy as np

    samples = len(data.x_train[0])
    order = np.resize(np.random.default_rng(seed).permutation(samples), size * count)
    for start in range(0, size * count, size):
        index = order[start : start + size]
        x = [np.asarray(rows[index], np.float32) for rows in data.x_train]
        yield x, x[0] if data.y_train is None else np.asarray(data.y_train[index])
