"""A small plot of one value over runs, as an SVG element without a library.

`check` writes its page on every run: a second of importing a plotting library would be most of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

from edgekit.check_reports._figures import Series
from edgekit.text import clean

__all__ = ["chart"]

_WIDTH: Final = 260
_HEIGHT: Final = 128
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 250, 14, 100
_FAR: Final = 4.0
"""A bound further than so many spans of the values would press them into a line."""


@dataclass(frozen=True)
class _Scale:
    """Where a value and a run lie in the drawing."""

    low: float
    high: float
    runs: int

    def x(self, run: int) -> float:
        """The last run stands at the right end, a single one too."""
        if self.runs == 1:
            return _RIGHT
        return _LEFT + 6 + (_RIGHT - _LEFT - 6) * run / (self.runs - 1)

    def y(self, value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (value - self.low) / (self.high - self.low)


def chart(series: Series) -> tuple[str, str]:
    """The drawing, and the sentence under it."""
    known = [value for value in series.values if value is not None]
    bound = series.bound if _is_near(series.bound, known) else None
    low, high = min(known), max(known)
    span = [*known, *([bound] if bound is not None else [])]
    pad = 0.12 * (max(span) - min(span)) or 0.05 * abs(high) or 1.0
    scale = _Scale(min(span) - pad, max(span) + pad, len(series.values))
    parts = [_tick(scale, low, series)]
    if _apart(scale, low, high):
        parts.append(_tick(scale, high, series))
    parts += [*_line(scale, series), *_dates(series)]
    if bound is not None:
        parts.append(_bound(scale, bound, series))
    caption = _caption(series, bound is None)
    label = escape(f"{series.kind.title} of {len(series.values)} runs. {caption}")
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" class="history"'
    return f'<svg role="img" aria-label="{label}" {box}>{"".join(parts)}</svg>', caption


def _is_near(bound: float | None, known: list[float]) -> bool:
    if bound is None:
        return False
    reach = _FAR * (max(known) - min(known)) or 0.5 * abs(known[0])
    return min(known) - reach <= bound <= max(known) + reach


def _apart(scale: _Scale, low: float, high: float) -> bool:
    """Two labels need room for their letters; the highest gives way to the lowest."""
    return abs(scale.y(high) - scale.y(low)) >= 14


def _tick(scale: _Scale, value: float, series: Series) -> str:
    y = scale.y(value)
    text = escape(series.kind.show(value))
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="end" x="{_LEFT - 6}" y="{y + 4:.1f}">{text}</text>'
    )


def _bound(scale: _Scale, bound: float, series: Series) -> str:
    y = scale.y(bound)
    text = escape(f"{series.bound_name} {series.kind.show(bound)}")
    return (
        f'<line class="bound" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="bound" x="{_LEFT + 4}" y="{y - 4:.1f}">{text}</text>'
    )


def _line(scale: _Scale, series: Series) -> list[str]:
    """Runs that follow each other are joined; a run without the value leaves a gap."""
    placed = [
        None if value is None else (scale.x(run), scale.y(value))
        for run, value in enumerate(series.values)
    ]
    parts = [
        f'<line class="run" x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}"/>'
        for a, b in pairwise(placed)
        if a and b
    ]
    dots = [f'<circle class="run" cx="{p[0]:.1f}" cy="{p[1]:.1f}" r="2"/>' for p in placed if p]
    last = placed[-1]
    now = f'<circle class="now" cx="{last[0]:.1f}" cy="{last[1]:.1f}" r="4"/>' if last else ""
    return [*parts, *dots, now]


def _dates(series: Series) -> list[str]:
    first = escape(clean(series.since, most=10)) or "oldest"
    left = f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{first}</text>' if len(series.values) > 1 else ""
    return [left, f'<text class="end" x="{_RIGHT}" y="{_HEIGHT - 8}">this run</text>']


def _caption(series: Series, is_far: bool) -> str:
    now = series.values[-1]
    earlier = sum(value is not None for value in series.values[:-1])
    said = "not measured in this run" if now is None else f"{series.kind.show(now)} now"
    runs = f"{earlier} earlier run{'' if earlier == 1 else 's'}"
    far = ""
    if series.bound is not None and is_far:
        far = f"; the {series.bound_name}, {series.kind.show(series.bound)}, lies off the plot"
    return f"{said}, {runs}{far}."
