"""Holds the file that was written against the shares of zeros that were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.core.technique import Work
from edgekit.errors import PromiseError
from edgekit.frameworks.sparsity import (
    Kernel,
    groups_of_four,
    kernels,
    lost_zeros,
    zero_blocks,
    zero_share,
)
from edgekit.techniques.prune import Parameters
from edgekit.techniques.prune._plan import Goal, Plan, block_of
from edgekit.units import format_share

__all__ = ["prove", "prove_others"]

_TOLERANCE = 0.005
_HALF_A_WEIGHT = 0.5 + 1e-3
"""The engine rounds the weights that stay to a whole number, a half to the even one, where 52.5 of
175 zeros become 53; it computes in float32."""
_HINT = "train longer, so that the ramp has more steps, or ask for another sparsity"


def prove(
    parameters: Parameters, plan: Plan, goals: Mapping[str, Goal], result: Any, work: Work
) -> None:
    """Measures each kernel of the result.

    Raises:
        PromiseError: a kernel is missing, or not as sparse as asked.
    """
    after = {kernel.layer: kernel for kernel in kernels(result)}
    zeros = total = 0
    for kernel in plan.kernels:
        made = after.get(kernel.layer)
        if made is None or made.values.shape != kernel.values.shape:
            raise PromiseError(f"prune: {kernel.item} is not in the result as it was")
        found = _measure(parameters, made, goals[kernel.layer])
        work.evidence("proven sparsity", kernel.item, found)
        zeros += made.zeros
        total += made.size
    share = format_share(zeros / total)
    work.evidence("proven sparsity", "all pruned kernels", f"{share} of {total} weights are 0")


def prove_others(before: Any, plan: Plan, result: Any) -> None:
    """Zeros appear in the planned kernels only; in the others those of an earlier step stay.

    Raises:
        PromiseError: names the first other kernel that has lost zeros, or has more than before.
    """
    treated = {kernel.layer for kernel in plan.kernels}
    lost = lost_zeros(plan.others(before), result)
    if lost:
        raise PromiseError(f"prune: {lost}")
    after = {kernel.layer: kernel for kernel in kernels(result)}
    for kernel in kernels(before):
        if kernel.layer in treated or kernel.layer not in after:
            continue
        was, now = zero_share(kernel.values), zero_share(after[kernel.layer].values)
        if now > was + _TOLERANCE:
            raise PromiseError(
                f"prune: {kernel.item} was to be left alone, and its zeros rose from "
                f"{format_share(was)} to {format_share(now)}"
            )


def _measure(parameters: Parameters, made: Kernel, goal: Goal) -> str:
    if parameters.structure == "2:4":
        return _measure_groups(made)
    zeros, count, noun = made.zeros, made.size, "weights"
    if parameters.structure == "block":
        height, width = block_of(parameters)
        zeros, count = zero_blocks(made.values, (height, width))
        noun = f"blocks of {height} x {width}"
    wanted = min(goal.wanted, 1 - 1 / count)  # The engine keeps at least one.
    share = zeros / count
    if abs(zeros - wanted * count) > max(_TOLERANCE * count, _HALF_A_WEIGHT):
        raise PromiseError(
            f"prune: {made.item} has {format_share(share)} zeros after training, and "
            f"{format_share(wanted)} of its {count} {noun} were asked for",
            hint=_HINT,
        )
    more = ", as it had before" if goal.wanted <= goal.present else ""
    return f"{format_share(share)} of {count} {noun} are 0, {format_share(wanted)} asked{more}"


def _measure_groups(made: Kernel) -> str:
    counts = groups_of_four(made.values)
    broken = int((counts.astype(int) > 2).sum())
    if broken:
        raise PromiseError(
            f"prune: {broken} of {counts.size} groups of four input channels of {made.item} have "
            "fewer than two zeros",
            hint=_HINT,
        )
    share = format_share(zero_share(made.values))
    return f"two zeros in each of {counts.size} groups of four, {share} of all weights"
