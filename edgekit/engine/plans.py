"""The plan for a recipe, a target and a source format, from what lies in the folders.

Apart from `engine.compress`, so that `explain` imports nothing that runs or measures.
"""

from __future__ import annotations

from typing import Any

from edgekit.core import catalog
from edgekit.core.plan import Abilities, Plan, make_plan
from edgekit.core.recipe import Recipe, RecipeStep
from edgekit.core.target import Target

__all__ = ["abilities", "plan_for"]


def abilities(recipe: Recipe) -> Abilities:
    """What the planner may use for a recipe, from what lies in the folders."""
    techniques = {step.technique: _formats(step.technique) for step in recipe.steps}
    preparations = {
        (name, taken): RecipeStep(first, catalog.load("techniques", first).Parameters())
        for name, formats in techniques.items()
        for taken in formats
        if (first := catalog.prepared_by(name, taken))
    }
    return Abilities(techniques, catalog.conversions(), preparations)


def _formats(technique: str) -> dict[str, str]:
    """The formats that a technique takes, and what each becomes."""
    return {
        taken: catalog.produces(technique, taken) for taken in catalog.implementations(technique)
    }


def plan_for(recipe: Recipe, target: Target, source_format: str) -> Plan:
    """The plan with the conversions' default parameters.

    Raises:
        UsageError: a technique cannot work on any format on the way, or no conversion leads there.
    """
    able = abilities(recipe)
    parameters = {
        pair: _default_parameters(*pair)
        for pair in able.conversions
        if pair == (source_format, target.format)
    }
    return make_plan(
        recipe, target, source_format, abilities=able, conversion_parameters=parameters
    )


def _default_parameters(source: str, target: str) -> Any:
    return catalog.load("conversions", f"{source}-to-{target}").Parameters()
