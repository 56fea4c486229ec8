"""Intervals, paired tests of scores, and ratios of paired timings; pure, without SciPy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "auc_interval",
    "bootstrap_interval",
    "mcnemar_p_worse",
    "median",
    "paired_ratio",
    "smallest_visible_drop",
    "wilson_interval",
]

_Z = 1.959963984540054
_MAX_UNITS = 20_000
_CHUNK_DRAWS = 2_000_000


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927); (0, 1) where there are no samples."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, _Z * _Z
    center = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if successes == 0 else max(0.0, center - half)
    high = 1.0 if successes == n else min(1.0, center + half)
    return low, high


def bootstrap_interval(
    rows: NDArray[Any],
    *,
    seed: int,
    of: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    resamples: int = 2000,
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a function of the mean of `rows` (Efron 1979).

    `rows` is (n,) or (n, k), one row a sample; `of` turns means (resamples, k) into values
    (resamples,), and is the first column where it is not given. Over 20,000 samples are first
    averaged in equal random groups, which changes no mean and keeps time and memory bounded.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    table = _grouped(np.asarray(rows, dtype=np.float64).reshape(len(rows), -1), rng)
    n = len(table)
    values = []
    per_chunk = max(1, _CHUNK_DRAWS // n)
    for start in range(0, resamples, per_chunk):
        count = min(per_chunk, resamples - start)
        drawn = rng.integers(0, n, size=(count, n))
        means = np.stack([column[drawn].mean(axis=1) for column in table.T], axis=1)
        values.append(means[:, 0] if of is None else of(means))
    low, high = np.quantile(np.concatenate(values), (0.025, 0.975))
    return float(low), float(high)


def _grouped(table: NDArray[Any], rng: Any) -> NDArray[Any]:
    """Averages rows in equal random groups, so that at most 20,000 are left."""
    size = -(-len(table) // _MAX_UNITS)
    if size <= 1:
        return table
    # What does not fill a group is left out: at most 1 in 20,000 samples, at random.
    kept = rng.permutation(len(table))[: len(table) // size * size]
    means: NDArray[Any] = table[kept].reshape(-1, size, table.shape[1]).mean(axis=1)
    return means


def mcnemar_p_worse(right_to_wrong: int, wrong_to_right: int) -> float:
    """The exact one-sided McNemar p value of "the result is worse than the reference".

    It is P(X >= right_to_wrong) for X binomial with n = all flips and probability 1/2; 1 where
    nothing flipped (McNemar 1947; exact form in Agresti, Categorical Data Analysis).
    """
    n = right_to_wrong + wrong_to_right
    if right_to_wrong <= n / 2:
        return 1.0 - _upper_tail(n - right_to_wrong + 1, n)
    return _upper_tail(right_to_wrong, n)


def _upper_tail(first: int, n: int) -> float:
    """P(X >= first) for X binomial (n, 1/2) and first > n/2, where the terms only fall."""
    if first > n:
        return 0.0
    log_term = math.lgamma(n + 1) - math.lgamma(first + 1) - math.lgamma(n - first + 1)
    term = math.exp(log_term - n * math.log(2))
    total = 0.0
    for k in range(first, n + 1):
        total += term
        term *= (n - k) / (k + 1)
        if term < total * 1e-18:
            break
    return min(total, 1.0)


def smallest_visible_drop(discordant: int, n: int) -> float | None:
    """The smallest drop that n paired samples can tell from none: 1.96 * sqrt(d / n).

    d is the share of samples on which exactly one of two models is right. It is never taken below
    3/n, the 95 % upper bound of a share of which nothing was seen (the rule of three): no flip in
    450 samples does not prove that no drop can hide. None where there are no samples.
    """
    if n == 0:
        return None
    return _Z * math.sqrt(max(discordant, 3)) / n


def auc_interval(scores: NDArray[Any], positive: NDArray[Any]) -> tuple[float, tuple[float, float]]:
    """The area under the ROC curve, ties counting half, with DeLong's 95 % interval (1988).

    Where the two groups do not overlap DeLong's variance is 0; the interval then ends 3/m from 1
    (or from 0), m being the size of the smaller group (the rule of three).
    """
    import numpy as np

    high, low = scores[positive], scores[~positive]
    m, n = len(high), len(low)
    ranks = _midranks(np.concatenate([high, low]))
    above = (ranks[:m] - _midranks(high)) / n
    below = 1 - (ranks[m:] - _midranks(low)) / m
    auc = float(above.mean())
    variance = (above.var(ddof=1) / m if m > 1 else 0.0) + (below.var(ddof=1) / n if n > 1 else 0.0)
    half = _Z * math.sqrt(variance) if variance > 0 else min(1.0, 3 / min(m, n))
    return auc, (max(0.0, auc - half), min(1.0, auc + half))


def _midranks(values: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: NDArray[Any] = (last - (counts - 1) / 2)[inverse]
    return middle


def median(values: Sequence[float]) -> float:
    """The median.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("the median of no values")
    return float(statistics.median(values))


def paired_ratio(
    ratios: Sequence[float], *, seed: int, resamples: int = 2000
) -> tuple[float, tuple[float, float]]:
    """The median of the per-round ratios of two interleaved models, with its 95 % interval.

    The interval is a percentile bootstrap over the rounds, because the rounds and not the single
    runs are independent of each other.

    Raises:
        ValueError: there are no ratios.
    """
    import numpy as np

    middle = median(ratios)
    rounds = np.asarray(ratios, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(rounds), size=(resamples, len(rounds)))
    low, high = np.quantile(np.median(rounds[drawn], axis=1), (0.025, 0.975))
    return middle, (float(low), float(high))
