"""Steps through memory along the axes of a tensor, with as few axes as possible."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["MOST_AXES", "merge", "padded", "steps"]

MOST_AXES = 6


def steps(shape: Sequence[int]) -> list[int]:
    """How far apart neighbours along each axis lie; 0 along an axis of one, which never moves."""
    found, step = [], 1
    for size in reversed(shape):
        found.append(step if size > 1 else 0)
        step *= size
    return found[::-1]


def merge(sizes: Sequence[int], *walks: Sequence[int]) -> tuple[list[int], list[list[int]]]:
    """Joins neighbouring axes that every walk goes through as if they were one; drops axes of 1."""
    kept = [axis for axis, size in enumerate(sizes) if size > 1]
    merged: list[int] = []
    paths: list[list[int]] = [[] for _ in walks]
    for axis in kept:
        here = [walk[axis] for walk in walks]
        if merged and all(
            path[-1] == step * sizes[axis] for path, step in zip(paths, here, strict=True)
        ):
            merged[-1] *= sizes[axis]
            for path, step in zip(paths, here, strict=True):
                path[-1] = step
            continue
        merged.append(sizes[axis])
        for path, step in zip(paths, here, strict=True):
            path.append(step)
    return (merged or [1]), [path or [0] for path in paths]


def padded(values: Sequence[int], fill: int) -> list[int]:
    """As many values as the C structs have, filled up in front."""
    return [fill] * (MOST_AXES - len(values)) + list(values)
