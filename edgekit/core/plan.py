"""The plan: recipe x target x source format -> the exact steps, conversions inserted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from edgekit.core.data import SPLITS, SplitName
from edgekit.core.recipe import Recipe, RecipeStep
from edgekit.core.target import Target
from edgekit.errors import UsageError
from edgekit.text import with_article

__all__ = ["Abilities", "Plan", "Step", "make_plan"]


@dataclass(frozen=True)
class Abilities:
    """What the planner may use: technique -> the formats it takes and what each becomes, the
    pairs that can be converted, and what prepares a technique on a format: a step of its own."""

    techniques: Mapping[str, Mapping[str, str]]
    conversions: frozenset[tuple[str, str]]
    preparations: Mapping[tuple[str, str], RecipeStep] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One pass: its name, what it takes and makes, its parameters, and the data it needs."""

    kind: Literal["conversion", "technique"]
    name: str
    accepts: str
    produces: str
    parameters: Any

    @property
    def needs(self) -> Mapping[SplitName, int]:
        """The data splits without which this step cannot work, and the least sample count."""
        needs_on = getattr(self.parameters, "needs_on", None)
        needs: Mapping[SplitName, int] = (
            needs_on(self.accepts) if needs_on else getattr(self.parameters, "needs", {})
        )
        return needs

    @property
    def files(self) -> tuple[Path, ...]:
        """The user's files whose content changes the result."""
        files: tuple[Path, ...] = getattr(self.parameters, "files", ())
        return files

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
    towards the target's format is inserted and the technique looked up again; so it is where the
    technique makes integers and works on the target's format too. What prepares a
    technique is inserted before it, once. At the end the model is converted to the target's format.

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

    made: dict[str, str] = {}
    for index, wanted in enumerate(recipe.steps, 1):
        where = f"{recipe.promise.source}: technique {index}: '{wanted.technique}'"
        formats = abilities.techniques.get(wanted.technique, {})
        _check_order(wanted, made, where)
        # Integers do not survive a conversion: they are made in the format that ships.
        late = "integers" in getattr(wanted.parameters, "makes", ()) and target.format in formats
        if current != target.format and (current not in formats or late):
            convert()
        if current not in formats:
            raise UsageError(
                f"{where} cannot work on {with_article(current)} model",
                hint=_order_hint(steps, formats),
            )
        first = abilities.preparations.get((wanted.technique, current))
        if first is not None and first.technique not in {step.name for step in steps}:
            steps.append(Step("technique", first.technique, current, current, first.parameters))
        produced = formats[current]
        steps.append(Step("technique", wanted.technique, current, produced, wanted.parameters))
        current = produced
    if current != target.format:
        convert()
    return Plan(source_format, recipe, target, tuple(steps))


def _check_order(wanted: RecipeStep, made: dict[str, str], where: str) -> None:
    """Refuses a step that undoes what an earlier one made, and puts on record what it makes."""
    keeps = getattr(wanted.parameters, "keeps", None)
    makes: frozenset[str] = getattr(wanted.parameters, "makes", frozenset())
    for trait, maker in made.items():
        if keeps is not None and trait not in keeps:
            raise UsageError(
                f"{where} would undo the {trait} that '{maker}' makes before it",
                hint="one of the two is enough: leave the other out"
                if trait in makes
                else f"name '{wanted.technique}' before '{maker}'",
            )
    made |= dict.fromkeys(sorted(makes), wanted.technique)


def _order_hint(steps: list[Step], formats: Mapping[str, str]) -> str:
    works_on = f"it works on {', '.join(sorted(formats)) or 'no format yet'}"
    earlier = [step.name for step in steps if step.kind == "technique" and step.accepts in formats]
    later = [step.name for step in steps if step.kind == "technique" and step.name not in earlier]
    changed = [
        step.name for step in steps if step.accepts in formats and step.accepts != step.produces
    ]
    blocker = (later or changed or [""])[0]
    return f"{works_on}: name it before '{blocker}'" if blocker else works_on


def _reachable(current: str, abilities: Abilities) -> str:
    ends = sorted(end for start, end in abilities.conversions if start == current)
    return (
        f"{current} converts to {', '.join(ends)}" if ends else f"nothing converts {current} files"
    )
