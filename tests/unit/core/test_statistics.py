"""Intervals and tests, against SciPy where it has them and against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.statistics import (
    auc_interval,
    bootstrap_interval,
    mcnemar_p_worse,
    median,
    paired_ratio,
    smallest_visible_drop,
    wilson_interval,
)

COUNTS = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS)
def test_wilson_holds_the_share_and_stays_within_0_and_1(counts):
    low, high = wilson_interval(*counts)
    assert 0 <= low <= counts[0] / counts[1] <= high <= 1


@pytest.mark.parametrize(("right", "n"), [(0, 10), (9, 10), (441, 450), (9905, 10000)])
def test_wilson_is_scipys(right, n):
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert wilson_interval(right, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_without_samples_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_tail(worse, better):
    n = worse + better
    exact = sum(math.comb(n, k) for k in range(worse, n + 1)) / 2**n
    assert mcnemar_p_worse(worse, better) == pytest.approx(exact, rel=1e-9, abs=1e-12)


def test_mcnemar_on_many_flips_is_quick_and_scipys():
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(50_500, 100_000, alternative="greater").pvalue
    assert mcnemar_p_worse(50_500, 49_500) == pytest.approx(expected, rel=1e-6)


def test_mcnemar_without_flips_is_one():
    assert mcnemar_p_worse(0, 0) == 1.0


def test_the_smallest_visible_drop_is_the_formula():
    assert smallest_visible_drop(20, 1000) == pytest.approx(1.96 * math.sqrt(0.02 / 1000), rel=1e-4)
    assert smallest_visible_drop(200, 10_000) == pytest.approx(0.0028, abs=5e-5)


def test_without_flips_the_rule_of_three_bounds_the_drop():
    bound = 1.96 * math.sqrt(3 / 450 / 450)
    assert smallest_visible_drop(0, 450) == pytest.approx(bound, rel=1e-4)
    assert smallest_visible_drop(0, 450) == smallest_visible_drop(3, 450)
    assert smallest_visible_drop(0, 0) is None


def test_the_bootstrap_of_a_mean_is_close_to_the_normal_interval():
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = bootstrap_interval(values, seed=1)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


def test_the_bootstrap_is_the_same_for_the_same_seed():
    values = np.arange(50.0)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_the_bootstrap_groups_many_samples_without_changing_the_interval():
    values = np.random.default_rng(0).normal(5, 2, 200_000)
    low, high = bootstrap_interval(values, seed=1, resamples=500)
    half = 1.96 * 2 / math.sqrt(200_000)
    assert (low, high) == pytest.approx((5 - half, 5 + half), abs=0.006)


def test_the_bootstrap_of_a_ratio_uses_paired_columns():
    rows = np.column_stack([np.arange(1.0, 21), 2 * np.arange(1.0, 21)])
    ratio = bootstrap_interval(rows, seed=0, of=lambda means: means[:, 1] / means[:, 0])
    assert ratio == pytest.approx((2.0, 2.0))


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=30), st.data())
def test_the_auc_is_the_share_of_ordered_pairs(scores, data):
    marks = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    marks[0], marks[-1] = True, False
    values, positive = np.array(scores, float), np.array(marks)
    pairs = values[positive][:, None] - values[~positive][None, :]
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    auc, (low, high) = auc_interval(values, positive)
    assert auc == pytest.approx(expected)
    assert 0 <= low <= auc + 1e-12
    assert auc - 1e-12 <= high <= 1


def test_the_auc_interval_covers_the_truth_95_times_of_100():
    rng = np.random.default_rng(0)
    truth, covered = 0.7602499389065233, 0  # Phi(1 / sqrt(2))
    positive = np.arange(200) < 100
    for _ in range(400):
        scores = rng.normal(size=200) + positive
        _, (low, high) = auc_interval(scores, positive)
        covered += low <= truth <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_a_perfect_auc_is_not_certain():
    auc, interval = auc_interval(np.arange(40.0), np.arange(40) >= 20)
    assert (auc, interval) == (1.0, (pytest.approx(0.85), 1.0))


def test_the_median():
    assert (median([3, 1, 2]), median([1.0, 2.0])) == (2.0, 1.5)
    with pytest.raises(ValueError, match="no values"):
        median([])


def test_the_ratio_interval_holds_the_median_and_narrows_with_agreement():
    ratios = [0.98, 0.99, 1.0, 1.0, 1.01, 1.01, 1.02, 1.0, 0.99, 1.0]
    middle, (low, high) = paired_ratio(ratios, seed=0)
    assert middle == 1.0
    assert 0.98 <= low <= middle <= high <= 1.02
    assert paired_ratio([0.5], seed=0) == (0.5, (0.5, 0.5))


def test_no_ratios():
    with pytest.raises(ValueError, match="no values"):
        paired_ratio([], seed=0)
