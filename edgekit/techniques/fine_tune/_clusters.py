"""Clusters of earlier steps, which plain training would destroy."""

from __future__ import annotations

from typing import Any

from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.sparsity import distinct_values, kernels

__all__ = ["HINT", "clustered", "refuse_clusters"]

_MOST_CLUSTERS = 256
_SHARED_BY = 4
"""A kernel is clustered where each of its values is there more than this often on average."""
HINT = "put fine-tune before cluster, or train with quantize-aware-train, which keeps clusters"


def clustered(model: Any) -> str:
    """Names the first kernel of few different values, zeros aside; '' where there is none."""
    for kernel in kernels(model):
        held = kernel.values[kernel.values != 0]
        distinct = distinct_values(held)
        is_constant = distinct_values(kernel.values) == 1
        if not is_constant and distinct <= _MOST_CLUSTERS and held.size > _SHARED_BY * distinct:
            return (
                f"fine-tune: {kernel.item} is clustered ({held.size} weights have {distinct} "
                "values), and plain training would give every weight a value of its own"
            )
    return ""


def refuse_clusters(model: Any, kind: type[UsageError | PromiseError]) -> None:
    """Raises an error of that kind where a kernel is clustered: the user's model may come so, or an
    earlier step may make it so."""
    found = clustered(model)
    if found:
        raise kind(found, hint=HINT)
