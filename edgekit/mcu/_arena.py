"""Plans where activations lie in one block of memory, so that none overwrites another in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ALIGNMENT", "Lifetime", "plan"]

ALIGNMENT = 4
"""Every tensor starts at a word, so that a kernel can be made to read words."""


@dataclass(frozen=True)
class Lifetime:
    """A tensor of `size` bytes that holds values from op `first` to op `last`, both included."""

    size: int
    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        """True where both are in use at the same time."""
        return self.first <= other.last and other.first <= self.last


def plan(lifetimes: Sequence[Lifetime]) -> tuple[tuple[int, ...], int]:
    """The offset of each tensor, and the bytes of the whole block.

    The biggest tensor is placed first, each at the lowest offset where nothing that lives at the
    same time lies: the greedy planner of TensorFlow Lite Micro.
    """
    order = sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].size, lifetimes[i].first, i))
    offsets: dict[int, int] = {}
    for index in order:
        rivals = [i for i in offsets if lifetimes[i].overlaps(lifetimes[index])]
        taken = sorted((offsets[i], offsets[i] + _aligned(lifetimes[i].size)) for i in rivals)
        offsets[index] = _lowest_gap(taken, lifetimes[index].size)
    ends = (offsets[i] + _aligned(item.size) for i, item in enumerate(lifetimes))
    return tuple(offsets[i] for i in range(len(lifetimes))), max(ends, default=0)


def _lowest_gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    offset = 0
    for start, end in taken:
        if offset + size <= start:
            break
        offset = max(offset, end)
    return offset


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
