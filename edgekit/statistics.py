"""Intervals, paired tests of scores, and what timings allow to be said; pure, without SciPy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Change",
    "auc_interval",
    "bootstrap_interval",
    "change",
    "mcnemar_p_worse",
    "median",
    "nested_ratio",
    "outliers",
    "paired_ratio",
    "percentile",
    "runs_for_percentile",
    "smallest_visible_change",
    "smallest_visible_drop",
    "wilson_interval",
]

Change = Literal["faster", "slower", "no difference", "cannot tell"]

_Z = 1.959963984540054
_Z_POWER = 0.8416212335729143
"""The normal quantile of 80 %: the usual power at which a study says what it could have seen."""
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


@cache
def runs_for_percentile(share: float) -> int:
    """The runs that a percentile needs: 64 for 0.9, 662 for 0.99.

    With so many, two of them at least lie above the true percentile with 99 % confidence, whatever
    the distribution (order statistics); with fewer the largest run would stand for it.
    """
    if not 0 < share < 1:
        raise ValueError(f"a percentile lies between 0 and 1, not at {share:g}")
    n = 2
    while share**n + n * share ** (n - 1) * (1 - share) > 0.01:
        n += 1
    return n


def percentile(samples: Sequence[int], share: float) -> int | None:
    """The smallest sample that `share` of them do not exceed; None: not enough runs."""
    if len(samples) < runs_for_percentile(share):
        return None
    return sorted(samples)[math.ceil(share * len(samples)) - 1]


def outliers(samples: Sequence[int]) -> int:
    """How many samples lie over the median + 5 times the median absolute deviation.

    The deviation is never taken below 1 % of the median: a clock that ticks in steps of 10 ns would
    make an outlier of every run of a model of 1 us that took one tick more.
    """
    if not samples:
        return 0
    middle = statistics.median(samples)
    deviation = statistics.median(abs(sample - middle) for sample in samples)
    bound = middle + 5 * max(deviation, 0.01 * middle)
    return sum(sample > bound for sample in samples)


def change(interval: tuple[float, float], margin: float) -> Change:
    """What the 95 % interval of a ratio of times says; every interval says exactly one of four.

    Wholly within the margin it is no difference that matters, even where it does not hold 1.
    """
    low, high = interval
    if 1 / (1 + margin) <= low and high <= 1 + margin:
        return "no difference"
    if low > 1:
        return "slower"
    return "faster" if high < 1 else "cannot tell"


def smallest_visible_change(interval: tuple[float, float]) -> float:
    """The smallest change that a measurement with this interval finds 4 times of 5.

    Half the interval (1.96 standard errors, on the logarithm) leaves a change of that size to a
    coin: half of all repeats fall short. For 80 of 100 it takes 1.96 + 0.84 standard errors.
    """
    half = math.log(interval[1] / interval[0]) / 2
    return math.expm1(half * (_Z + _Z_POWER) / _Z)


def paired_ratio(
    ratios: Sequence[float], *, seed: int, resamples: int = 2000
) -> tuple[float, tuple[float, float]]:
    """The typical ratio of two interleaved models over rounds, with its 95 % interval.

    Raises:
        ValueError: there are no ratios.
    """
    return nested_ratio([ratios], seed=seed, resamples=resamples)


def nested_ratio(
    groups: Sequence[Sequence[float]], *, seed: int, resamples: int = 2000
) -> tuple[float, tuple[float, float]]:
    """The typical ratio of paired rounds in several processes, with its 95 % interval.

    It is the interquartile mean of the logarithms: as deaf to disturbed rounds as a median, and
    steadier where instances of a model come in a quick and a slow kind. The interval is a
    percentile bootstrap that draws processes and then rounds of each (Kalibera and Jones 2013,
    Rigorous benchmarking in reasonable time), because the rounds of one process share what that
    process had of luck. It is widened for the few processes there are, as variances are: by n over
    n - 1 under the root. The spread of rounds counts twice, so it rather is too wide.

    Raises:
        ValueError: there are no ratios.
    """
    import numpy as np

    held = [np.log(np.asarray(group, dtype=np.float64)) for group in groups if len(group)]
    if not held:
        raise ValueError("the ratio of no values")
    size = max(len(group) for group in held)
    rng = np.random.default_rng(seed)
    # Each process counts as `size` rounds: drawn with replacement, a shorter one fills up.
    drawn = np.empty((resamples, len(held), size))
    chosen = rng.integers(0, len(held), size=(resamples, len(held)))
    for number, group in enumerate(held):
        rows, columns = np.nonzero(chosen == number)
        drawn[rows, columns] = group[rng.integers(0, len(group), size=(len(rows), size))]
    middles = _interquartile_mean(drawn.reshape(resamples, -1))
    middle = float(_interquartile_mean(np.concatenate(held)[None, :])[0])
    wider = math.sqrt(len(held) / (len(held) - 1)) if len(held) > 1 else 1.0
    low, high = wider * (np.quantile(middles, (0.025, 0.975)) - middle)
    return math.exp(middle), (
        math.exp(middle + min(float(low), 0.0)),
        math.exp(middle + max(float(high), 0.0)),
    )


def _interquartile_mean(rows: NDArray[Any]) -> NDArray[Any]:
    """The mean of what is left of each row without its lowest and highest quarter."""
    import numpy as np

    count = rows.shape[1]
    cut = count // 4
    middle: NDArray[Any] = np.sort(rows, axis=1)[:, cut : count - cut].mean(axis=1)
    return middle
