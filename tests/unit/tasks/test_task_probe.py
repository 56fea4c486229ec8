"""A linear probe finds what a linear model can read, and the same each time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.tasks._probe import _cross_entropy, fit_probe


def clouds(classes, n=60, dimensions=5, spread=0.3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    middles = rng.normal(size=(classes, dimensions))
    return middles[labels] + spread * rng.normal(size=(n, dimensions)), labels


@pytest.mark.parametrize("classes", [2, 4])
def test_separable_clouds_are_parted(classes):
    x, labels = clouds(classes)
    probe = fit_probe(x, labels, classes=classes)
    assert (probe.scores(x).argmax(axis=1) == labels).mean() > 0.97


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_scale_and_shift_of_the_vectors_do_not_matter(scale, shift):
    x, labels = clouds(3, spread=1.0)
    plain = fit_probe(x, labels, classes=3).scores(x)
    moved = fit_probe(x * scale + shift, labels, classes=3).scores(x * scale + shift)
    np.testing.assert_allclose(plain, moved, atol=0.02)


def test_the_fit_is_the_minimum_of_its_objective():
    x, labels = clouds(2, spread=1.5)
    wide = x - x.mean(axis=0)
    wide /= np.sqrt((wide**2).sum(axis=1).mean())
    probe = fit_probe(wide, labels, classes=2, strength=0.5)
    parameters = np.concatenate([probe.weights, probe.bias[None]])
    _, slope = _cross_entropy(parameters, wide, np.eye(2)[labels], 0.5)
    assert np.abs(slope).max() < 2e-5


def test_the_gradient_is_that_of_the_loss():
    rng = np.random.default_rng(1)
    x, labels = clouds(3)
    at, truth = rng.normal(size=(6, 3)), np.eye(3)[labels]
    _, slope = _cross_entropy(at, x, truth, 2.0)
    for place in (0, 7, 17):
        step = np.zeros(18)
        step[place] = 1e-6
        above, _ = _cross_entropy(at + step.reshape(6, 3), x, truth, 2.0)
        below, _ = _cross_entropy(at - step.reshape(6, 3), x, truth, 2.0)
        assert slope[place] == pytest.approx((above - below) / 2e-6, abs=1e-6)


def test_a_stronger_penalty_makes_smaller_weights():
    x, labels = clouds(2)
    sizes = [np.abs(fit_probe(x, labels, classes=2, strength=s).weights).sum() for s in (0.01, 10)]
    assert sizes[0] > 2 * sizes[1]


def test_two_fits_are_equal_to_the_bit():
    x, labels = clouds(4, spread=2.0)
    first, second = (fit_probe(x, labels, classes=4) for _ in range(2))
    assert first.weights.tobytes() == second.weights.tobytes()


def test_vectors_that_are_all_the_same_say_the_commonest_class():
    probe = fit_probe(np.ones((9, 3)), np.array([0, 1, 1] * 3), classes=2)
    assert probe.scores(np.ones((1, 3))).argmax() == 1
