"""Which kernels are pruned, to which share of zeros, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping
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
    zero_blocks,
    zero_share,
)
from edgekit.techniques.prune import Parameters

__all__ = ["Goal", "Plan", "goals", "make_plan", "present_share"]


@dataclass(frozen=True, eq=False)
class Plan:
    """The kernels to prune, and the layers that are left alone with the reason."""

    kernels: tuple[Kernel, ...]
    skipped: tuple[tuple[str, str], ...]

    def others(self, model: Any) -> tuple[Kernel, ...]:
        """The other kernels of the model that have zeros of an earlier step, which stay."""
        planned = {kernel.layer for kernel in self.kernels}
        return tuple(kernel for kernel in pruned(model) if kernel.layer not in planned)


@dataclass(frozen=True)
class Goal:
    """The share of zeros (of zero blocks under `block`) that one kernel has, and shall have."""

    present: float
    wanted: float


def make_plan(parameters: Parameters, model: Any) -> Plan:
    """Sorts the layers of a model into pruned and left alone.

    Raises:
        UsageError: a name pattern matches no layer, or no kernel is left to prune.
    """
    names = tuple(layer.name for layer in layers_in(model))
    found = kernels(model)
    check_patterns("skip", parameters.skip, names)
    check_patterns(
        "layer_sparsity", tuple(parameters.layer_sparsity), tuple(k.layer for k in found)
    )
    reasons = [_reason(parameters, kernel) for kernel in found]
    others = [(layer.item, layer.reason) for layer in untreated(model)]
    left = [(k.item, reason) for k, reason in zip(found, reasons, strict=True) if reason]
    treated = tuple(k for k, reason in zip(found, reasons, strict=True) if not reason)
    if not treated:
        shown = "; ".join(f"{item}: {reason}" for item, reason in (*left, *others)[:3])
        raise UsageError(
            f"prune: the model has no kernel to prune{f' ({shown})' if shown else ''}",
            hint="change skip, min_weights or structure, or leave this step out",
        )
    return Plan(treated, (*left, *others))


def goals(
    parameters: Parameters, plan: Plan, allocated: Mapping[str, float] | None = None
) -> dict[str, Goal]:
    """What each kernel shall have, by layer; `allocated` where the shares were distributed."""
    wanted = allocated or {}
    made = {}
    for kernel in plan.kernels:
        present = present_share(parameters, kernel)
        asked = own_share(parameters, kernel)
        share = wanted.get(kernel.layer, parameters.sparsity) if asked is None else asked
        made[kernel.layer] = Goal(present, max(present, share))
    return made


def own_share(parameters: Parameters, kernel: Kernel) -> float | None:
    """What `layer_sparsity` says about a kernel; None where it does not name it."""
    patterns = parameters.layer_sparsity
    return next((patterns[p] for p in patterns if fnmatchcase(kernel.layer, p)), None)


def present_share(parameters: Parameters, kernel: Kernel) -> float:
    """The share of zeros that a kernel has, in the units of the structure."""
    if parameters.structure != "block":
        return zero_share(kernel.values)
    zeros, count = zero_blocks(kernel.values, block_of(parameters))
    return zeros / count


def block_of(parameters: Parameters) -> tuple[int, int]:
    """The block as (inputs, outputs)."""
    height, width = parameters.block
    return height, width


def _reason(parameters: Parameters, kernel: Kernel) -> str:
    """Why a kernel is left alone; '' where it is not."""
    if matching(kernel.layer, parameters.skip):
        return "left dense, as skip says"
    if own_share(parameters, kernel) == 0:
        return "left dense, as layer_sparsity says"
    if kernel.size < parameters.min_weights:
        return f"its {kernel.size} weights are fewer than min_weights = {parameters.min_weights}"
    if parameters.structure == "block":
        return _no_blocks(parameters, kernel)
    return _no_groups(kernel) if parameters.structure == "2:4" else ""


def _no_blocks(parameters: Parameters, kernel: Kernel) -> str:
    """The engine cuts kernels of two axes into blocks, at least two along each axis."""
    shape = kernel.values.shape
    if len(shape) != 2:
        return f"blocks are of kernels with two axes, and this one has {len(shape)}"
    if any(size <= side for size, side in zip(shape, block_of(parameters), strict=True)):
        return f"its shape {shape[0]} x {shape[1]} does not hold two blocks along each axis"
    return ""


def _no_groups(kernel: Kernel) -> str:
    """Runtimes read groups along the input channels, which the engine finds in two kinds only."""
    if kernel.kind not in ("Dense", "Conv2D"):
        return f"groups of four input channels are defined for Dense and Conv2D, not {kernel.kind}"
    if kernel.values.shape[-2] <= 2:
        return f"with {kernel.values.shape[-2]} input channels no group has more than two weights"
    return ""
