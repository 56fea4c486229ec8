"""What can be refused before any training: patterns without a match, a ratio out of reach."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from edgekit.errors import UsageError, did_you_mean
from edgekit.frameworks.channels import Groups
from edgekit.techniques.prune_channels import Parameters
from edgekit.techniques.prune_channels._choice import Plan, measure
from edgekit.units import format_share

__all__ = ["refuse"]

_SHOWN = 3


def refuse(parameters: Parameters, groups: Groups) -> None:
    """Holds a model's groups (found with the same `skip`) against the parameters.

    Raises:
        UsageError: a pattern that matches nothing, layers with two ratios, nothing that may go, no
            BatchNormalization where its scale is asked for, a ratio that cannot be reached.
    """
    for pattern in parameters.skip:
        if not _matching(groups.layers, pattern):
            raise UsageError(
                f"skip '{pattern}' matches no layer of the model",
                hint=did_you_mean(pattern.strip("*"), groups.layers),
            )
    if not groups.free:
        reasons = "; ".join(f"'{group.name}': {group.blocked}" for group in groups.blocked[:_SHOWN])
        raise UsageError(
            "prune-channels: the model has no channels that may go"
            + (f" ({reasons})" if reasons else ""),
            hint="use prune, which sets single weights to zero in layers of any kind",
        )
    _refuse_ratios(parameters, groups)
    _refuse_scales(parameters, groups)
    _refuse_reach(parameters, groups)


def _matching(names: Iterable[str], pattern: str) -> list[str]:
    return [name for name in names if fnmatchcase(name, pattern)]


def _refuse_ratios(parameters: Parameters, groups: Groups) -> None:
    """A pattern must match a layer whose channels may go, and each group must have one ratio."""
    makers = {name: group.name for group in groups.free for name in group.producers}
    blocked = {name: group.blocked for group in groups.blocked for name in group.producers}
    named: dict[str, tuple[str, float]] = {}
    for pattern, ratio in parameters.layer_ratios.items():
        found = _matching(makers, pattern)
        stays = _matching(blocked, pattern)
        if not found and stays:
            raise UsageError(
                f"layer_ratios '{pattern}': the channels of '{stays[0]}' stay: {blocked[stays[0]]}",
                hint=f"leave it out; channels of these may go: {', '.join(makers)}",
            )
        if not found:
            raise UsageError(
                f"layer_ratios '{pattern}' matches no layer that makes channels",
                hint=did_you_mean(pattern.strip("*"), makers),
            )
        for name in found:
            before, other = named.setdefault(makers[name], (pattern, ratio))
            if other != ratio:
                raise UsageError(
                    f"layer_ratios '{before}' = {other} and '{pattern}' = {ratio} are of the same "
                    f"channels (those of '{makers[name]}')",
                    hint="layers that an Add joins lose the same channels: give them one ratio",
                )


def _refuse_scales(parameters: Parameters, groups: Groups) -> None:
    norms = (layer for layer in groups.layers.values() if layer.kind == "BatchNormalization")
    if parameters.importance == "batchnorm-scale" and not any(n.layer.scale for n in norms):
        raise UsageError(
            "importance 'batchnorm-scale': the model has no BatchNormalization with a scale",
            hint="use importance = 'l1' or 'taylor'",
        )


def _refuse_reach(parameters: Parameters, groups: Groups) -> None:
    plan = Plan.of(parameters, groups)
    if not plan.amount:
        raise UsageError(
            f"of = '{parameters.of}': the model's {parameters.of} are not known",
            hint="give its inputs a fixed size, or use of = 'parameters'",
        )
    least = measure(groups, parameters.of, plan.least(groups))
    if least <= plan.target(1.0):
        return
    share = format_share(1 - least / plan.amount)
    stays = {f"'{group.producers[0]}' ({group.blocked})": None for group in groups.blocked}
    raise UsageError(
        f"ratio = {parameters.ratio} of the {parameters.of} cannot be reached: at most {share} "
        f"can go with round_to = {parameters.round_to} and min_channels = "
        f"{parameters.min_channels}; these keep their channels: {', '.join(list(stays)[:_SHOWN])}",
        hint="ask for less, or lower round_to or min_channels",
    )
