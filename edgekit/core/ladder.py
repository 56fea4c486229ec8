"""A ladder: what a technique tries, one after the other, until a recipe's promise holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from edgekit.core.data import Score
    from edgekit.core.measurement import Latency

__all__ = ["Climb", "Rung", "RungRecord", "RungStatus"]

_NOISE = 1.05
RungStatus = Literal["holds", "breaks", "failed", "not tried"]
"""`failed`: the technique could not do it, or refused the model."""


@dataclass(frozen=True)
class Rung:
    """One way to do a step: what reports call it, and the step's parameters.

    `spare` is the share of the ranked ops, the most sensitive first, that are treated with more
    care: the engine asks the technique for the ranking (`rank`) and adds their names to the
    parameter that is called `fills`.
    """

    label: str
    parameters: Any
    spare: float = 0.0
    fills: str = "skip"


@dataclass(frozen=True)
class RungRecord:
    """What came of one rung; `score` and `drop` are of the select split, never of the test split.

    `drop` is in the metric's own unit, positive where the result is worse; `drop_bound` is the
    upper end of its one-sided 95 % interval over all rungs, from the samples on which the two
    models differ.
    `reason` says why a rung failed, broke the promise, or was not tried.
    """

    label: str
    status: RungStatus
    reason: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    size_bytes: int | None = None
    size_ratio: float | None = None
    score: Score | None = None
    drop: float | None = None
    drop_bound: float | None = None
    latency: Latency | None = None

    @property
    def is_slower(self) -> bool:
        """True where the whole interval of the latency ratio lies above 1.05: less may be noise."""
        interval = self.latency.ratio_ci95 if self.latency else None
        return interval is not None and interval[0] > _NOISE


@dataclass(frozen=True)
class Climb:
    """How a ladder went: the step, what it was decided on, every rung, and the one taken."""

    step: str
    samples: int
    reference: Score | None
    rungs: tuple[RungRecord, ...]
    taken: str
