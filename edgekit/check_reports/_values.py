"""How the figures of a finding are written: value, bound, baseline, difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from edgekit.core.gate import Finding, Unit
from edgekit.drawing.words import (
    bytes_text,
    nanoseconds_text,
    p_text,
    points_text,
    times_text,
    trimmed,
)
from edgekit.units import format_bytes, format_nanoseconds, format_points

__all__ = ["difference_text", "threshold_text", "value_text"]

_SHORT: Final[Mapping[Unit, Callable[[float], str]]] = {
    "bytes": bytes_text,
    "ns": nanoseconds_text,
    "points": points_text,
    "share": lambda value: trimmed(f"{100 * value:.2f} %"),
    "ratio": lambda value: times_text(round(value, 3)),
    "p": p_text,
    "count": lambda value: f"{value:,.12g}",
}
_EXACT: Final[Mapping[Unit, Callable[[float], str]]] = {
    "bytes": lambda value: f"{value:,.0f} B",
    "ns": lambda value: f"{value:,.0f} ns",
    "points": lambda value: f"{100 * value:.6g} pt",
    "share": lambda value: f"{100 * value:.8g} %",
    "ratio": lambda value: f"{value:.8g}x",
    "p": lambda value: f"p {value:.8g}",
    "count": lambda value: f"{value:,.17g}",
}
_DISTANCE: Final[Mapping[Unit, Callable[[float], str]]] = {
    **_SHORT,
    "bytes": format_bytes,
    "ns": format_nanoseconds,
    "share": points_text,
    "ratio": times_text,
}


def value_text(finding: Finding) -> str:
    """The value with its unit, and its interval; '' where there is none."""
    if finding.value is None:
        return ""
    return f"{_texts(finding)[0]}{_interval_of_value(finding)}"


def threshold_text(finding: Finding) -> str:
    """What the value was held against: 'limit 60 kB', 'baseline 58.1 kB, allowed up to 58.7 kB'."""
    _, bound, baseline = _texts(finding)
    least = _falls(finding)
    if finding.kind == "limit":
        before = f" (baseline {baseline})" if baseline else ""
        return f"limit {'≥ ' if least else ''}{bound}{before}" if bound else ""
    allowed = f"allowed {'down' if least else 'up'} to {bound}" if bound else ""
    if _is_side_by_side(finding):
        return f"{allowed} of the baseline" if allowed else ""
    if allowed and finding.baseline and finding.bound is not None:
        allowed += f" ({_change(finding.unit, finding.bound, finding.baseline)})"
    return ", ".join(text for text in (baseline and f"baseline {baseline}", allowed) if text)


def difference_text(finding: Finding) -> str:
    """How far from its limit a value lies, or what changed since the baseline."""
    value, bound, baseline = finding.value, finding.bound, finding.baseline
    if value is None or not math.isfinite(value):
        return ""
    if finding.kind == "regression" and baseline is not None:
        return _change(finding.unit, value, baseline) + _interval_of_change(finding)
    if bound is None or value == bound:
        return ""
    side = "under" if value < bound else "over"
    return f"{_DISTANCE[finding.unit](abs(value - bound))} {side}"


def _interval_of_value(finding: Finding) -> str:
    """Writes ' [0.58x, 0.63x]': the interval of the value, where it has one."""
    return _interval(finding, _SHORT[finding.unit]) if _is_of_value(finding) else ""


def _interval_of_change(finding: Finding) -> str:
    """The same of a change: in points where the value is a share, as a ratio otherwise."""
    if finding.interval is None or _is_of_value(finding):
        return ""
    if finding.unit in ("share", "points"):
        return _interval(finding, format_points)
    return _interval(finding, times_text)


def _is_of_value(finding: Finding) -> bool:
    """An interval is of the value if the value lies in it; else it is of the change."""
    if finding.interval is None or finding.value is None:
        return False
    return finding.interval[0] <= finding.value <= finding.interval[1]


def _interval(finding: Finding, show: Callable[[float], str]) -> str:
    ends = finding.interval or ()
    return f" [{', '.join(_number(show, end) for end in ends)}]"


def _is_side_by_side(finding: Finding) -> bool:
    """A ratio of two that ran in the same session: the baseline is 1 by definition."""
    return finding.kind == "regression" and finding.unit == "ratio" and finding.baseline == 1


def _falls(finding: Finding) -> bool:
    """Whether more is better, so that the bound is a least value."""
    if finding.kind == "limit":
        return finding.metric.startswith("min_")
    bound, baseline = finding.bound, finding.baseline
    if bound is None or baseline is None or bound == baseline:
        return finding.metric in ("accuracy", "agreement", "delegated")
    return bound < baseline


def _change(unit: Unit, value: float, baseline: float) -> str:
    """Points where the unit is a share, per cent of the baseline otherwise."""
    if unit in ("share", "points"):
        change = round(100 * (value - baseline), 3)
        digits = 1 if round(change, 1) or not change else 3
        return format_points(value - baseline, digits=digits)
    if value == baseline:
        return "no change"
    if not baseline:
        return f"{_DISTANCE[unit](abs(value - baseline))} {'more' if value > baseline else 'less'}"
    return f"{100 * (value / baseline - 1):+.3g} %"


def _texts(finding: Finding) -> tuple[str, str, str]:
    """Value, bound and baseline; with all digits where fewer would hide that a bound is passed."""
    values = (finding.value, finding.bound, finding.baseline)
    short = tuple(_number(_SHORT[finding.unit], value) for value in values)
    if values[0] == values[1] or short[0] != short[1]:
        return short[0], short[1], short[2]
    exact = tuple(_number(_EXACT[finding.unit], value) for value in values)
    return exact[0], exact[1], exact[2]


def _number(show: Callable[[float], str], value: float | None) -> str:
    """A value that is no finite number is written as Python does; rounding it would raise."""
    if value is None:
        return ""
    return show(value) if math.isfinite(value) else str(value)
