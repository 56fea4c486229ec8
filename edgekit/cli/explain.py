"""Print the steps that compress would run; nothing is run"""

from __future__ import annotations

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
            click.echo(f"     {name} = {value}")
    if not plan["steps"]:
        click.echo("no step: the model is already what the target takes")
    for limit in plan["limits"]:
        click.echo(f"limit: {limit['name']} {limit['bound']} ({limit['source']})")
