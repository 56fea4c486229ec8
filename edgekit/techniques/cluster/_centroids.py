"""Where the centroids of a kernel begin: pure functions of its weights and a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.techniques.cluster import Initialisation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.core.data import Array

    Floats = NDArray[np.float64]

__all__ = ["centroids", "kmeans"]

_ROUNDS = 100


def centroids(
    values: Array, count: int, *, init: Initialisation, keep_zero: bool, seed: int
) -> NDArray[np.float32]:
    """`count` centroids, sorted; one of them is exactly 0 where zeros are kept.

    Where the weights have no more different values than that, these are the centroids, the last of
    them repeated.
    """
    import numpy as np

    flat = np.sort(values.astype(np.float64), axis=None)
    if keep_zero:
        flat = flat[flat != 0]
    wanted = count - keep_zero
    distinct = np.unique(flat)
    if len(distinct) <= wanted:
        found = distinct
    else:
        found = _begin(flat, wanted, init, np.random.default_rng(seed))
    found = np.concatenate([found, np.zeros(1 if keep_zero else 0)])
    return np.sort(np.pad(found, (0, count - len(found)), mode="edge")).astype(np.float32)


def kmeans(flat: Floats, start: Floats) -> Floats:
    """Lloyd's algorithm on sorted values: each centroid becomes the mean of what is nearest to it.

    In one dimension the clusters are intervals, so a round costs one search for each bound.
    """
    import numpy as np

    sums = np.concatenate([[0.0], np.cumsum(flat)])
    held = np.sort(start)
    for _ in range(_ROUNDS):
        bounds = np.searchsorted(flat, (held[1:] + held[:-1]) / 2)
        edges = np.concatenate([[0], bounds, [len(flat)]])
        counts = np.diff(edges)
        moved = np.where(counts > 0, np.diff(sums[edges]) / np.maximum(counts, 1), held)
        if np.array_equal(moved, held):
            break
        held = np.sort(moved)
    return held


def _begin(flat: Floats, count: int, init: Initialisation, rng: Any) -> Floats:
    import numpy as np

    match init:
        case "linear":
            return np.linspace(flat[0], flat[-1], count)
        case "density":
            return np.quantile(flat, (np.arange(count) + 0.5) / count)
        case "random":
            drawn: Floats = rng.uniform(flat[0], flat[-1], count)
            return drawn
    return kmeans(flat, _plus_plus(flat, count, rng))


def _plus_plus(flat: Floats, count: int, rng: Any) -> Floats:
    """Draws each next centroid with a chance that grows with the squared distance to the others."""
    import numpy as np

    chosen = [flat[rng.integers(len(flat))]]
    distances = (flat - chosen[0]) ** 2
    while len(chosen) < count:
        steps = np.cumsum(distances)
        index = np.searchsorted(steps, rng.random() * steps[-1], side="right")
        chosen.append(flat[min(int(index), len(flat) - 1)])
        distances = np.minimum(distances, (flat - chosen[-1]) ** 2)
    return np.array(chosen)
