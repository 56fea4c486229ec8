"""Channels of a Keras model: which depend on each other, what they cost, and models with fewer.

The channels of an Add's inputs are the same channels; a Concatenate's are those of its inputs one
after the other; a Flatten repeats them. So a channel is what one or several layers make and others
read, and it goes from all of them or stays in all of them (Fang et al., "DepGraph",
arXiv:2301.12900). Layers without a rule keep every channel that they touch.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.frameworks._channel_gradients import loss_changes
from edgekit.frameworks._channel_rules import Layer
from edgekit.frameworks._channel_trace import trace
from edgekit.frameworks.rebuild import rebuild

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.int64]

__all__ = [
    "Group",
    "Groups",
    "Layer",
    "find_groups",
    "keep",
    "keeps_weights",
    "loss_changes",
    "narrow",
    "rounded",
]


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that are made by the same layers; each can go without the others.

    `name` is that of its first producer, in the order of names, so that it does not change when
    the model does; `channels` are their numbers in the whole model; `blocked` is why they all
    stay, or ''.
    """

    name: str
    producers: tuple[str, ...]
    channels: Vector
    blocked: str = ""

    def __len__(self) -> int:
        return len(self.channels)


@dataclass(frozen=True, eq=False)
class Groups:
    """The channels of one model, `count` of them, by number.

    `layers` say where in each layer they lie; `free` may lose channels, `blocked` may not.
    """

    layers: Mapping[str, Layer]
    free: tuple[Group, ...]
    blocked: tuple[Group, ...]
    count: int

    def times(self, kept: Mapping[str, Sequence[int]]) -> Vector:
        """How often each channel is there (0 or 1), given the indices kept of the groups named.

        Raises:
            ValueError: there is no such group, it would lose all channels, or an index is wrong.
        """
        import numpy as np

        groups = {group.name: group for group in self.free}
        times = np.ones(self.count, dtype=np.int64)
        for name, indices in kept.items():
            if name not in groups:
                raise ValueError(f"the model has no group of channels '{name}' that may shrink")
            group, wanted = groups[name], sorted(set(indices))
            if not wanted or wanted[0] < 0 or wanted[-1] >= len(group):
                raise ValueError(f"group '{name}' has {len(group)} channels: cannot keep {indices}")
            times[group.channels] = 0
            times[group.channels[wanted]] = 1
        return times

    def parameters(self, times: Vector | None = None) -> int:
        """The number of weight values of the model, with each channel that many times."""
        return sum(
            math.prod(_shape(layer, weight, times))
            for layer in self.layers.values()
            for weight in range(len(layer.weight_shapes))
        )

    def macs(self, times: Vector | None = None) -> int:
        """Multiply-accumulates of one inference, with each channel that many times.

        Kernels at positions whose number is not known are not counted, as in `formats.keras`.
        """
        return sum(
            (layer.positions or 0) * math.prod(_shape(layer, weight, times))
            for layer in self.layers.values()
            for weight in range(_kernels(layer.kind))
        )


def find_groups(model: Any, *, skip: Sequence[str] = ()) -> Groups:
    """Finds the channels of a functional Keras 3 model, as `bridge.load_trainable` gives it.

    What the model's inputs and outputs are, what a layer matched by `skip` makes, and what a layer
    without a rule touches, stays.
    """
    import numpy as np

    found, labels = trace(model, skip)
    numbers, reasons = labels.numbered()
    layers = {name: _numbered(layer, numbers) for name, layer in found.items()}
    makers: list[list[str]] = [[] for _ in reasons]
    for name, layer in layers.items():
        for channel in [] if layer.makes is None else dict.fromkeys(layer.makes.tolist()):
            makers[channel].append(name)
    members: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for channel, (producers, reason) in enumerate(zip(makers, reasons, strict=True)):
        if producers:
            members.setdefault((reason, tuple(sorted(producers))), []).append(channel)
    groups = [
        Group(producers[0], producers, np.array(channels, dtype=np.int64), reason)
        for (reason, producers), channels in members.items()
    ]
    free = _named([group for group in groups if not group.blocked])
    return Groups(layers, free, tuple(g for g in groups if g.blocked), len(reasons))


def keep(model: Any, kept: Mapping[str, Sequence[int]], *, groups: Groups | None = None) -> Any:
    """A new model that has only these channels of the groups named, and all of the others.

    The weights are those of `model`, sliced; layer names survive.
    """
    groups = groups or find_groups(model)
    return _resized(model, groups, groups.times(kept))


def narrow(model: Any, width: float, *, round_to: int = 8, seed: int = 0) -> Any:
    """The same graph with `width` times the channels (above 1: more) and fresh weights.

    Each group gets a multiple of `round_to` channels where it has at least that many. Weights come
    from the layers' own initializers, drawn from `seed`, and all are trainable: frozen ones would
    stay random. What a Normalization layer has learned about the data stays (`keeps_weights`).

    Raises:
        ValueError: `width` is not above 0.
    """
    import numpy as np

    if not width > 0:
        raise ValueError(f"width must be above 0, not {width}")
    groups = find_groups(model)
    times = np.ones(groups.count, dtype=np.int64)
    for group in groups.free:
        size = rounded(width * len(group), of=len(group), to=round_to)
        each, rest = divmod(size, len(group))
        times[group.channels] = each
        times[group.channels[:rest]] += 1
    return _fresh(_resized(model, groups, times), model, seed)


def keeps_weights(layer: Any) -> bool:
    """True for a layer whose weights `narrow` keeps where their shapes do: they say what the data
    is like, and no training would find them again."""
    return type(layer).__name__ == "Normalization"


def rounded(size: float, *, of: int, to: int) -> int:
    """The nearest multiple of `to` where a group `of` so many channels has that many, at least 1.

    Never above `of` where `size` is not.
    """
    step = to if of >= to else 1
    near = max(step, math.floor(size / step + 0.5) * step)
    return min(near, of) if size <= of else near


def _numbered(layer: Layer, numbers: Vector) -> Layer:
    return dataclasses.replace(
        layer,
        weights={place: numbers[labels] for place, labels in layer.weights.items()},
        config={key: numbers[labels] for key, labels in layer.config.items()},
        makes=None if layer.makes is None else numbers[layer.makes],
    )


def _named(groups: list[Group]) -> tuple[Group, ...]:
    """Groups with a name each: `conv`, `conv#2` where a layer makes channels of several groups."""
    names: dict[tuple[str, ...], str] = {}
    for group in sorted(groups, key=lambda group: group.producers):
        count = sum(producers[0] == group.name for producers in names)
        names[group.producers] = f"{group.name}#{count + 1}" if count else group.name
    return tuple(dataclasses.replace(group, name=names[group.producers]) for group in groups)


def _shape(layer: Layer, weight: int, times: Vector | None) -> list[int]:
    shape = list(layer.weight_shapes[weight])
    if times is not None:
        for (index, axis), channels in layer.weights.items():
            if index == weight:
                shape[axis] = int(times[channels].sum())
    return shape


def _kernels(kind: str) -> int:
    """How many of a layer's first weights are kernels."""
    if kind.startswith("SeparableConv"):
        return 2
    return int(kind == "Dense" or kind.startswith(("Conv1D", "Conv2D", "Conv3D", "DepthwiseConv")))


def _resized(model: Any, groups: Groups, times: Vector) -> Any:
    """The model with each channel that many times; weights are copied along."""
    changed = {
        name: layer
        for name, layer in groups.layers.items()
        if any((times[c] != 1).any() for c in (*layer.weights.values(), *layer.config.values()))
    }
    configs = {name: _config(layer, times) for name, layer in changed.items() if layer.config}
    made = rebuild(model, configs)
    for name, layer in changed.items():
        if layer.weights:
            made.get_layer(name).set_weights(_weights(layer, times))
    return made


def _config(layer: Layer, times: Vector) -> dict[str, Any]:
    config = dict(layer.layer.get_config())
    for key, channels in layer.config.items():
        size = int(times[channels].sum())
        if key == "target_shape":
            *first, last = config[key]
            config[key] = (*first, -1 if last == -1 else size)
        else:
            config[key] = size
    return config


def _weights(layer: Layer, times: Vector) -> list[Any]:
    import numpy as np

    weights: list[Any] = layer.layer.get_weights()
    for (index, axis), channels in layer.weights.items():
        weights[index] = np.repeat(weights[index], times[channels], axis=axis)
    return weights


def _fresh(resized: Any, model: Any, seed: int) -> Any:
    """A resized model made anew: Keras draws the seeds of initializers from Python's `random`."""
    state = random.getstate()
    random.seed(seed)
    try:
        made = type(resized).from_config(resized.get_config())
    finally:
        random.setstate(state)
    sources = {layer.name: layer for layer in model.layers}
    for layer in made.layers:
        layer.trainable = True
        if keeps_weights(layer) and layer.name in sources:
            _copy_statistics(sources[layer.name], layer)
    return made


def _copy_statistics(source: Any, layer: Any) -> None:
    was, now = ([tuple(w.shape) for w in each.weights] for each in (source, layer))
    if was == now:
        layer.set_weights(source.get_weights())
        layer.finalize_state()  # It keeps a copy of its weights.
