"""Which channels stay: the most important ones, a multiple a layer, until enough is gone."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from edgekit.frameworks.channels import Group, Groups
from edgekit.techniques.prune_channels import Of, Parameters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Scores = NDArray[np.float64]

__all__ = ["Kept", "Plan", "measure"]

Kept = dict[str, list[int]]
Cut = tuple[float, int, str, int]
"""The importance of the last channel that goes, minus the size left, the group, the size left."""


def measure(groups: Groups, of: Of, kept: Mapping[str, Any] | None = None) -> int:
    """MACs, parameters, or channels that may go, of a model with these channels kept."""
    if of == "channels":
        sizes = {group.name: len(group) for group in groups.free}
        return sum({**sizes, **{name: len(found) for name, found in (kept or {}).items()}}.values())
    times = groups.times(kept or {})
    return groups.macs(times) if of == "macs" else groups.parameters(times)


@dataclass(frozen=True)
class Plan:
    """What the whole step is to reach, from the model that it began with.

    `sizes` are the channels of each group then, `amount` is what `of` measured then, `given` is
    the share of its channels that a group named in `layer_ratios` loses.
    """

    parameters: Parameters
    sizes: Mapping[str, int]
    amount: int
    given: Mapping[str, float]

    @classmethod
    def of(cls, parameters: Parameters, groups: Groups) -> Plan:
        """The plan for a model."""
        given = {}
        for group in groups.free:
            ratios = [
                ratio
                for pattern, ratio in parameters.layer_ratios.items()
                if any(fnmatchcase(name, pattern) for name in group.producers)
            ]
            if ratios:
                given[group.name] = ratios[0]
        sizes = {group.name: len(group) for group in groups.free}
        return cls(parameters, sizes, measure(groups, parameters.of), given)

    def target(self, share: float) -> float:
        """What may be left once that share of the step is done."""
        return self.amount * (1 - self.parameters.ratio * share)

    def size_given(self, name: str, share: float = 1.0) -> int:
        """What is left of a group in `layer_ratios`: the nearest size that it may have."""
        wanted = self.sizes[name] * (1 - self.given[name] * share)
        return min(self._steps(name, self.sizes[name]), key=lambda size: abs(size - wanted))

    def least(self, groups: Groups) -> Kept:
        """As little as may be left, whatever its importance."""
        sizes = {name: self._steps(name, size)[-1] for name, size in self.sizes.items()}
        sizes |= {name: self.size_given(name) for name in self.given}
        return {group.name: list(range(sizes[group.name])) for group in groups.free}

    def choose(self, groups: Groups, scores: Mapping[str, Scores], share: float) -> Kept:
        """What is kept of each group, so that the target is reached or nothing more may go.

        A threshold on the importance over all groups: of each group goes what lies below it, as
        many at once as `round_to` says. The last ones may be more than is needed; what the target
        does not need comes back, the most important first.
        """
        orders = {name: found.argsort(kind="stable").tolist() for name, found in scores.items()}
        sizes = {group.name: len(group) for group in groups.free}
        sizes |= {name: min(sizes[name], self.size_given(name, share)) for name in self.given}
        cuts = sorted(cut for group in groups.free for cut in self._cuts(group, scores[group.name]))

        def kept(left: Mapping[str, int]) -> Kept:
            return {
                name: sorted(found[len(found) - left[name] :]) for name, found in orders.items()
            }

        def is_reached(left: Mapping[str, int]) -> bool:
            return measure(groups, self.parameters.of, kept(left)) <= self.target(share)

        def cut(count: int) -> dict[str, int]:
            return sizes | {name: size for _, _, name, size in cuts[:count]}

        count = bisect_left(range(len(cuts)), True, key=lambda count: is_reached(cut(count)))
        return kept(_given_back(cut(count), cuts[:count], sizes, is_reached))

    def _cuts(self, group: Group, scores: Scores) -> list[Cut]:
        """Each next size of a group, after the importance of the last channel that goes for it."""
        if group.name in self.given:
            return []
        ordered = sorted(scores.tolist())
        sizes = self._steps(group.name, len(group))
        return [(ordered[len(ordered) - size - 1], -size, group.name, size) for size in sizes[1:]]

    def _steps(self, name: str, size: int) -> list[int]:
        """The sizes that a group may have, from `size` down."""
        step = self.parameters.round_to if self.sizes[name] >= self.parameters.round_to else 1
        least = math.ceil(self.parameters.min_channels / step) * step
        return [size, *range((size - 1) // step * step, least - 1, -step)]


def _given_back(
    left: dict[str, int],
    cuts: Sequence[Cut],
    sizes: Mapping[str, int],
    is_reached: Callable[[Mapping[str, int]], bool],
) -> dict[str, int]:
    """Undoes cuts that the target does not need, from the last one back; a group's in its order."""
    before: dict[tuple[str, int], int] = {}
    current = dict(sizes)
    for _, _, name, size in cuts:
        before[name, size] = current[name]
        current[name] = size
    needed: set[str] = set()
    for _, _, name, size in reversed(cuts):
        if name in needed:
            continue
        undone = left | {name: before[name, size]}
        if is_reached(undone):
            left = undone
        else:
            needed.add(name)
    return left
