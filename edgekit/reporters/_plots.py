"""The plots of the HTML page: size by tensor, latency, change by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgekit.core.report import Report
from edgekit.reporters._layers import Layer, largest, rest_of_file
from edgekit.reporters._svg import INK, MUTED, REFERENCE, RESULT, WORSE, drawing, svg
from edgekit.reporters._wording import trimmed
from edgekit.text import clean
from edgekit.units import format_bytes, format_nanoseconds, format_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Plot", "plots"]

_WIDTH: Final = 4.2
_MOST_LAYERS: Final = 10
_MOST_CLASSES: Final = 16
_BINS: Final = 64
_FAR: Final = 2.0
"""The time axis ends at the slowest per cent, and at this multiple of the slower median at most:
one pause of a busy machine would else squeeze both hills into a line."""
_DISTANT: Final = 5
"""The time axis is logarithmic where one model is so many times slower than the other."""


@dataclass(frozen=True)
class Plot:
    """One drawing: its heading, how to read it, and the SVG element."""

    title: str
    caption: str
    svg: str


def plots(report: Report) -> tuple[Plot, ...]:
    """The plots for which the report has figures."""
    with drawing():
        found = (_sizes(report), _latencies(report), _classes(report))
    return tuple(plot for plot in found if plot is not None)


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _legend(figure: Figure, handles: list[Any]) -> None:
    figure.legend(
        handles=handles,
        labels=["reference", "result"],
        loc="outside upper left",
        ncols=2,
        handlelength=1.1,
        borderpad=0.2,
        columnspacing=1.4,
    )


def _sizes(report: Report) -> Plot | None:
    """Two bars a tensor, the largest on top, and the rest of the file unless it dwarfs them."""
    shown, more = largest(report, _MOST_LAYERS)
    if not shown:
        return None
    rest = rest_of_file(report, shown)
    is_drawn = rest is not None and rest.largest <= 2 * shown[0].largest
    layers = [*shown, *([rest] if rest and is_drawn else [])]
    figure, axes = _figure(0.85 + 0.3 * len(layers))
    handles = [_bars(axes, layers, -0.19, REFERENCE, 0), _bars(axes, layers, 0.19, RESULT, 1)]
    _legend(figure, handles)
    axes.set_yticks(range(len(layers)), [_end(layer.name) for layer in layers])
    axes.set_ylim(len(layers) - 0.45, -0.55)
    axes.xaxis.set_major_formatter(lambda value, _: trimmed(format_bytes(value)))
    axes.locator_params(axis="x", nbins=4)
    before, after = report.reference.size_bytes, report.result.size_bytes
    label = f"Bytes by tensor: reference {format_bytes(before)}, result {format_bytes(after)}"
    caption = _of_the_file(len(shown), more, rest, is_drawn=is_drawn)
    return Plot("Size by tensor", caption, svg(figure, name="sizes", label=label))


def _end(name: str) -> str:
    """The end of a tensor's name: the start is the path that it shares with all the others."""
    whole = clean(name, most=200)
    return whole if len(whole) <= 26 else f"…{whole[-25:]}"


def _of_the_file(shown: int, more: int, rest: Layer | None, *, is_drawn: bool) -> str:
    which = f"The {shown} largest tensors of {shown + more:,}" if more else "All tensors"
    if rest is None:
        return f"{which}."
    if is_drawn:
        return f"{which} and the rest of the file."
    sizes = (format_bytes(rest.reference_bytes or 0), format_bytes(rest.result_bytes or 0))
    return f"{which}. The rest of the file, {sizes[0]} and {sizes[1]}, is not drawn."


def _bars(axes: Axes, layers: list[Layer], shift: float, color: str, role: int) -> Any:
    values = [(layer.reference_bytes, layer.result_bytes)[role] or 0 for layer in layers]
    places = [index + shift for index in range(len(layers))]
    return axes.barh(places, values, height=0.34, color=color, linewidth=0)


def _latencies(report: Report) -> Plot | None:
    """Two histograms on one time axis; the slow tail is cut off and its count said."""
    import numpy as np

    pairs = (("reference", report.reference.latency), ("result", report.result.latency))
    samples = [(role, np.array(item.samples_ns, dtype=np.float64), item) for role, item in pairs]
    if any(values.size < 2 or values.min() <= 0 for _, values, _ in samples):
        return None
    from matplotlib.figure import Figure

    start = min(float(values.min()) for _, values, _ in samples)
    slowest = max(float(np.median(values)) for _, values, _ in samples)
    tail = max(float(np.percentile(values, 99)) for _, values, _ in samples)
    end = min(tail, _FAR * slowest)
    is_log = slowest > _DISTANT * start
    edges = (np.geomspace if is_log else np.linspace)(start, max(end, start + 1), _BINS + 1)
    figure = Figure(figsize=(_WIDTH, 2.7), layout="constrained")
    rows = figure.subplots(2, 1, sharex=True)
    cut = []
    for axes, (role, values, latency), color in zip(
        rows, samples, (REFERENCE, RESULT), strict=True
    ):
        counts, _ = np.histogram(values, edges)
        axes.stairs(counts, edges, fill=True, color=color, linewidth=0)
        middle = latency.median_ns or float(np.median(values))
        axes.axvline(middle, color=INK, linewidth=1)
        axes.set_yticks([])
        axes.set_title(f"{role}, median {format_nanoseconds(middle)}", loc="left", fontsize=8.5)
        beyond = int((values > edges[-1]).sum())
        cut += [f"{beyond} of {values.size:,} of the {role}"] if beyond else []
    _time_axis(rows[-1], is_log=is_log)
    caption = "The line is the median."
    if cut:
        caption += f" Cut off at {format_nanoseconds(edges[-1])}: {', '.join(cut)}."
    if is_log:
        caption += " Logarithmic axis."
    label = "Latency distribution: " + ", ".join(
        f"{role} median {format_nanoseconds(item.median_ns or 0)}" for role, _, item in samples
    )
    return Plot("Latency, run by run", caption, svg(figure, name="latency", label=label))


def _time_axis(axes: Axes, *, is_log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if is_log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: trimmed(format_nanoseconds(value)))
    )


def _classes(report: Report) -> Plot | None:
    """A dumbbell a class: an empty ring for the reference, a full dot for the result."""
    before, after = report.reference.score, report.result.score
    if before is None or after is None:
        return None
    names = [name for name in after.by_class if name in before.by_class]
    if not names:
        return None
    scale = 100.0 if after.is_share else 1.0
    chosen = _most_changed(names, before.by_class, after.by_class)
    figure, axes = _figure(0.85 + 0.24 * len(chosen))
    sign = 1 if after.higher_is_better else -1
    for place, name in enumerate(chosen):
        old, new = scale * before.by_class[name], scale * after.by_class[name]
        _dumbbell(axes, place, old, new, is_worse=sign * (new - old) < 0, is_share=after.is_share)
    _dress(figure, axes, chosen, clean(after.metric), after.is_share)
    changed = sum(before.by_class[name] != after.by_class[name] for name in names)
    verb = "differs" if changed == 1 else "differ"
    caption = f"{changed} of {len(names):,} classes {verb}."
    if len(chosen) < len(names):
        caption += f" Shown: the {len(chosen)} that changed most."
    title = f"{clean(after.metric, most=40)} by class"
    drawn = svg(figure, name="classes", label=f"Change by class: {caption}")
    return Plot(title[:1].upper() + title[1:], caption, drawn)


def _most_changed(
    names: list[str], before: Mapping[str, float], after: Mapping[str, float]
) -> list[str]:
    """The classes that changed most, in the order in which the task lists them."""
    ranked = sorted(names, key=lambda name: -abs(after[name] - before[name]))[:_MOST_CLASSES]
    return [name for name in names if name in ranked]


def _dumbbell(
    axes: Axes, place: int, old: float, new: float, *, is_worse: bool, is_share: bool
) -> None:
    color = WORSE if is_worse else RESULT
    axes.plot([old, new], [place, place], color=color, linewidth=2, solid_capstyle="butt")
    axes.plot([old], [place], "o", markersize=7, mfc="none", mec=REFERENCE, mew=1.4)
    axes.plot([new], [place], "o", markersize=4, mfc=color, mec="none")
    change = format_points((new - old) / 100) if is_share else f"{new - old:+.3g}"
    axes.annotate(
        change,
        (1.02, place),
        xycoords=axes.get_yaxis_transform(),
        va="center",
        fontsize=8.5,
        color=WORSE if is_worse else MUTED,
        annotation_clip=False,
    )


def _dress(figure: Figure, axes: Axes, names: list[str], metric: str, is_share: bool) -> None:
    from matplotlib.lines import Line2D

    ring = Line2D([], [], marker="o", ls="", markersize=7, mfc="none", mec=REFERENCE, mew=1.4)
    dot = Line2D([], [], marker="o", ls="", markersize=4, mfc=RESULT, mec="none")
    _legend(figure, [ring, dot])
    axes.set_yticks(range(len(names)), [clean(name, most=22) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=5)
    if is_share:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    else:
        axes.set_xlabel(metric)
