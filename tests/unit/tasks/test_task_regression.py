"""R2, MAE and RMSE."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.tasks import regression


def signature(output, inputs=(4,)):
    return Signature(
        (TensorSpec("in", (None, *inputs), "float32"),),
        (TensorSpec("out", (None, *output), "float32"),),
    )


def scored(predicted, labels, *, batch=3):
    task = regression.create(argument="", class_names=(), seed=0)
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    for start in range(0, len(labels), batch):
        rows = slice(start, start + batch)
        task.update({"a": (predicted[rows],)}, (labels[rows],), labels[rows])
    return task


def test_the_figures():
    score = scored([[1.0], [2.0], [4.0]], [1.0, 2.0, 3.0]).score("a")
    assert (score.metric, score.value, score.n, score.is_share) == ("R2", 0.5, 3, True)
    assert score.details == pytest.approx({"MAE": 1 / 3, "RMSE": (1 / 3) ** 0.5})


def test_the_interval_holds_the_value():
    rng = np.random.default_rng(0)
    labels = rng.normal(1e4, 1, 300)
    score = scored(labels + rng.normal(0, 0.3, 300), labels).score("a")
    assert score.ci95[0] < score.value < score.ci95[1]
    assert score.value == pytest.approx(0.91, abs=0.03)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=3, max_size=40))
def test_several_targets_are_variance_weighted(rows):
    labels = np.array(rows, float)
    labels[0] += 60
    predicted = labels + np.sin(np.arange(labels.size)).reshape(labels.shape)
    spread = ((labels - labels.mean(axis=0)) ** 2).sum()
    expected = 1 - ((predicted - labels) ** 2).sum() / spread
    assert scored(predicted, labels).score("a").value == pytest.approx(expected)


def test_a_comparison_has_no_flips():
    judgement = scored([1.0, 2.5], [1.0, 2.0]).compare("a", "a")
    assert (judgement.agreement, judgement.right_to_wrong, judgement.p_worse) == (None, None, None)


def test_outputs_that_are_not_finite_are_counted():
    with pytest.raises(UnmeasuredError) as caught:
        scored([1.0, np.nan], [1.0, 2.0]).score("a")
    assert caught.value.message == (
        "a: 1 of 2 samples have outputs that are not finite, so there is no R2"
    )


def test_labels_that_are_all_the_same():
    with pytest.raises(UnmeasuredError, match="labels are all the same"):
        scored([1.0, 2.0], [3.0, 3.0]).score("a")


def test_another_number_of_targets():
    with pytest.raises(UsageError) as caught:
        scored([[1.0, 2.0]], [[1.0]])
    assert caught.value.message == ("labels have 1 value a sample, and the output of a has 2")


@pytest.mark.parametrize(
    ("output", "label", "message"),
    [
        ((1,), (2,), "2 values a sample (2), and the model's output 'out' has 1 value (1)"),
        ((3,), (), "1 value a sample (one number), and the model's output 'out' has 3 values (3)"),
        ((2, 3), (6, 2), "12 values a sample (6, 2), and the model's output 'out' has 6 values "),
    ],
)
def test_labels_that_do_not_fit_are_refused_before_any_work(output, label, message):
    with pytest.raises(UsageError) as caught:
        regression.check(signature(output), None, label_shape=label)
    assert caught.value.message.startswith(f"labels have {message}")
    assert caught.value.hint.startswith("give one label for each value of the output")


@pytest.mark.parametrize(
    ("output", "label"),
    [((1,), ()), ((), ()), ((1,), (1,)), ((3,), (3,)), ((2, 3), (6,)), ((3,), None)],
)
def test_labels_that_fit(output, label):
    regression.check(signature(output), None, label_shape=label)


def test_labels_and_arguments():
    with pytest.raises(UsageError, match="takes no argument"):
        regression.create(argument="x", class_names=(), seed=0)
    task = regression.create(argument="", class_names=(), seed=0)
    with pytest.raises(UsageError, match="needs labels"):
        task.update({}, (), None)
    with pytest.raises(UsageError, match="fixed number of outputs"):
        regression.check(signature((None,)), None)
    regression.check(signature((2,)), None)


@pytest.mark.parametrize(
    ("output", "dtype", "ndim", "expected"),
    [
        ((1,), "float32", 1, True),
        ((3,), "float64", 2, True),
        ((1,), "int64", 1, False),
        ((1,), None, 0, False),
        ((4,), "float32", 1, False),
        ((4,), "float32", 2, True),
    ],
)
def test_what_suits(output, dtype, ndim, expected):
    assert regression.suits(signature(output), dtype, ndim) is expected
