"""Clusters in training with tensorflow-model-optimization: wrapping and unwrapping."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from edgekit.frameworks.bridge import import_tfmot, to_tf_keras
from edgekit.frameworks.keras import import_tensorflow, import_tf_keras, quiet
from edgekit.techniques.cluster import Parameters
from edgekit.techniques.cluster._centroids import centroids
from edgekit.techniques.cluster._plan import Plan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = ["stripped", "wrapped"]

_WHERE = "tensorflow_model_optimization.python.core.clustering.keras"
_OWN = "edgekit"
_LEAST = 3
"""The engine refuses fewer clusters where zeros are kept, although 0 and one more value work."""


def wrapped(model: Any, parameters: Parameters, plan: Plan, seed: int) -> Any:
    """A tf_keras copy of a Keras 3 model whose planned layers compute with shared weights."""
    import_tfmot("cluster")
    wrapper = importlib.import_module(f"{_WHERE}.cluster_wrapper").ClusterWeights
    places = {kernel.layer: place for place, kernel in enumerate(plan.kernels)}

    def wrap(layer: Any) -> Any:
        if layer.name not in places:
            return layer
        count, keep = plan.counts[layer.name], layer.name in plan.keep_zeros
        made = wrapper(
            layer,
            max(count, _LEAST),
            cluster_centroids_init=f"{_OWN}-{places[layer.name]}",
            preserve_sparsity=keep,
            cluster_per_channel=parameters.per_channel and type(layer).__name__ == "Conv2D",
        )
        made.number_of_clusters = count
        return made

    with _own_centroids(parameters, len(places), seed), quiet():
        clustered = import_tf_keras("cluster").models.clone_model(
            to_tf_keras(model), clone_function=wrap
        )
    for layer in _wrappers(clustered):
        if not layer.cluster_per_channel:
            for algorithm in layer.clustering_algorithms.values():
                algorithm.get_pulling_indices = _nearest(algorithm)
    return clustered


def stripped(model: Any) -> Any:
    """The trained model without wrappers, each weight the value of its centroid."""
    with quiet():
        return import_tfmot("cluster").clustering.keras.strip_clustering(model)


def _wrappers(model: Any) -> list[Any]:
    return [layer for layer in model.layers if hasattr(layer, "clustering_algorithms")]


@contextlib.contextmanager
def _own_centroids(parameters: Parameters, count: int, seed: int) -> Iterator[None]:
    """Makes our initialisation known to the engine, whose table is meant for that.

    The engine's own k-means++ has a fixed seed, stops after drawing and fails on kernels with fewer
    weights of one sign than clusters.
    """
    module = importlib.import_module(f"{_WHERE}.clustering_centroids")
    table = module.CentroidsInitializerFactory._initialisers
    own = {f"{_OWN}-{place}": _initialiser(parameters, (seed, place)) for place in range(count)}
    table.update(own)
    try:
        yield
    finally:
        for key in own:
            del table[key]


def _initialiser(parameters: Parameters, seed: tuple[int, int]) -> Callable[..., Any]:
    import numpy as np

    number = int(np.random.SeedSequence(seed).generate_state(1)[0])

    def make(weight: Any, count: int, per_channel: bool, data_format: str, keep_zero: bool) -> Any:
        channels_last = data_format == "channels_last"

        def begin(values: Array) -> NDArray[np.float32]:
            return centroids(values, count, init=parameters.init, keep_zero=keep_zero, seed=number)

        def get_cluster_centroids() -> Any:
            values = weight.numpy()
            if not per_channel:
                found = begin(values)
            else:
                channels = np.moveaxis(values, -1 if channels_last else 1, 0)
                found = np.stack([begin(channel) for channel in channels])
            return import_tensorflow().constant(found)

        return SimpleNamespace(get_cluster_centroids=get_cluster_centroids)

    return make


def _nearest(algorithm: Any) -> Callable[[Any], Any]:
    """The index of the nearest centroid by binary search.

    The engine compares each weight with each centroid in every step, which at 256 clusters takes
    256 times the memory of the weights.
    """
    tf = import_tensorflow()

    def get_pulling_indices(weight: Any) -> Any:
        order = tf.argsort(algorithm.cluster_centroids)
        held = tf.gather(algorithm.cluster_centroids, order)
        found = tf.searchsorted((held[1:] + held[:-1]) / 2, tf.reshape(weight, [-1]))
        return tf.cast(tf.reshape(tf.gather(order, found), tf.shape(weight)), tf.int64)

    return get_pulling_indices
