"""Accuracy, flips, and what a classifier is."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.errors import UsageError
from edgekit.statistics import wilson_interval
from edgekit.tasks import classification


def signature(output, input_shape=(8, 8, 1)):
    return Signature(
        (TensorSpec("in", (None, *input_shape), "float32"),),
        (TensorSpec("out", (None, *output), "float32"),),
    )


def scored(outputs, labels, *, names=(), argument="", batch=2):
    task = classification.create(argument=argument, class_names=names, seed=0)
    for start in range(0, len(labels), batch):
        rows = slice(start, start + batch)
        roles = {role: (np.array(rows_of[rows]),) for role, rows_of in outputs.items()}
        task.update(roles, (np.zeros((len(labels[rows]), 1)),), np.array(labels[rows]))
    return task


SURE = np.eye(3).tolist()


def test_accuracy_recall_precision_and_f1():
    outputs = [SURE[0], SURE[0], SURE[1], SURE[1], SURE[0]]
    score = scored({"result": outputs}, [0, 0, 1, 0, 2]).score("result")
    assert (score.metric, score.value, score.n) == ("accuracy", 0.6, 5)
    assert score.ci95 == wilson_interval(3, 5)
    assert score.by_class == {"0": pytest.approx(2 / 3), "1": 1.0, "2": 0.0}
    assert score.details == pytest.approx(
        {
            "macro-precision": (2 / 3 + 1 / 2 + 0) / 3,
            "macro-recall": (2 / 3 + 1 + 0) / 3,
            "macro-F1": (2 / 3 + 2 / 3 + 0) / 3,
            "precision[0]": 2 / 3,
            "F1[0]": 2 / 3,
            "precision[1]": 1 / 2,
            "F1[1]": 2 / 3,
            "precision[2]": 0.0,
            "F1[2]": 0.0,
            "nonfinite_outputs": 0.0,
        }
    )


def test_classes_have_their_names():
    score = scored({"a": [SURE[0], SURE[2]]}, [0, 2], names=("cat", "dog", "fox")).score("a")
    assert set(score.by_class) == {"cat", "fox"}


def test_top_5_of_more_than_5_classes():
    outputs = [list(range(8, 0, -1))] * 3
    score = scored({"a": outputs}, [0, 4, 5]).score("a")
    assert score.value == pytest.approx(1 / 3)
    assert score.details["top-5"] == pytest.approx(2 / 3)


def test_of_equal_scores_the_first_class_wins():
    score = scored({"a": [[1, 1, 1, 1, 1, 1]] * 2}, [0, 5]).score("a")
    assert (score.value, score.details["top-5"]) == (0.5, 0.5)


def test_nan_outputs_are_counted_and_wrong_and_agree_with_nothing():
    broken = [[math.nan, 0, 0], SURE[0]]
    task = scored({"reference": broken, "result": broken}, [0, 0])
    judgement = task.compare("reference", "result")
    assert judgement.result.value == 0.5
    assert judgement.result.details["nonfinite_outputs"] == 1.0
    assert judgement.agreement == 0.5


def test_a_label_beyond_the_outputs_is_wrong():
    assert scored({"a": [SURE[2]]}, [7]).score("a").value == 0.0


def test_agreement_and_flips():
    before = [SURE[0], SURE[1], SURE[2], SURE[0]]
    after = [SURE[0], SURE[2], SURE[0], SURE[1]]
    judgement = scored({"reference": before, "result": after}, [0, 1, 0, 2]).compare(
        "reference", "result"
    )
    assert (judgement.agreement, judgement.right_to_wrong, judgement.wrong_to_right) == (0.25, 1, 1)
    assert judgement.p_worse == pytest.approx(0.75)
    assert judgement.smallest_visible_drop == pytest.approx(1.96 * math.sqrt(3) / 4, rel=1e-4)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), min_size=1))
def test_flips_explain_the_whole_difference(samples):
    before = [SURE[a] for a, _, _ in samples]
    after = [SURE[b] for _, b, _ in samples]
    task = scored({"reference": before, "result": after}, [y for *_, y in samples], batch=3)
    found = task.compare("reference", "result")
    difference = (found.wrong_to_right - found.right_to_wrong) / len(samples)
    assert found.result.value - found.reference.value == pytest.approx(difference)


def test_a_single_probability_is_parted_at_a_half():
    assert scored({"a": [[0.2], [0.7], [0.5]]}, [0, 1, 0]).score("a").value == 1.0


def test_a_single_logit_needs_its_threshold():
    outputs = {"a": [[-3.0], [2.0]]}
    assert scored(outputs, [0, 1], argument="0").score("a").value == 1.0
    with pytest.raises(UsageError) as caught:
        scored(outputs, [0, 1])
    assert caught.value.message == "a: its single output reaches -3, so it is no probability"


def test_a_threshold_that_is_no_number():
    with pytest.raises(UsageError) as caught:
        classification.create(argument="half", class_names=(), seed=0)
    assert caught.value.message == "--task 'classification:half': 'half' is not a number"


def test_labels_are_needed():
    task = classification.create(argument="", class_names=(), seed=0)
    with pytest.raises(UsageError, match="needs labels"):
        task.update({}, (np.zeros((1, 1)),), None)


def test_a_few_bytes_a_sample():
    task = classification.create(argument="", class_names=(), seed=0)
    outputs, inputs = np.zeros((1000, 10), np.float32), (np.zeros((1000, 4)),)
    for _ in range(20):
        task.update({"a": (outputs,)}, inputs, np.zeros(1000, np.int64))
    columns = (task._labels, task._predicted["a"], task._in_top["a"])
    assert sum(column.values.nbytes for column in columns) == 20_000 * 9


@pytest.mark.parametrize(
    ("output", "dtype", "ndim", "expected"),
    [
        ((10,), "int64", 1, True),
        ((1, 1, 10), "uint8", 1, True),
        ((1,), "int64", 1, True),
        ((None,), "int64", 1, True),
        ((10,), "float32", 1, False),
        ((10,), None, 0, False),
        ((4, 10), "int64", 1, False),
        ((8, 8, 1), "int64", 1, False),
    ],
)
def test_what_suits(output, dtype, ndim, expected):
    assert classification.suits(signature(output), dtype, ndim) is expected


def error(*arguments, **options):
    with pytest.raises(UsageError) as caught:
        classification.check(*arguments, **options)
    return caught.value.message


def test_what_does_not_fit():
    assert error(signature((10,)), 12) == (
        "labels have 12 classes, and the model's output 'out' has 10"
    )
    assert error(signature((10,)), 3, class_names=("a", "b", "c")) == (
        "labels have 3 classes, and the model's output 'out' has 10"
    )
    assert error(signature((4, 10)), 3) == (
        "classification needs one score a class, and the output 'out' is (4, 10)"
    )
    assert error(signature((10,)), None) == (
        "classification needs one integer label a sample, and the data has none"
    )


def test_what_fits():
    classification.check(signature((10,)), 8)
    classification.check(signature((None,)), 99)
    classification.check(signature((1,)), 2)
