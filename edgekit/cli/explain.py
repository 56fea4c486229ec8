"""Print the steps that compress would run; nothing is run"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from edgekit.cli import _options as options

__all__ = ["command"]


@click.command("explain")
@options.model
@options.recipe
@options.target
@options.as_json
def command(model: str, recipe: str, target: str, as_json: bool) -> None:
    """Prints the plan for MODEL: each step, its parameters, and the data that it needs."""
    from edgekit.engine.explain import explain

    plan = explain(model, recipe=recipe, target=target)
    if as_json:
        options.print_json(plan)
        return
    click.echo(f"{plan['model']} · {plan['recipe']} · {plan['target']}")
    for number, step in enumerate(plan["steps"], 1):
        needs = f"   needs data to {' and '.join(step['needs'])} on" if step["needs"] else ""
        click.echo(f"{number}. {step['name']} ({step['accepts']} -> {step['produces']}){needs}")
        for name, value in step["parameters"].items():
            if value not in ("", (), {}, None):
                click.echo(f"     {name} = {_toml(value)}")
        for place, rung in enumerate(step.get("rungs", ()), 1):
            click.echo(f"     rung {place}: {rung}")
    if not plan["steps"]:
        click.echo("no step: the model is already what the target takes")
    for limit in plan["limits"]:
        click.echo(f"limit: {limit['name']} {limit['bound']} ({limit['source']})")


def _toml(value: Any) -> str:
    """A value as a recipe has it."""
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
