"""What layers compute before their activation, averaged by channel over samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.frameworks.keras import import_keras, quiet

if TYPE_CHECKING:
    from edgekit.core.data import Array
    from edgekit.frameworks.layer_weights import Floats

    Batches = Sequence[tuple[Array, ...]]

__all__ = ["LayerMeans", "measure", "outputs"]


@dataclass(frozen=True, eq=False)
class LayerMeans:
    """The mean of each output channel, and the root mean square over all of them."""

    channels: Floats
    rms: float


class _Sums:
    """Sums over batches, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: Any = 0.0
        self.squares = 0.0

    def add(self, values: Any) -> None:
        import numpy as np

        flat = np.asarray(values, np.float64).reshape(-1, values.shape[-1])
        self.count += len(flat)
        self.sums = self.sums + flat.sum(0)
        self.squares += float((flat**2).mean(1).sum())

    def mean(self) -> LayerMeans:
        return LayerMeans(self.sums / self.count, float((self.squares / self.count) ** 0.5))


def measure(model: Any, names: Iterable[str], batches: Batches) -> dict[str, LayerMeans]:
    """Runs the model as far as it must, and measures the layers of these names."""
    keras = import_keras("correct-bias")
    layers = [model.get_layer(name) for name in names]
    sums = {layer.name: _Sums() for layer in layers}
    with quiet():
        before = keras.Model(model._inputs_struct, {layer.name: layer.input for layer in layers})
        for batch in batches:
            inputs = before(keras.tree.pack_sequence_as(model._inputs_struct, list(batch)))
            for layer in layers:
                sums[layer.name].add(_without_activation(keras, layer, inputs[layer.name]))
    return {name: each.mean() for name, each in sums.items()}


def outputs(model: Any, batches: Batches) -> tuple[Array, ...]:
    """The model's outputs over all batches."""
    import numpy as np

    keras = import_keras("correct-bias")
    with quiet():
        made = [
            keras.tree.flatten(
                model(keras.tree.pack_sequence_as(model._inputs_struct, list(batch)))
            )
            for batch in batches
        ]
    return tuple(np.concatenate([np.asarray(v) for v in each]) for each in zip(*made, strict=True))


def _without_activation(keras: Any, layer: Any, given: Any) -> Any:
    kept = layer.activation
    layer.activation = keras.activations.linear
    try:
        return layer(given)
    finally:
        layer.activation = kept
