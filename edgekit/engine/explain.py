"""What compress would do, as plain values; imports no framework and runs nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from edgekit.core.recipe import load_recipe
from edgekit.core.target import load_target
from edgekit.engine.compress import plan_for
from edgekit.engine.models import identify, zoo_name

__all__ = ["explain"]


def explain(model: str, *, recipe: str, target: str) -> dict[str, Any]:
    """The plan for a model: its steps with parameters and needs, and the limits.

    Raises:
        UsageError: the same request to `compress` would be refused for its model, recipe or target.
    """
    chosen, device = load_recipe(recipe), load_target(target)
    name = zoo_name(model)
    if name is None:
        steps, source_format = [], identify(Path(model))
    else:
        from edgekit.engine import zoo

        source_format = zoo.FORMAT
        steps = [zoo.explain_training(name)]
    plan = plan_for(chosen, device, source_format)
    for step in plan.steps:
        steps.append(
            {
                "kind": step.kind,
                "name": step.name,
                "accepts": step.accepts,
                "produces": step.produces,
                "needs": sorted(step.needs),
                "parameters": step.settings,
            }
        )
    limits = [
        {"name": item.name, "bound": getattr(sourced.limits, item.name), "source": sourced.source}
        for sourced in (device.limits, chosen.promise)
        for item in dataclasses.fields(sourced.limits)
        if getattr(sourced.limits, item.name) is not None
    ]
    return {
        "model": model,
        "format": source_format,
        "recipe": chosen.name,
        "target": device.name,
        "steps": steps,
        "limits": limits,
    }
