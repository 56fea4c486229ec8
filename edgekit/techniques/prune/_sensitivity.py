"""How much the loss rises when one kernel alone is pruned, and the shares that follow from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.core.technique import Work
from edgekit.frameworks._hooks import load_hooks
from edgekit.frameworks.sparsity import Kernel, set_kernel
from edgekit.frameworks.training import evaluator
from edgekit.techniques.prune import Parameters
from edgekit.techniques.prune._allocate import Scan, allocate
from edgekit.techniques.prune._plan import Plan, block_of, own_share
from edgekit.units import format_share

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["levels", "magnitude_pruned", "shares"]

_LEVELS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)


def shares(parameters: Parameters, model: Any, plan: Plan, work: Work) -> dict[str, float]:
    """The share of zeros of each kernel that `layer_sparsity` does not name."""
    scanned = [kernel for kernel in plan.kernels if own_share(parameters, kernel) is None]
    if not scanned:
        return {}
    data, steps = work.training_data(), levels(parameters.sparsity)
    own = load_hooks(parameters.hooks, work.hooks).loss
    measure = evaluator(model, data, parameters, limit=parameters.scan_samples, own=own)
    base = measure()[0]
    scans = {}
    with work.progress("prune: sensitivity", len(scanned) * len(steps)) as bar:
        for kernel in scanned:
            rises = []
            for share in steps:
                set_kernel(model, kernel, magnitude_pruned(parameters, kernel.values, share))
                rises.append((share, measure()[0] - base))
                bar.advance(1)
            set_kernel(model, kernel, kernel.values)
            scans[kernel.layer] = Scan(kernel.size, tuple(rises))
    chosen = allocate(scans, parameters.sparsity)
    for kernel in scanned:
        _record(kernel, scans[kernel.layer], chosen[kernel.layer], work)
    return chosen


def levels(sparsity: float) -> tuple[float, ...]:
    """The shares that are tried; the highest lies above the one that is wanted over all."""
    top = (1 + sparsity) / 2
    return (*(level for level in _LEVELS if level < top), top)


def magnitude_pruned(parameters: Parameters, values: Array, share: float) -> Array:
    """A copy with that share of weights (or of blocks) of least magnitude set to 0."""
    import numpy as np

    if parameters.structure != "block":
        return np.where(_kept(np.abs(values), share), values, 0).astype(values.dtype)
    height, width = block_of(parameters)
    rows, columns = values.shape
    padded = np.pad(np.abs(values), [(0, -rows % height), (0, -columns % width)])
    blocks = padded.reshape(-(-rows // height), height, -(-columns // width), width)
    kept = np.kron(_kept(blocks.sum(axis=(1, 3)), share), np.ones((height, width), bool))
    return np.where(kept[:rows, :columns], values, 0).astype(values.dtype)


def _kept(magnitude: Array, share: float) -> Array:
    import numpy as np

    order = np.argsort(magnitude, axis=None, kind="stable")
    kept = np.ones(magnitude.size, bool)
    kept[order[: round(share * magnitude.size)]] = False
    return kept.reshape(magnitude.shape)


def _record(kernel: Kernel, scan: Scan, chosen: float, work: Work) -> None:
    shown = ", ".join(f"{rise:+.3g} at {format_share(share)}" for share, rise in scan.points)
    work.evidence(
        "sensitivity scan",
        kernel.item,
        f"{format_share(chosen)} of {kernel.size} weights chosen; loss with it alone pruned: "
        f"{shown}",
    )
