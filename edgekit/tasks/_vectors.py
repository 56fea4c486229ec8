"""Embeddings as vectors: pooling token vectors, and cosines row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["cosines", "pooled"]


def pooled(vectors: NDArray[Any]) -> NDArray[Any]:
    """(n, dimensions): a matrix a sample is averaged over its first axis, the tokens."""
    flat = vectors.reshape(len(vectors), *(size for size in vectors.shape[1:] if size != 1))
    if flat.ndim <= 2:
        return flat.reshape(len(flat), -1)
    means: NDArray[Any] = flat.reshape(len(flat), -1, flat.shape[-1]).mean(axis=1)
    return means


def cosines(ours: NDArray[Any], theirs: NDArray[Any], role: str) -> NDArray[Any]:
    """The cosine of each pair of rows (n, values).

    It is 1 for two zero vectors, and 0 where only one is zero or one is not finite.

    Raises:
        UsageError: rows of another length; names `role`, whose rows `ours` are.
    """
    import numpy as np

    if ours.shape != theirs.shape:
        raise UsageError(
            f"embedding compares vectors of one length, and {role} gives {ours.shape[1]} values "
            f"a sample where the reference gives {theirs.shape[1]}"
        )
    both = np.stack([ours, theirs]).astype(np.float64)
    usable: NDArray[Any] = np.asarray(np.isfinite(both).all(axis=(0, 2)))
    both = np.where(usable[None, :, None], both, 0)
    lengths = np.sqrt((both**2).sum(axis=2))
    product = lengths[0] * lengths[1]
    found: NDArray[Any] = np.where(lengths.any(axis=0), 0.0, usable.astype(float))
    np.divide((both[0] * both[1]).sum(axis=1), product, out=found, where=product > 0)
    return found
