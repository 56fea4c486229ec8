"""Folds a BatchNormalization behind a Dense layer into it, before training.

TFLiteConverter folds it into a convolution's integers, but makes a Dense layer float for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgekit.frameworks.layer_graph import LayerGraph, layer_graph
from edgekit.frameworks.rebuild import rebuild
from edgekit.frameworks.sparsity import distinct_values
from edgekit.techniques.quantize_aware_train._kernels import kept_in

__all__ = ["Folded", "fold_dense"]


@dataclass(frozen=True)
class Folded:
    """A Dense layer that took in a BatchNormalization, and its different weights before and after.

    `clustered` says whether it came with clusters.
    """

    name: str
    clustered: bool
    before: int
    after: int

    @property
    def lost(self) -> bool:
        """True where the kernel had clusters, and another factor for each output ended them."""
        return self.clustered and self.after > self.before


def fold_dense(model: Any) -> tuple[Any, tuple[Folded, ...]]:
    """Folds where a Dense layer feeds a BatchNormalization alone; also returns what became of it.

    Args:
        model: a functional Keras 3 model; it stays as it is.
    """
    import numpy as np

    graph = layer_graph(model)
    pairs = [(call.layer, norm) for call in graph.calls if (norm := _norm_after(graph, call))]
    configs: dict[str, Any] = {}
    for dense, norm in pairs:
        configs[dense.name] = {**dense.get_config(), "use_bias": True}
        configs[norm.name] = None
    made = rebuild(model, configs)
    done = []
    for dense, norm in pairs:
        factor, offset = _affine(norm)
        kernel, *bias = dense.get_weights()
        folded = np.asarray(bias[0], np.float64) if bias else 0.0
        new = [kernel * factor, folded * factor + offset]
        new = [values.astype(np.float32) for values in new]
        made.get_layer(dense.name).set_weights(new)
        counts = distinct_values(kernel), distinct_values(new[0])
        done.append(Folded(dense.name, kept_in(kernel).clusters, *counts))
    return made, tuple(done)


def _norm_after(graph: LayerGraph, call: Any) -> Any:
    """The BatchNormalization that follows one call of a linear Dense layer, else None."""
    layer = call.layer
    if type(layer).__name__ != "Dense" or len(graph.calls_of(layer)) > 1:
        return None
    user = graph.only_user(call)
    if layer.activation.__name__ != "linear" or user is None:
        return None
    norm = user.layer
    alone = type(norm).__name__ == "BatchNormalization" and len(graph.calls_of(norm)) == 1
    last = len(norm.input.shape) - 1 if alone else 0
    return norm if alone and norm.axis in (-1, last) else None


def _affine(norm: Any) -> tuple[Any, Any]:
    """A normalization's factor and offset in inference, in float64."""
    import numpy as np

    mean, variance = (np.asarray(v, np.float64) for v in norm.get_weights()[-2:])
    learned = [np.asarray(v, np.float64) for v in norm.get_weights()[:-2]]
    scale = learned.pop(0) if norm.scale else 1.0
    shift = learned.pop(0) if norm.center else 0.0
    factor = scale / np.sqrt(variance + norm.epsilon)
    return factor, shift - mean * factor
