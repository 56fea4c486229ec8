"""The module behind a step, and what it tries where it has a ladder; imports nothing heavy."""

from __future__ import annotations

import dataclasses
from types import ModuleType

from edgekit.core import catalog
from edgekit.core.ladder import Rung
from edgekit.core.plan import Step
from edgekit.errors import UsageError
from edgekit.text import with_article

__all__ = ["load_pass", "rungs_of"]


def load_pass(step: Step) -> ModuleType:
    """The module with the step's check, apply, verify and versions; a plug-in's where it is one."""
    if step.kind == "conversion":
        return catalog.load("conversions", step.name)
    return catalog.load_implementation(step.name, step.accepts)


def rungs_of(step: Step) -> tuple[Rung, ...]:
    """What a step with a ladder tries; none where its parameters say no `ladder`.

    Raises:
        UsageError: the technique has no ladder on this format.
    """
    if not getattr(step.parameters, "ladder", False):
        return ()
    module = load_pass(step)
    if not hasattr(module, "rungs"):
        raise UsageError(
            f"'{step.name}' has no ladder on {with_article(step.accepts)} model",
            hint="leave `ladder` out",
        )
    found: tuple[Rung, ...] = module.rungs(step.parameters)
    return tuple(_plain(rung) for rung in found)


def _plain(rung: Rung) -> Rung:
    """The rung as a step of its own, which climbs no more."""
    return dataclasses.replace(rung, parameters=dataclasses.replace(rung.parameters, ladder=False))
