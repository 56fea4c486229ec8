"""Labels for channels: those that stand or fall together have one, and some are pinned."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.int64]

__all__ = ["Labels"]


class Labels:
    """A union-find over channels (Tarjan 1975); a tensor's channels are a vector of labels."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._pins: dict[int, str] = {}

    def fresh(self, count: int) -> Vector:
        """New labels, each a channel of its own."""
        import numpy as np

        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        return np.arange(start, start + count, dtype=np.int64)

    def unite(self, first: Vector, second: Vector) -> None:
        """Makes the channels of two vectors of one length the same, place by place."""
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            low, high = sorted((self._root(one), self._root(other)))
            self._parents[high] = low

    def pin(self, vector: Vector, reason: str, *, above_all: bool = False) -> None:
        """Says that these channels stay, and why; the first reason counts, or one `above_all`."""
        for label in vector.tolist():
            self._pins[label] = reason if above_all else self._pins.get(label, reason)

    def numbered(self) -> tuple[Vector, list[str]]:
        """For each label the number of its channel, and for each channel why it stays, or ''."""
        import numpy as np

        roots = np.array([self._root(label) for label in range(len(self._parents))], dtype=np.int64)
        found, numbers = np.unique(roots, return_inverse=True)
        reasons = [""] * len(found)
        for label, reason in sorted(self._pins.items()):
            number = int(numbers[label])
            reasons[number] = reasons[number] or reason
        return numbers.astype(np.int64), reasons

    def _root(self, label: int) -> int:
        while self._parents[label] != label:
            self._parents[label] = self._parents[self._parents[label]]
            label = self._parents[label]
        return label
