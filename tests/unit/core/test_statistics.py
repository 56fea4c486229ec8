"""Intervals and tests, against SciPy where it has them and against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core import equivalence
from edgekit.core.equivalence import tost_paired
from edgekit.statistics import (
    auc_interval,
    bootstrap_interval,
    change,
    mcnemar_p_worse,
    median,
    nested_ratio,
    outliers,
    paired_ratio,
    percentile,
    runs_for_percentile,
    smallest_visible_change,
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


def test_the_ratio_interval_holds_the_middle_and_narrows_with_agreement():
    ratios = [0.98, 0.99, 1.0, 1.0, 1.01, 1.01, 1.02, 1.0, 0.99, 1.0]
    middle, (low, high) = paired_ratio(ratios, seed=0)
    assert middle == pytest.approx(1.0, abs=1e-4)
    assert 0.98 <= low <= middle <= high <= 1.02
    middle, interval = paired_ratio([0.5], seed=0)
    assert (middle, *interval) == pytest.approx((0.5, 0.5, 0.5))


def test_disturbed_rounds_do_not_move_the_ratio():
    quiet = [0.99, 1.0, 1.01] * 4
    disturbed = [*quiet, 3.0, 9.0]
    assert paired_ratio(disturbed, seed=0)[0] == pytest.approx(1.003, abs=0.004)


def test_rounds_of_one_process_are_not_taken_for_independent():
    rng = np.random.default_rng(0)
    rounds = np.exp(rng.normal(0, 0.001, (6, 30)) + rng.normal(0, 0.01, (6, 1)))
    pooled = paired_ratio(rounds.ravel().tolist(), seed=0)
    nested = nested_ratio(rounds.tolist(), seed=0)
    assert nested[0] == pytest.approx(pooled[0])
    widths = [interval[1] - interval[0] for _, interval in (pooled, nested)]
    assert widths[1] > 3 * widths[0]


@pytest.mark.parametrize(("processes", "rounds", "between"), [(4, 25, 0.0), (6, 25, 0.003)])
def test_the_nested_interval_covers_the_truth_95_times_of_100(processes, rounds, between):
    rng, covered = np.random.default_rng(2), 0
    for _ in range(200):
        noise = 0.01 * rng.standard_t(3, (processes, rounds))
        ratios = np.exp(noise + rng.normal(0, between, (processes, 1)))
        _, (low, high) = nested_ratio(ratios.tolist(), seed=0, resamples=400)
        covered += low <= 1 <= high
    assert covered >= 0.93 * 200


def test_no_ratios():
    with pytest.raises(ValueError, match="no values"):
        paired_ratio([], seed=0)
    assert nested_ratio([[], [2.0]], seed=0)[0] == pytest.approx(2.0)


def test_percentiles_need_enough_runs():
    assert (runs_for_percentile(0.9), runs_for_percentile(0.99)) == (64, 662)
    assert percentile(range(63), 0.9) is None
    assert percentile(range(1, 65), 0.9) == 58
    assert percentile(range(1, 1001), 0.99) == 990
    with pytest.raises(ValueError, match="between 0 and 1"):
        runs_for_percentile(1.0)


def test_so_many_runs_have_two_above_the_percentile_with_99_percent():
    rng = np.random.default_rng(0)
    above = (rng.random((20_000, 64)) > 0.9).sum(axis=1)
    assert 0.988 <= (above >= 2).mean() <= 0.993


def test_outliers_are_counted_and_a_clock_tick_is_none():
    assert outliers([100, 101, 102, 99, 100, 140, 900]) == 2
    assert outliers([970] * 50 + [980] * 20) == 0
    assert outliers([]) == 0


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.99, 1.01), "no difference"),
        ((1.005, 1.012), "no difference"),
        ((1.02, 1.05), "slower"),
        ((0.90, 0.99), "faster"),
        ((0.95, 1.02), "cannot tell"),
        ((0.5, 2.0), "cannot tell"),
    ],
)
def test_an_interval_says_one_of_four(interval, said):
    assert change(interval, 0.03) == said


def test_the_smallest_visible_change_is_found_4_times_of_5():
    standard_error = 0.01
    half = math.exp(1.96 * standard_error)
    seen = math.log1p(smallest_visible_change((1 / half, half)))
    assert seen == pytest.approx(2.8 * standard_error, rel=1e-3)
    found = np.random.default_rng(0).normal(seen, standard_error, 50_000) > 1.96 * standard_error
    assert found.mean() == pytest.approx(0.8, abs=0.01)
    assert smallest_visible_change((1.0, 1.0)) == 0


FLIPS = st.integers(1, 300).flatmap(
    lambda n: st.integers(0, n).flatmap(
        lambda lost: st.tuples(st.just(lost), st.integers(0, n - lost), st.just(n))
    )
)


@settings(deadline=None, max_examples=60)
@given(FLIPS, st.floats(0.005, 0.2))
def test_tost_uses_the_maximum_likelihood_under_the_margin(flips, margin):
    lost, won, n = flips
    shares = np.linspace(0, (1 - margin) / 2, 20_001)[1:-1]
    likelihood = (
        won * np.log(shares)
        + lost * np.log(shares + margin)
        + (n - lost - won) * np.log(1 - 2 * shares - margin)
    )
    share = shares[likelihood.argmax()]
    expected = (lost - won - n * margin) / math.sqrt(n * (2 * share + margin - margin**2))
    assert equivalence._score_statistic(lost, won, n, margin) == pytest.approx(expected, abs=0.03)


def test_tost_finds_equal_models_equal_and_no_others():
    assert tost_paired(5, 5, 1000, 0.01) < 0.01
    assert tost_paired(2, 2, 100, 0.01) > 0.05
    assert tost_paired(30, 0, 1000, 0.01) > 0.9
    assert tost_paired(9, 2, 450, 0.03) == tost_paired(2, 9, 450, 0.03)
    assert tost_paired(0, 0, 0, 0.01) == 1.0


def test_tost_calls_a_drop_of_the_margin_equivalent_5_times_of_100():
    rng = np.random.default_rng(0)
    flips = rng.multinomial(10_000, (0.03, 0.02, 0.95), 2000)
    said = sum(tost_paired(int(lost), int(won), 10_000, 0.01) < 0.05 for lost, won, _ in flips)
    assert 0.035 <= said / 2000 <= 0.065


@pytest.mark.parametrize("wrong", [(1, 1, 10, 0.0), (1, 1, 10, 1.0), (6, 5, 10, 0.1)])
def test_tost_refuses_what_cannot_be(wrong):
    with pytest.raises(ValueError, match="margin|flips"):
        tost_paired(*wrong)
