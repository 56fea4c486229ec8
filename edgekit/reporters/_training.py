"""What the training steps found, in words and in a table."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgekit.core.report import Report, StepRecord
from edgekit.core.training import BEFORE_LOSS, BEFORE_METRIC, Curve, Epoch
from edgekit.reporters._tables import Table
from edgekit.reporters._wording import count
from edgekit.text import clean
from edgekit.units import format_seconds, format_share

__all__ = [
    "is_share",
    "kept_epoch",
    "loss_text",
    "metric_text",
    "trained",
    "training_line",
    "training_table",
]


def trained(report: Report) -> tuple[tuple[int, StepRecord], ...]:
    """The steps that trained, with their number among all steps."""
    return tuple((n, step) for n, step in enumerate(report.steps, 1) if step.curves)


def training_line(step: StepRecord) -> str:
    """Writes 'prune: 4 epochs, kept epoch 4: loss 0.032, accuracy 98.9 % on select'."""
    last = step.curves[-1]
    epochs = count(sum(len(curve.epochs) for curve in step.curves), "epoch")
    if len(step.curves) == 1:
        return f"{clean(step.name)}: {epochs}, {_kept(last)}"
    runs = count(len(step.curves), "training")
    return f"{clean(step.name)}: {runs}, {epochs}; the last one {_kept(last)}"


def _kept(curve: Curve) -> str:
    epoch = kept_epoch(curve)
    if epoch is None:
        return "none of them kept"
    found = [f"loss {loss_text(epoch.select_loss)}"]
    if epoch.select_metric is not None:
        found.append(f"{_name(curve)} {metric_text(curve, epoch.select_metric)}")
    return f"kept epoch {curve.best_epoch}: {', '.join(found)} on select{_before(curve)}"


def _before(curve: Curve) -> str:
    """Writes what the training began with: ' (99.2 % before)'."""
    loss, metric = (curve.details.get(name) for name in (BEFORE_LOSS, BEFORE_METRIC))
    if metric is not None:
        return f" ({metric_text(curve, metric)} before)"
    return f" ({loss_text(loss)} before)" if loss is not None else ""


def kept_epoch(curve: Curve) -> Epoch | None:
    """The epoch whose weights were kept; None where the record has no such epoch."""
    place = curve.best_epoch - 1
    return curve.epochs[place] if 0 <= place < len(curve.epochs) else None


def is_share(curve: Curve) -> bool:
    """Whether the metric is a share of the samples, which is written in per cent."""
    found = (value for epoch in curve.epochs for value in (epoch.metric, epoch.select_metric))
    return "accuracy" in curve.metric.lower() and all(
        0 <= value <= 1 for value in found if value is not None and math.isfinite(value)
    )


def loss_text(loss: float) -> str:
    """Writes a loss with three digits."""
    return f"{loss:.3g}"


def metric_text(curve: Curve, value: float | None) -> str:
    """Writes a metric: an accuracy in per cent, anything else with four digits."""
    if value is None:
        return ""
    return format_share(value) if is_share(curve) and math.isfinite(value) else f"{value:.4g}"


def _name(curve: Curve) -> str:
    return clean(curve.metric, most=30) or "metric"


def training_table(report: Report) -> Table:
    """The kept epoch of every training, and its last one where that is another."""
    steps = trained(report)
    names = {_name(curve) for _, step in steps for curve in step.curves if curve.metric}
    metric = names.pop() if len(names) == 1 else "metric"
    cells = tuple(row for number, step in steps for row in _rows(number, step))
    heads = (
        *("step", "training", "epoch", "loss, train", "loss, select"),
        *(f"{metric}, train", f"{metric}, select", "other metrics, select", "time"),
    )
    return _without_empty(Table("Training by epoch", heads, cells, frozenset({3, 4, 5, 6, 8})))


def _rows(number: int, step: StepRecord) -> Iterator[tuple[str, ...]]:
    for curve in step.curves:
        start = (
            f"{number} {clean(step.name)}",
            "" if curve.title == step.name else clean(curve.title),
        )
        total = len(curve.epochs)
        if kept_epoch(curve) is not None:
            yield (*start, *_cells(curve, curve.best_epoch, "kept"))
        if total and total != curve.best_epoch:
            yield (*start, *_cells(curve, total, "last"))


def _cells(curve: Curve, number: int, word: str) -> tuple[str, ...]:
    epoch = curve.epochs[number - 1]
    others = ", ".join(f"{clean(name)} {value:.4g}" for name, value in epoch.others.items())
    return (
        f"{number} of {len(curve.epochs)}, {word}",
        loss_text(epoch.loss),
        loss_text(epoch.select_loss),
        metric_text(curve, epoch.metric),
        metric_text(curve, epoch.select_metric),
        others,
        format_seconds(sum(item.seconds for item in curve.epochs[:number])),
    )


def _without_empty(table: Table) -> Table:
    """Without the columns that no row fills: a task without a right and wrong has no metric."""
    full = [i for i in range(len(table.heads)) if any(row[i] for row in table.rows)]
    return Table(
        table.title,
        tuple(table.heads[i] for i in full),
        tuple(tuple(row[i] for i in full) for row in table.rows),
        frozenset(place for place, i in enumerate(full) if i in table.numeric),
        table.caption,
    )
