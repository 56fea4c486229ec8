"""Let the weights of each kernel share a few values, found by k-means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from edgekit.core.technique import Trait
from edgekit.core.training import TrainingOptions

__all__ = ["Initialisation", "Parameters"]

Initialisation = Literal["kmeans++", "linear", "density", "random"]

_MOST = 256


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingOptions):
    """How many different values each kernel may have, and where they begin.

    Treated are the kernels of Dense, Conv1D to Conv3D, Conv2DTranspose and Conv3DTranspose, the
    pointwise kernels of SeparableConv and the tables of Embedding. Biases and normalization stay.
    Left alone, each with a note: depthwise kernels, recurrent layers, attention, what `skip`
    matches (names with * and ?), kernels of fewer than `min_weights` weights or of no more weights
    than clusters. Values are stored as floats as before: a file gets smaller by compression, and by
    a later quantization that keeps the clusters.

    The engine is tensorflow-model-optimization (Deep Compression, Han et al., arXiv:1510.00149):
    each weight stands for the nearest of `clusters` centroids, which are trained along with the
    weights, so that one can move to another cluster. `init` is where the centroids begin:

        1. `kmeans++`: k-means to its end, begun by k-means++ (Arthur & Vassilvitskii, 2007).
        2. `linear`: evenly from the smallest to the largest weight.
        3. `density`: evenly over the sorted weights.
        4. `random`: evenly distributed between the smallest and the largest weight.

    A kernel with two zeros or more (not all) was pruned before: its zeros stay, and 0 is one of its
    clusters. Pruned kernels that are left alone are trained, and keep theirs.

    `layer_clusters` gives kernels by layer name (with * and ?, the first match counts) a number of
    their own. `per_channel` gives each output channel of a Conv2D clusters of its own.

    The learning rate is a tenth of what trains a net from the beginning.
    """

    makes: ClassVar[frozenset[Trait]] = frozenset({"clusters"})
    keeps: ClassVar[frozenset[Trait]] = frozenset({"sparsity"})

    clusters: int = 16
    init: Initialisation = "kmeans++"
    per_channel: bool = False
    layer_clusters: Mapping[str, int] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    min_weights: int = 64
    epochs: int = 2
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.clusters <= _MOST:
            raise ValueError(f"clusters must be from 2 to {_MOST}, not {self.clusters}")
        for name, count in self.layer_clusters.items():
            if not 2 <= count <= _MOST:
                raise ValueError(f"layer_clusters of '{name}' must be 2 to {_MOST}, not {count}")
        if self.min_weights < 1:
            raise ValueError(f"min_weights must be at least 1, not {self.min_weights}")
        if "" in (*self.skip, *self.layer_clusters):
            raise ValueError("skip and layer_clusters must not have an empty name")
        if self.precision != "float32":
            raise ValueError(
                f"precision {self.precision} is not for cluster: its engine, "
                "tensorflow-model-optimization, trains in float32"
            )
