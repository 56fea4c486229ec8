"""The curves of a training: loss and metric by epoch, on the train and the select split."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgekit.core.report import Report, StepRecord
from edgekit.core.training import Curve
from edgekit.reporters._plots import Plot
from edgekit.reporters._settings import settings
from edgekit.reporters._svg import GRID, INK, MUTED, REFERENCE, RESULT, drawing, svg
from edgekit.reporters._training import is_share, kept_epoch, loss_text, metric_text, trained
from edgekit.reporters._wording import count
from edgekit.text import clean
from edgekit.units import format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MOST_CURVES", "curve_plots"]

MOST_CURVES: Final = 12
"""The drawings of one step: of more trainings, the last ones."""
_WIDTH, _PANEL, _TITLE, _LEFT, _BOTTOM = 3.0, 1.1, 0.27, 0.52, 0.4
"""Inches. Margins that are the same everywhere put the axes of all boxes in line."""
_FEW_EPOCHS: Final = 12
"""Each epoch has its dot as long as they do not run into each other."""
_WIDE: Final = 50.0
"""The loss axis is logarithmic where one loss is so many times another."""
_TINY = 1e-30
"""Nearer to 0 (or to infinity) the drawing library's logarithms and margins leave the floats."""

_HUGE: Final = 1e38
"""What is larger than a float32 can be is no figure, and no axis has room for it."""


@dataclass(frozen=True)
class _Panel:
    """One figure by epoch on both splits, nan where there is none, and how to write it."""

    name: str
    train: tuple[float, ...]
    select: tuple[float, ...]
    show: Callable[[float], str]
    in_percent: bool = False

    @property
    def finite(self) -> list[float]:
        """What can be drawn."""
        return [value for value in (*self.train, *self.select) if math.isfinite(value)]

    @property
    def is_logarithmic(self) -> bool:
        """Only a loss, which has no natural end, may span so much."""
        least, most = min(self.finite, default=0.0), max(self.finite, default=0.0)
        return self.name == "loss" and _TINY < least < _WIDE * least < most < 1 / _TINY


def curve_plots(report: Report) -> tuple[Plot, ...]:
    """One drawing a training, step by step."""
    with drawing():
        return tuple(
            _plot(curve, _title(number, step, curve), f"curve-{number}-{index}")
            for number, step in trained(report)
            for index, curve in enumerate(step.curves[-MOST_CURVES:])
            if curve.epochs
        )


def _title(number: int, step: StepRecord, curve: Curve) -> str:
    own = f": {clean(curve.title)}" if curve.title != step.name else ""
    return f"{number} {clean(step.name)}{own}"


def _plot(curve: Curve, title: str, name: str) -> Plot:
    from matplotlib.figure import Figure

    panels = _panels(curve)
    height = _PANEL * len(panels) + _BOTTOM
    figure = Figure(figsize=(_WIDTH, height))
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
    figure.subplots_adjust(
        left=_LEFT / _WIDTH,
        right=0.99,
        top=1 - _TITLE / height,
        bottom=_BOTTOM / height,
        hspace=_TITLE / (_PANEL - _TITLE),
    )
    for axes, panel in zip(rows[:, 0], panels, strict=True):
        _draw(axes, panel, curve.best_epoch)
    _epoch_axis(rows[-1, 0], len(curve.epochs))
    label = f"Training of step {title}: {_caption(curve)}"
    caption = _caption(curve)
    if any(panel.is_logarithmic for panel in panels):
        caption += " Logarithmic loss axis."
    details = settings(curve.details).line if curve.details else ""
    caption += f" {details}." if details else ""
    return Plot(title, caption, svg(figure, name=name, label=label))


def _caption(curve: Curve) -> str:
    seconds = sum(epoch.seconds for epoch in curve.epochs)
    kept = f"kept epoch {curve.best_epoch}" if kept_epoch(curve) else "none of them kept"
    return f"{count(len(curve.epochs), 'epoch')} in {format_seconds(seconds)}, {kept}."


def _panels(curve: Curve) -> list[_Panel]:
    epochs = curve.epochs
    loss = _Panel(
        "loss",
        tuple(_number(epoch.loss) for epoch in epochs),
        tuple(_number(epoch.select_loss) for epoch in epochs),
        loss_text,
    )
    metric = _Panel(
        clean(curve.metric, most=16) or "metric",
        tuple(_number(epoch.metric) for epoch in epochs),
        tuple(_number(epoch.select_metric) for epoch in epochs),
        lambda value: metric_text(curve, value),
        is_share(curve),
    )
    return [loss, metric] if metric.finite else [loss]


def _number(value: float | None) -> float:
    return math.nan if value is None or not abs(value) < _HUGE else value


def _draw(axes: Axes, panel: _Panel, best: int) -> None:
    """Both splits over the epochs; a ring and a line mark the epoch that was kept."""
    scale = 100.0 if panel.in_percent else 1.0
    epochs = range(1, len(panel.train) + 1)
    dot = "o" if len(epochs) <= _FEW_EPOCHS else ""
    for values, color, style, size in (
        (panel.train, REFERENCE, (0, (4, 2)), 3.4),
        (panel.select, RESULT, "solid", 2.8),
    ):
        scaled = [scale * value for value in values]
        axes.plot(
            epochs,
            scaled,
            marker=dot,
            markersize=size,
            mec="none",
            ls=style,
            color=color,
            linewidth=1.4,
        )
    if 1 <= best <= len(epochs):
        axes.axvline(best, color=MUTED, linewidth=0.7, zorder=1)
        kept = scale * panel.select[best - 1]
        axes.plot([best], [kept], "o", markersize=7, mfc="none", mec=INK, mew=1.1)
    axes.set_title(_heading(panel, best), loc="left", fontsize=8.5)
    _value_axis(axes, panel)


def _heading(panel: _Panel, best: int) -> str:
    """Writes 'loss: select 0.032, train 0.030', of the kept epoch."""
    if not 1 <= best <= len(panel.train):
        return panel.name
    pairs = (("select", panel.select[best - 1]), ("train", panel.train[best - 1]))
    shown = [f"{split} {panel.show(value)}" for split, value in pairs if not math.isnan(value)]
    return f"{panel.name}: {', '.join(shown)}" if shown else panel.name


def _value_axis(axes: Axes, panel: _Panel) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    unit = " %" if panel.in_percent else ""
    axes.grid(visible=False, axis="x")
    axes.grid(visible=True, axis="y", color=GRID)
    if not panel.finite:
        axes.yaxis.set_major_locator(NullLocator())
    elif panel.is_logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}{unit}"))
    axes.margins(y=0.12)


def _epoch_axis(axes: Axes, epochs: int) -> None:
    """Whole epochs from 1 on: there is no epoch 0."""
    from matplotlib.ticker import MaxNLocator

    margin = max(0.3, 0.03 * epochs)
    axes.set_xlim(1 - margin, epochs + margin)
    found = MaxNLocator(6, integer=True, min_n_ticks=1).tick_values(1, epochs)
    axes.set_xticks([1, *(round(tick) for tick in found if 1 < tick <= epochs)])
    axes.set_xlabel("epoch")
