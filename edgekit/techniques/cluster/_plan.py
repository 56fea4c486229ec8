"""Which kernels are clustered, into how many values, and whether zeros are kept."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from edgekit.errors import UsageError
from edgekit.frameworks.sparsity import (
    Kernel,
    check_patterns,
    kernels,
    layers_in,
    matching,
    pruned,
    untreated,
)
from edgekit.techniques.cluster import Parameters

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True, eq=False)
class Plan:
    """The kernels to cluster with the number of values of each, and what is left alone, and why.

    The zeros of kernels that were pruned stay: `keep_zeros` are the layers of those that are
    clustered, `others` are those that are left alone.
    """

    kernels: tuple[Kernel, ...]
    counts: dict[str, int]
    keep_zeros: frozenset[str]
    others: tuple[Kernel, ...]
    skipped: tuple[tuple[str, str], ...]


def make_plan(parameters: Parameters, model: Any) -> Plan:
    """Sorts the layers of a model into clustered and left alone.

    Raises:
        UsageError: a name pattern matches no layer, or no kernel is left to cluster.
    """
    found = kernels(model)
    check_patterns("skip", parameters.skip, tuple(layer.name for layer in layers_in(model)))
    check_patterns(
        "layer_clusters", tuple(parameters.layer_clusters), tuple(k.layer for k in found)
    )
    counts = {kernel.layer: _count(parameters, kernel) for kernel in found}
    reasons = {kernel.layer: _reason(parameters, kernel, counts[kernel.layer]) for kernel in found}
    treated = tuple(kernel for kernel in found if not reasons[kernel.layer])
    skipped = (
        *((kernel.item, reasons[kernel.layer]) for kernel in found if reasons[kernel.layer]),
        *((layer.item, layer.reason) for layer in untreated(model)),
    )
    if not treated:
        shown = "; ".join(f"{item}: {reason}" for item, reason in skipped[:3])
        raise UsageError(
            f"cluster: the model has no kernel to cluster{f' ({shown})' if shown else ''}",
            hint="change skip, min_weights or clusters, or leave this step out",
        )
    sparse = pruned(model)
    keep = frozenset(k.layer for k in treated) & {k.layer for k in sparse}
    others = tuple(kernel for kernel in sparse if kernel.layer not in keep)
    return Plan(treated, counts, keep, others, skipped)


def _count(parameters: Parameters, kernel: Kernel) -> int:
    own = parameters.layer_clusters
    found = (own[pattern] for pattern in own if fnmatchcase(kernel.layer, pattern))
    return next(found, parameters.clusters)


def _reason(parameters: Parameters, kernel: Kernel, count: int) -> str:
    """Why a kernel is left alone; '' where it is not."""
    if matching(kernel.layer, parameters.skip):
        return "left as it is, as skip says"
    if kernel.size < parameters.min_weights:
        return f"its {kernel.size} weights are fewer than min_weights = {parameters.min_weights}"
    shared = kernel.size
    if parameters.per_channel and kernel.kind == "Conv2D":
        shared //= kernel.values.shape[-1]
    if shared <= count:
        return f"{shared} weights have no need of {count} clusters"
    return ""
