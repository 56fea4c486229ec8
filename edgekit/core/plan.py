"""The plan: recipe x target x source format -> the exact steps, conversions inserted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from edgekit.core.data import SPLITS, SplitName
from edgekit.core.recipe import Recipe
from edgekit.core.target import Target
from edgekit.errors import UsageError

__all__ = ["Abilities", "Plan", "Step", "make_plan"]


@dataclass(frozen=True)
class Abilities:
    """What the planner may use: technique -> formats, and the pairs that can be converted."""

    techniques: Mapping[str, frozenset[str]]
    conversions: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Step:
    """One pass: its name, what it takes and makes, its parameters, and the data it needs."""

    kind: Literal["conversion", "technique"]
    name: str
    accepts: str
    produces: str
    parameters: Any

    @property
    def needs(self) -> frozenset[SplitName]:
        """The data splits without which this step cannot work."""
        needs: frozenset[SplitName] = getattr(self.parameters, "needs", frozenset())
        return needs

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters as plain values, for reports and cache keys."""
        if self.parameters is None:
            return {}
        return {item.name: getattr(self.parameters, item.name) for item in fields(self.parameters)}


@dataclass(frozen=True)
class Plan:
    """The steps from the source to what the target takes."""

    source_format: str
    recipe: Recipe
    target: Target
    steps: tuple[Step, ...]

    @property
    def needs(self) -> frozenset[SplitName]:
        """The data splits that some step cannot do without."""
        return frozenset(split for split in SPLITS if any(split in s.needs for s in self.steps))


def make_plan(
    recipe: Recipe,
    target: Target,
    source_format: str,
    *,
    abilities: Abilities,
    conversion_parameters: Mapping[tuple[str, str], Any] | None = None,
) -> Plan:
    """Walks the recipe holding the current format, inserting conversions where they are needed.

    If a technique has an implementation for the current format it is used; otherwise the conversion
    towards the target's format is inserted and the technique looked up again. At the end the model
    is converted to the target's format.

    Raises:
        UsageError: a technique cannot work on any format on the way, or no conversion leads there.
    """
    chosen = conversion_parameters or {}
    steps: list[Step] = []
    current = source_format

    def convert() -> None:
        nonlocal current
        pair = (current, target.format)
        if pair not in abilities.conversions:
            raise UsageError(
                f"target '{target.name}' takes {target.format}, and nothing converts "
                f"{current} to {target.format}",
                hint=_reachable(current, abilities),
            )
        name = f"{current}-to-{target.format}"
        steps.append(Step("conversion", name, current, target.format, chosen.get(pair)))
        current = target.format

    for index, wanted in enumerate(recipe.steps, 1):
        formats = abilities.techniques.get(wanted.technique, frozenset())
        if current not in formats and current != target.format:
            convert()
        if current not in formats:
            raise UsageError(
                f"{recipe.promise.source}: technique {index}: '{wanted.technique}' cannot work on "
                f"a {current} model",
                hint=f"it works on {', '.join(sorted(formats)) or 'no format yet'}",
            )
        steps.append(Step("technique", wanted.technique, current, current, wanted.parameters))
    if current != target.format:
        convert()
    return Plan(source_format, recipe, target, tuple(steps))


def _reachable(current: str, abilities: Abilities) -> str:
    ends = sorted(end for start, end in abilities.conversions if start == current)
    return (
        f"{current} converts to {', '.join(ends)}" if ends else f"nothing converts {current} files"
    )
