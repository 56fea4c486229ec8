"""Zeros and clusters of earlier steps, which plain training would destroy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.errors import PromiseError
from edgekit.frameworks.sparsity import Kernel, distinct_values, kernels, layers_in, zero_share

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["KeepZeros", "lost_zeros", "pruned", "refuse_clusters"]

_PRUNED = 0.1
_MOST_CLUSTERS = 256
_SHARED_BY = 4
"""A kernel is clustered where each of its values is there more than this often on average."""


def pruned(model: Any) -> tuple[Kernel, ...]:
    """The kernels whose zeros are kept: a tenth or more is 0, but not everything."""
    return tuple(k for k in kernels(model) if _PRUNED <= zero_share(k.values) < 1)


def refuse_clusters(model: Any) -> None:
    """Refuses kernels of few different values, zeros aside.

    Raises:
        PromiseError: names the first one.
    """
    for kernel in kernels(model):
        held = kernel.values[kernel.values != 0]
        distinct = distinct_values(held)
        is_constant = distinct_values(kernel.values) == 1
        if not is_constant and distinct <= _MOST_CLUSTERS and held.size > _SHARED_BY * distinct:
            raise PromiseError(
                f"fine-tune: {kernel.item} is clustered ({held.size} weights have {distinct} "
                "values), and plain training would give every weight a value of its own",
                hint="put fine-tune before cluster, or train with quantize-aware-train, which "
                "keeps clusters",
            )


def lost_zeros(before: tuple[Kernel, ...], model: Any) -> str:
    """Says which kernel has values where it had zeros, '' where none has."""
    after = {kernel.layer: kernel.values for kernel in kernels(model)}
    for kernel in before:
        lost = int(((kernel.values == 0) & (after[kernel.layer] != 0)).sum())
        if lost:
            return f"{lost} of {int((kernel.values == 0).sum())} zeros of {kernel.item} are lost"
    return ""


class KeepZeros:
    """A callback: sets the zeros of pruned kernels back after every step."""

    def __init__(self, kept: tuple[Kernel, ...]) -> None:
        self._kept = kept
        self._masked: list[tuple[Any, Array]] = []

    def set_model(self, model: Any) -> None:
        """Finds the variables in the model that is trained."""
        layers = {layer.name: layer for layer in layers_in(model)}
        self._masked = [
            (getattr(layers[kernel.layer], kernel.weight), (kernel.values != 0).astype("float32"))
            for kernel in self._kept
        ]

    def on_train_batch_end(self, step: int, logs: Mapping[str, float] | None = None) -> None:
        """Multiplies them with their masks."""
        for variable, mask in self._masked:
            variable.assign(variable * mask)
