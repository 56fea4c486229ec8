"""What was measured of one model, and what was not, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.core.data import Score
from edgekit.core.runner import Placement

__all__ = ["Change", "Figure", "Kind", "Latency", "Measurements", "Memory"]

Kind = Literal["measured", "estimated", "unmeasured"]
"""`estimated` is a compiler's or emulator's own figure; the kinds are never mixed."""

Change = Literal["faster", "slower", "no difference", "cannot tell"]
"""What the interval of a ratio says (`edgekit.statistics.change`)."""


@dataclass(frozen=True)
class Latency:
    """Time of one inference: raw samples in integer ns, and the ratio to the reference.

    The ratio is that of paired interleaved rounds (reference, result, result, reference); its 95 %
    interval is a bootstrap over processes and rounds. `change` is what the interval says where
    ratios within `margin` of 1 do not matter, `smallest_change` what this measurement would have
    found 4 times of 5 (0.01 is 1 %). `process` says how it was taken.
    """

    kind: Kind
    reason: str = ""
    median_ns: int | None = None
    ratio_to_reference: float | None = None
    ratio_ci95: tuple[float, float] | None = None
    samples_ns: tuple[int, ...] = ()
    load_ns: int | None = None
    first_ns: int | None = None
    threads: int = 1
    process: str = ""
    change: Change | None = None
    margin: float | None = None
    smallest_change: float | None = None


@dataclass(frozen=True)
class Memory:
    """Peak resident memory of a fresh process that runs only this model."""

    kind: Kind
    reason: str = ""
    peak_bytes: int | None = None
    process: str = ""


@dataclass(frozen=True)
class Figure:
    """A number that only some targets have: an arena's bytes, an NPU's cycles, instructions.

    `unit` is ns, bytes, cycles, instructions, or '' for a count; `reason` says where it is from.
    """

    name: str
    value: int
    unit: str
    kind: Kind
    reason: str = ""


@dataclass(frozen=True)
class Measurements:
    """Everything known of one artifact, keyed by its digest."""

    digest: str
    size_bytes: int
    size_compressed_bytes: int
    score: Score | None
    latency: Latency
    memory: Memory
    placement: Placement
    figures: tuple[Figure, ...] = ()
