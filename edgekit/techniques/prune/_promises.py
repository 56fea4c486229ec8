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
    zero_blocks,
    zero_share,
)
from edgekit.techniques.prune import Parameters
from edgekit.techniques.prune._plan import Goal, Plan, block_of
from edgekit.units import format_share

__all__ = ["prove", "prove_others"]

_TOLERANCE = 0.005
_ROUNDING = 1e-9
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
        zeros += int((made.values == 0).sum())
        total += made.size
    share = format_share(zeros / total)
    work.evidence("proven sparsity", "all pruned kernels", f"{share} of {total} weights are 0")


def prove_others(before: Any, plan: Plan, result: Any) -> None:
    """Zeros may appear in pruned kernels only.

    Raises:
        PromiseError: names the first other kernel with more zeros than before.
    """
    treated = {kernel.layer for kernel in plan.kernels}
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
    zeros, count, noun = int((made.values == 0).sum()), made.size, "weights"
    if parameters.structure == "block":
        height, width = block_of(parameters)
        zeros, count = zero_blocks(made.values, (height, width))
        noun = f"blocks of {height} x {width}"
    # The engine rounds to whole weights and keeps at least one.
    wanted = min(round(goal.wanted * count), count - 1) / count
    share = zeros / count
    if abs(share - wanted) > max(_TOLERANCE, 1 / count) + _ROUNDING:
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
