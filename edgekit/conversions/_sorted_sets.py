"""Makes a package go through its sets in one order, whatever process it runs in."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["SortedSet", "sorted_sets"]


class SortedSet(set[Any]):
    """A set that is gone through in the order of the names, or values, of what is in it."""

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(super().__iter__(), key=_key))

    def pop(self) -> Any:
        first = next(iter(self))
        self.remove(first)
        return first

    def copy(self) -> SortedSet:
        return SortedSet(self)

    def __or__(self, other: Any) -> SortedSet:
        return SortedSet(super().__or__(other))

    def __and__(self, other: Any) -> SortedSet:
        return SortedSet(super().__and__(other))

    def __sub__(self, other: Any) -> SortedSet:
        return SortedSet(super().__sub__(other))

    def union(self, *others: Iterable[Any]) -> SortedSet:
        return SortedSet(super().union(*others))

    def intersection(self, *others: Iterable[Any]) -> SortedSet:
        return SortedSet(super().intersection(*others))

    def difference(self, *others: Iterable[Any]) -> SortedSet:
        return SortedSet(super().difference(*others))


def _key(item: Any) -> tuple[str, Any]:
    name = getattr(item, "name", item)
    return type(name).__name__, name if isinstance(name, (str, int, tuple)) else str(name)


@contextlib.contextmanager
def sorted_sets(package: str) -> Iterator[None]:
    """Lets `set(...)` in the loaded modules of a package make a SortedSet, and then no longer.

    The order of Python's own set follows from the hashes of its strings and the addresses of its
    objects, and both are others in each process.
    """
    inside = [
        module
        for name, module in list(sys.modules.items())
        if name == package or name.startswith(f"{package}.")
    ]
    changed = [module for module in inside if "set" not in vars(module)]
    for module in changed:
        vars(module)["set"] = SortedSet
    try:
        yield
    finally:
        for module in changed:
            vars(module).pop("set", None)
