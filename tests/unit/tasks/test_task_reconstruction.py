"""Anomalies by reconstruction error."""

import numpy as np
import pytest

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.tasks import reconstruction


def signature(output, inputs=(4,), dtype="float32"):
    return Signature(
        (TensorSpec("in", (None, *inputs), dtype),),
        (TensorSpec("out", (None, *output), "float32"),),
    )


def scored(inputs, outputs, labels=None, *, argument="", batch=3):
    task = reconstruction.create(argument=argument, class_names=(), seed=0)
    for start in range(0, len(inputs), batch):
        rows = slice(start, start + batch)
        marks = None if labels is None else np.asarray(labels)[rows]
        task.update({"a": (outputs[rows],)}, (inputs[rows],), marks)
    return task


X = np.random.default_rng(0).normal(3, 2, (40, 4)).astype(np.float32)
MARKS = (np.arange(40) % 4 == 0).astype(np.uint8)


def test_a_larger_error_on_anomalies_is_a_perfect_auc():
    outputs = X + np.where(MARKS, 1.0, 0.1)[:, None].astype(np.float32)
    score = scored(X, outputs, MARKS).score("a")
    assert (score.metric, score.value, score.n) == ("AUC", 1.0, 40)
    assert score.ci95 == (pytest.approx(0.7), 1.0)
    assert score.details["mse[anomaly]"] == pytest.approx(1.0, rel=1e-5)
    assert score.details["mse[normal]"] == pytest.approx(0.01, rel=1e-4)
    assert score.details["MAE"] == pytest.approx(0.325, rel=1e-4)


def test_the_anomaly_score_can_be_the_absolute_error():
    outputs = X.copy()
    outputs[MARKS == 1] += np.float32(0.3)
    outputs[MARKS == 0, 0] += np.float32(1.0)
    assert scored(X, outputs, MARKS, argument="mse").score("a").value == 0.0
    assert scored(X, outputs, MARKS, argument="mae").score("a").value == 1.0


def test_a_broken_output_counts_against_the_model():
    outputs = X + np.where(MARKS, 1.0, 0.1)[:, None].astype(np.float32)
    outputs[0] = np.nan
    outputs[1] = np.inf
    score = scored(X, outputs, MARKS).score("a")
    assert score.value == pytest.approx(9 / 10 * 29 / 30)
    assert score.details["nonfinite_outputs"] == 2.0


def test_without_labels_it_is_the_explained_variance():
    outputs = X + np.float32(0.5)
    score = scored(X, outputs).score("a")
    expected = 1 - 0.25 / X.astype(np.float64).var(axis=0).mean()
    assert (score.metric, score.value) == ("R2", pytest.approx(expected, rel=1e-5))
    assert score.ci95[0] <= score.value + 1e-9
    assert score.details == pytest.approx({"MSE": 0.25, "MAE": 0.5}, rel=1e-4)


def test_without_labels_broken_outputs_leave_no_figure():
    outputs = X.copy()
    outputs[3] = np.nan
    with pytest.raises(UnmeasuredError) as caught:
        scored(X, outputs).score("a")
    assert caught.value.message == (
        "a: 1 of 40 samples have outputs that are not finite, so there is no R2"
    )
    with pytest.raises(UnmeasuredError, match="all samples are the same"):
        scored(X[:1].repeat(4, 0), X[:4]).score("a")


def test_a_comparison_has_no_flips():
    judgement = scored(X, X + 1, MARKS).compare("a", "a")
    assert (judgement.agreement, judgement.right_to_wrong) == (None, None)


def test_labels_of_one_kind_give_no_auc():
    with pytest.raises(UnmeasuredError) as caught:
        scored(X, X, np.zeros(40, int)).score("a")
    assert caught.value.message == "labels of the 40 test samples are all 0, so there is no AUC"


def test_labels_beyond_0_and_1():
    with pytest.raises(UsageError, match="labels hold 2"):
        scored(X, X, np.full(40, 2))


def test_an_unknown_anomaly_score():
    with pytest.raises(UsageError) as caught:
        reconstruction.create(argument="rmse", class_names=(), seed=0)
    assert caught.value.hint == "known: mse, mae"


def test_check_says_both_shapes():
    with pytest.raises(UsageError) as caught:
        reconstruction.check(signature((3,)), None)
    assert caught.value.message == (
        "reconstruction needs an output of the input's shape, and 'out' is (3,) where 'in' is (4,)"
    )
    with pytest.raises(UsageError, match="labels have 5 classes"):
        reconstruction.check(signature((4,)), 5)
    reconstruction.check(signature((4, 1)), 2)


@pytest.mark.parametrize(
    ("shapes", "dtype", "ndim", "expected"),
    [
        (signature((4,)), None, 0, True),
        (signature((4, 1)), "uint8", 1, True),
        (signature((4,)), "float32", 1, False),
        (signature((3,)), None, 0, False),
        (signature((4,), dtype="int32"), None, 0, False),
        (signature((1,), (1,)), None, 0, False),
    ],
)
def test_what_suits(shapes, dtype, ndim, expected):
    assert reconstruction.suits(shapes, dtype, ndim) is expected
