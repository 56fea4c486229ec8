"""How much each channel matters, by group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.core.technique import Work
from edgekit.frameworks.channels import Group, Groups, Layer, loss_changes
from edgekit.techniques.prune_channels import Parameters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Scores = NDArray[np.float64]

__all__ = ["importance"]


def importance(parameters: Parameters, model: Any, groups: Groups, work: Work) -> dict[str, Scores]:
    """For each group that may shrink, a score a channel; the lowest go first."""
    match parameters.importance:
        case "l1":
            return {group.name: _l1(groups, group) for group in groups.free}
        case "batchnorm-scale":
            return {group.name: _scales(groups, group) for group in groups.free}
        case "taylor":
            return _taylor(parameters, model, groups, work)


def norms(groups: Groups, group: Group) -> tuple[Layer, ...]:
    """The BatchNormalization layers with a scale along the channels of a group."""
    import numpy as np

    return tuple(
        layer
        for layer in groups.layers.values()
        if layer.kind == "BatchNormalization"
        and layer.layer.scale
        and np.isin(group.channels, layer.weights.get((0, 0), [])).all()
    )


def _l1(groups: Groups, group: Group) -> Scores:
    """The L1 norm of each filter over the mean of its layer, added over the group's producers."""
    import numpy as np

    total = np.zeros(len(group))
    for name in group.producers:
        layer = groups.layers[name]
        weight, axis = layer.filters[0]
        assert layer.makes is not None
        total += _relative(_along(layer, weight, axis), layer.makes, group, groups.count)
    return total / len(group.producers)


def _scales(groups: Groups, group: Group) -> Scores:
    """The magnitude of each BatchNormalization scale over its mean; L1 where there is none."""
    import numpy as np

    found = norms(groups, group)
    if not found:
        return _l1(groups, group)
    each = [
        _relative(_along(layer, 0, 0), layer.weights[0, 0], group, groups.count) for layer in found
    ]
    return np.asarray(np.mean(each, axis=0), np.float64)


def _along(layer: Layer, weight: int, axis: int) -> Scores:
    """The L1 norm of a weight at each place along one axis."""
    import numpy as np

    values = np.abs(layer.layer.get_weights()[weight].astype(np.float64))
    return np.asarray(values.sum(axis=tuple(a for a in range(values.ndim) if a != axis)))


def _relative(values: Scores, channels: Any, group: Group, count: int) -> Scores:
    """Values by place as values by channel of the group, over their mean."""
    found = _by_channel(values, channels, count)[group.channels]
    mean = float(found.mean())
    return found / mean if mean > 0 else found


def _by_channel(values: Scores, channels: Any, count: int) -> Scores:
    import numpy as np

    total = np.zeros(count)
    np.add.at(total, channels, values)
    return total


def _taylor(parameters: Parameters, model: Any, groups: Groups, work: Work) -> dict[str, Scores]:
    """At the BatchNormalization layers, which scale all of a channel, else at the filters."""
    import numpy as np

    at = {group.name: _gates(groups, group) for group in groups.free}
    changes = loss_changes(
        model,
        {name: places for found in at.values() for name, (places, _) in found.items()},
        work.training_data(),
        parameters,
        batches=parameters.taylor_batches,
        seed=work.seed,
        hooks=work.hooks,
    )
    return {
        group.name: np.sum(
            [
                _by_channel(changes[name], channels, groups.count)[group.channels]
                for name, (_, channels) in at[group.name].items()
            ],
            axis=0,
        )
        for group in groups.free
    }


def _gates(groups: Groups, group: Group) -> Mapping[str, tuple[Any, Any]]:
    """By layer, the weights that scale and shift the group's channels, and their channels."""
    found = norms(groups, group)
    if found:
        return {
            layer.layer.name: (
                tuple((i, 0) for i in range(1 + bool(layer.layer.center))),
                layer.weights[0, 0],
            )
            for layer in found
        }
    layers = {name: groups.layers[name] for name in group.producers}
    return {name: (layer.filters, layer.makes) for name, layer in layers.items()}
