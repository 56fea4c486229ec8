"""Counts the different values in the file that was written, and looks for lost zeros."""

from __future__ import annotations

from typing import Any

from edgekit.core.technique import Work
from edgekit.errors import PromiseError
from edgekit.frameworks.sparsity import Kernel, distinct_values, kernels, lost_zeros, zero_share
from edgekit.techniques.cluster import Parameters
from edgekit.techniques.cluster._plan import Plan
from edgekit.units import format_share

__all__ = ["prove"]

_HINT = "this is a fault of the clustering engine: please report the model's layers"


def prove(parameters: Parameters, plan: Plan, result: Any, work: Work) -> None:
    """Measures each clustered kernel of the result.

    Raises:
        PromiseError: it has more values than clusters, or lost zeros.
    """
    after = {kernel.layer: kernel for kernel in kernels(result)}
    for kernel in plan.kernels:
        made = after.get(kernel.layer)
        if made is None or made.values.shape != kernel.values.shape:
            raise PromiseError(f"cluster: {kernel.item} is not in the result as it was")
        found = _count(parameters, plan, made)
        if kernel.layer in plan.keep_zeros:
            found += _zeros(kernel, made)
        work.evidence("proven clusters", kernel.item, found)
    lost = lost_zeros(plan.others, result)
    if lost:
        raise PromiseError(f"cluster: {lost}", hint=_HINT)


def _count(parameters: Parameters, plan: Plan, made: Kernel) -> str:
    import numpy as np

    most, parts, where = plan.counts[made.layer], [made.values], ""
    if parameters.per_channel and made.kind == "Conv2D":
        parts, where = list(np.moveaxis(made.values, -1, 0)), " in a channel"
    distinct = max(distinct_values(part) for part in parts)
    if distinct > most:
        raise PromiseError(
            f"cluster: {made.item} has {distinct} different values{where} after training, and "
            f"{most} were asked for",
            hint=_HINT,
        )
    return f"{distinct} different values{where}, {most} asked"


def _zeros(before: Kernel, made: Kernel) -> str:
    lost = int(((before.values == 0) & (made.values != 0)).sum())
    if lost:
        raise PromiseError(
            f"cluster: {lost} of {before.zeros} zeros of {made.item} are lost",
            hint=_HINT,
        )
    shares = format_share(zero_share(before.values)), format_share(zero_share(made.values))
    return f"; all {before.zeros:,} zeros kept, {shares[0]} before and {shares[1]} after"
