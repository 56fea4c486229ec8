"""The distilled student against the same student trained alone, on the select split."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from edgekit.core.technique import Work
from edgekit.core.training import TrainingOptions
from edgekit.frameworks import training
from edgekit.frameworks._hooks import load_hooks
from edgekit.frameworks.bridge import load_trainable
from edgekit.units import format_share, share_digits

__all__ = ["ALONE", "alone_options", "alone_path", "compare"]

ALONE = "alone"


def alone_options(parameters: TrainingOptions) -> TrainingOptions:
    """The same training without a teacher."""
    return dataclasses.replace(parameters.plain, teacher=())


def alone_path(work: Work) -> Path:
    """Where the student that was trained alone is kept for `verify`."""
    return work.folder / f"{ALONE}.keras"


def compare(parameters: TrainingOptions, distilled: Any, work: Work) -> None:
    """Puts on record whether the teacher helped: by the metric, and by the loss where that is
    equal or there is none."""
    options, data = alone_options(parameters), work.training_data()
    alone = load_trainable(alone_path(work), where="the student that was trained alone")
    own = load_hooks(parameters.hooks, work.hooks).loss
    with_teacher = training.evaluate(distilled, data, options, own=own)
    without = training.evaluate(alone, data, options, own=own)
    count = len(data.x_select[0])
    found = f"{_figures(with_teacher, without, count)} on {count} samples of the select split"
    if _rank(with_teacher) > _rank(without):
        work.evidence("beats the same student trained alone", "distilled student", found)
    else:
        work.note("not better than alone", "distilled student", found)


def _rank(figures: tuple[float, float | None]) -> tuple[float, float]:
    """Larger is better."""
    loss, metric = figures
    return metric or 0.0, -loss


def _figures(
    first: tuple[float, float | None], second: tuple[float, float | None], count: int
) -> str:
    loss = f"loss {first[0]:.4g} against {second[0]:.4g}"
    if first[1] is None or second[1] is None:
        return loss
    digits = share_digits(count)
    shares = [format_share(share, digits=digits) for share in (first[1], second[1])]
    return f"accuracy {shares[0]} against {shares[1]}, {loss}"
