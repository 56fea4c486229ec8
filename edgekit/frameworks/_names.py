"""Names made different from each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["unique"]


def unique(names: Iterable[str]) -> list[str]:
    """The names in their order; one that is already there gets the next free number behind it."""
    found: dict[str, None] = {}
    numbers: Counter[str] = Counter()
    for name in names:
        candidate = name
        while candidate in found:
            numbers[name] += 1
            candidate = f"{name}_{numbers[name]}"
        found[candidate] = None
    return list(found)
