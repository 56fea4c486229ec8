"""What compress would do, as plain values; imports no framework and runs nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from edgekit.core import catalog
from edgekit.core.recipe import load_recipe
from edgekit.core.target import load_target
from edgekit.engine.models import ZOO_PREFIX, identify, zoo_name
from edgekit.engine.passes import rungs_of
from edgekit.engine.plans import plan_for
from edgekit.zoo import FORMAT

__all__ = ["explain"]


def explain(model: str, *, recipe: str, target: str) -> dict[str, Any]:
    """The plan for a model: its steps with parameters and needs, and the limits.

    Raises:
        UsageError: no such model, recipe or target, or no plan leads from the one to the other.
            The model's content is only recognised here; `compress` checks it.
    """
    chosen, device = load_recipe(recipe), load_target(target)
    name = zoo_name(model)
    if name is None:
        steps, source_format = [], identify(Path(model))
    else:
        training = _training(name)
        steps, source_format = [training], training["produces"]
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
                "rungs": [rung.label for rung in rungs_of(step)],
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


def _training(name: str) -> dict[str, Any]:
    """The first step of a zoo model."""
    return {
        "kind": "train",
        "name": f"train {ZOO_PREFIX}{name}",
        "accepts": "data",
        "produces": FORMAT,
        "needs": ["select", "train"],
        "parameters": dataclasses.asdict(catalog.load("zoo", name).SETTINGS),
    }
