"""Trainings and steps that train, built by hand."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from edgekit.core.report import StepRecord
from edgekit.core.training import Curve, Epoch, TrainingOptions

__all__ = ["curve", "training_step"]


def curve(epochs: int = 4, *, title: str = "prune", metric: str = "accuracy") -> Curve:
    """A training that falls fast and then slowly; without `metric` it has no right and wrong."""
    table = []
    for epoch in range(1, epochs + 1):
        loss = 0.02 + 0.5 * math.exp(-0.8 * epoch)
        right = 1 - 0.25 * loss if metric else None
        ahead = 0.5 * loss, None if right is None else right + 0.003
        table.append(Epoch(ahead[0], ahead[1], loss, right, 3.1, {"f1": 0.9} if metric else {}))
    return Curve(title, metric, tuple(table), epochs)


def training_step(*curves: Curve, name: str = "prune", **parameters: Any) -> StepRecord:
    """A step with all the parameters that a step which trains has."""
    options = {"sparsity": 0.9, "layers": {"conv*": 0.5, "dense": 0.95}, "skip": ()}
    return StepRecord(
        name=name,
        kind="technique",
        format="keras",
        parameters={**options, **asdict(TrainingOptions()), **parameters},
        digest="4e" * 32,
        size_bytes=17_944,
        seconds=12.6,
        cached=False,
        curves=curves,
    )
