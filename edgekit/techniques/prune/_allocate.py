"""Distributes zeros over kernels so that the sum of their losses is least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Scan", "allocate", "convex"]


@dataclass(frozen=True)
class Scan:
    """One kernel: its size, and how much the loss rises with it alone at rising shares of zeros.

    `points` are (share, rise), the share strictly rising.
    """

    size: int
    points: tuple[tuple[float, float], ...]


def convex(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lower convex hull from (0, 0) on, never falling: pruning is not counted as a gain.

    Between its corners a kernel can be pruned to any share, so under this curve the greedy choice
    of the flattest piece is the best one.
    """
    hull = [(0.0, 0.0)]
    for share, rise in points:
        point = (share, max(rise, 0.0))
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def allocate(scans: Mapping[str, Scan], sparsity: float) -> dict[str, float]:
    """The share of zeros of each kernel, `sparsity` over all weights together.

    Raises:
        ValueError: the scans do not reach so far.
    """
    left = sparsity * sum(scan.size for scan in scans.values())
    pieces = sorted(
        (
            ((end[1] - start[1]) / (scan.size * (end[0] - start[0])), start[0], name, end[0])
            for name, scan in scans.items()
            for start, end in pairwise(convex(scan.points))
        ),
    )
    shares = dict.fromkeys(scans, 0.0)
    for _, start, name, end in pieces:
        taken = min(left, scans[name].size * (end - start))
        shares[name] = start + taken / scans[name].size if taken > 0 else shares[name]
        left -= taken
    if left > 1e-6 * sum(scan.size for scan in scans.values()):
        raise ValueError(f"the scans end before a sparsity of {sparsity}")
    return shares


def _slope(start: tuple[float, float], end: tuple[float, float]) -> float:
    return (end[1] - start[1]) / (end[0] - start[0])
