"""The ratio of two models that were timed in turns, and what it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.core.measurement import Latency
from edgekit.statistics import change, nested_ratio, smallest_visible_change

__all__ = ["MARGIN", "ratio_of", "with_ratio"]

MARGIN = 0.03
"""Two models whose times differ by less are called equally fast, unless the user says otherwise."""


def ratio_of(runs: Sequence[Mapping[str, Any]]) -> tuple[float, tuple[float, float]]:
    """The ratio that the answers of several processes say together, with its 95 % interval."""
    groups: dict[tuple[int, int], list[float]] = {}
    for process, answer in enumerate(runs):
        for item in answer["rounds"]:
            # A device answers once, and has a process for each opening; here it is one an answer.
            key = (process, item["opening"] if len(runs) == 1 else 0)
            groups.setdefault(key, []).append(item["ratio"])
    return nested_ratio(list(groups.values()), seed=0)


def with_ratio(
    latency: Latency, ratio: float, ci95: tuple[float, float], *, margin: float
) -> Latency:
    """The same latency with a ratio to the reference, and what its interval says."""
    return dataclasses.replace(
        latency,
        ratio_to_reference=ratio,
        ratio_ci95=ci95,
        change=change(ci95, margin),
        margin=margin,
        smallest_change=smallest_visible_change(ci95),
    )
