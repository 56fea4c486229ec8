"""Metrics of the user's own."""

import numpy as np
import pytest

from edgekit.core.artifact import Signature
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.tasks import python as python_task

LABELS = np.arange(10.0)


@pytest.fixture
def create(tmp_path):
    def make(text):
        path = tmp_path / "metric.py"
        path.write_text(f"import numpy as np\n{text}\n")
        argument = f"{path}:metric"
        return python_task.create(argument=argument, class_names=(), seed=0)

    return make


def fed(task, offset=1.0, batch=4):
    for start in range(0, 10, batch):
        labels = LABELS[start : start + batch]
        task.update({"a": (labels + offset,)}, (labels,), labels)
    return task


def test_one_score_a_sample(create):
    task = fed(create("def metric(outputs, labels): return np.abs(outputs[0] - labels) * labels"))
    score = task.score("a")
    assert (score.metric, score.value, score.n) == ("metric", 4.5, 10)
    assert (score.higher_is_better, score.is_share) == (True, False)
    assert score.ci95[0] < 4.5 < score.ci95[1]


def test_one_number_a_batch_counts_as_often_as_the_batch_has_samples(create):
    task = fed(create("def metric(outputs, labels): return float(len(labels))"))
    assert task.score("a").value == pytest.approx((4 * 4 + 4 * 4 + 2 * 2) / 10)
    assert task.score("a").n == 10


def test_attributes_of_the_function_describe_the_metric(create):
    task = fed(
        create(
            "def metric(outputs, labels): return labels\n"
            "metric.metric, metric.higher_is_better, metric.is_share = 'loss', False, True"
        )
    )
    score = task.score("a")
    assert (score.metric, score.higher_is_better, score.is_share) == ("loss", False, True)


def test_a_comparison_has_no_flips(create):
    task = fed(create("def metric(outputs, labels): return labels"))
    assert task.compare("a", "a").agreement is None


def test_what_the_function_raises_is_one_sentence(create):
    task = create("def metric(outputs, labels):\n    return outputs['x']")
    with pytest.raises(UsageError, match=r"metric\.py, line 3: TypeError: tuple indices must be"):
        fed(task)


@pytest.mark.parametrize("returned", ["'text'", "None", "[1, 2, 3]", "{}"])
def test_what_is_no_score(create, returned):
    task = create(f"def metric(outputs, labels): return {returned}")
    with pytest.raises(UsageError, match=r"returned \w+ with \d numbers for a batch of 4"):
        fed(task)


def test_scores_that_are_not_finite_are_counted(create):
    task = fed(create("def metric(outputs, labels): return np.where(labels == 3, np.nan, 1)"))
    with pytest.raises(UnmeasuredError, match="1 of the 10 scores of a are not finite"):
        task.score("a")


def test_no_such_file():
    with pytest.raises(UsageError) as caught:
        python_task.create(argument="no.py:f", class_names=(), seed=0)
    assert caught.value.message == "--task 'python:no.py:f': no.py: no such file"


def test_it_never_suits_by_itself():
    assert python_task.suits(Signature((), ()), "int64", 1) is False
    python_task.check(Signature((), ()), None)
