"""Input scaling as JSON, the same in every format."""

from __future__ import annotations

import json
import math
from typing import Any

from edgekit.core.artifact import InputScaling
from edgekit.errors import UsageError

__all__ = ["KEY", "dump", "load"]

KEY = "edgekit"
"""The name of the entry that holds the scaling, in every format."""

_KEYS = {"scale", "offset", "low", "high"}
_MAX_VALUES = 65536


def dump(scaling: InputScaling) -> bytes:
    """Writes scaling as JSON."""
    table: dict[str, Any] = {"scale": list(scaling.scale), "offset": list(scaling.offset)}
    for key, value in (("low", scaling.low), ("high", scaling.high)):
        if value is not None:
            table[key] = value
    return json.dumps(table, allow_nan=False).encode()


def load(data: bytes | str, *, where: str) -> InputScaling:
    """Reads scaling; `where` is what errors call the file.

    Raises:
        UsageError: the entry is damaged; the message says how.
    """
    try:
        table = json.loads(data)
        if (
            not isinstance(table, dict)
            or set(table) - _KEYS
            or not {"scale", "offset"} <= set(table)
        ):
            raise ValueError("it must have scale, offset, and may have low and high")
        scale, offset = _values(table, "scale"), _values(table, "offset")
        low, high = _bound(table, "low"), _bound(table, "high")
        if 1 < len(scale) != len(offset) > 1:
            raise ValueError(f"it has {len(scale)} scales and {len(offset)} offsets")
        if low is not None and high is not None and not low < high:
            raise ValueError(f"low {low:g} is not below high {high:g}")
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{where}: the input scaling stored in it is damaged ({error})",
            hint="make the file again with edgekit",
        ) from None
    return InputScaling(scale, offset, low, high)


def _values(table: dict[str, Any], key: str) -> tuple[float, ...]:
    values = table[key]
    if not isinstance(values, list) or not 0 < len(values) <= _MAX_VALUES:
        raise ValueError(f"{key} must be a list of numbers")
    return tuple(_number(value, key) for value in values)


def _bound(table: dict[str, Any], key: str) -> float | None:
    return None if table.get(key) is None else _number(table[key], key)


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key} has {value!r}, which is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{key} has {number}, which is not finite")
    return number
