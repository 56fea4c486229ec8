"""Labels in the forms that people store them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.core.notes import Note
from edgekit.datasets._labels import read_labels
from edgekit.errors import UsageError


def read(*labels, signature=None):
    given = tuple(None if y is None else np.array(y) for y in labels)
    return read_labels(given, where="D", signature=signature)


def scoring(*output):
    return Signature((), (TensorSpec("out", (None, *output), "float32"),))


def error(*labels):
    with pytest.raises(UsageError) as caught:
        read(*labels)
    return caught.value


def test_class_indices_stay():
    (train, test), names, notes = read([0, 1, 2], [2])
    assert (train.tolist(), test.tolist(), names, notes) == ([0, 1, 2], [2], (), ())


def test_a_gap_is_fine():
    (y,), _, _ = read([0, 1, 3, 5, 6, 9])
    assert y.tolist() == [0, 1, 3, 5, 6, 9]


def test_one_hot_rows_become_indices_and_are_noted():
    (y,), _, notes = read([[0, 1, 0], [1, 0, 0]])
    assert y.tolist() == [1, 0]
    assert notes == (Note("converted", "labels", "one-hot rows of 3 to class indices"),)


def test_one_column_of_integers_is_a_list():
    assert read([[0], [1]])[0][0].shape == (2,)


def test_text_becomes_indices_with_names():
    (train, test), names, notes = read(["dog", "cat"], ["dog"])
    assert (train.tolist(), test.tolist(), names) == ([1, 0], [1], ("cat", "dog"))
    assert notes[0].what == "converted"


def test_floats_are_targets():
    (y,), _, _ = read([0.5, -3.0])
    assert y.tolist() == [0.5, -3.0]


WHOLE = (Note("converted", "labels", "whole numbers stored as floats to class indices"),)


def test_floats_that_are_class_indices_become_integers_and_are_noted():
    (train, test), names, notes = read([0.0, 1.0, 2.0], [2.0])
    assert (train.tolist(), test.tolist(), names, notes) == ([0, 1, 2], [2], (), WHOLE)
    assert (str(train.dtype), str(test.dtype)) == ("int64", "int64")


def test_a_column_of_such_floats_is_a_list():
    assert read([[0.0], [1.0]])[0][0].tolist() == [0, 1]


@pytest.mark.parametrize("output", [(1,), (), (3,), (None,)])
def test_zeros_and_ones_are_classes_for_any_model(output):
    assert read([0.0, 1.0, 1.0], signature=scoring(*output))[2] == WHOLE


def test_one_output_value_cannot_score_three_classes():
    assert read([0.0, 1.0, 2.0], signature=scoring(1))[2] == ()
    assert read([0.0, 1.0, 2.0], signature=scoring(3))[2] == WHOLE


@pytest.mark.parametrize(
    "labels",
    [
        [0.0, 0.5],
        [1.0, 2.0, 3.0],
        [10.0, 20.0, 30.0],
        [-1.0, 0.0, 1.0],
        [0.0, 0.0],
        [0.0, 1.0, np.nan],
        [0.0, 1.0, np.inf],
        [[0.0, 1.0], [1.0, 1.0]],
        [float(i) for i in range(1001)],
    ],
    ids=["halves", "from 1", "gaps", "negative", "one", "nan", "inf", "two", "too many"],
)
def test_other_floats_stay(labels):
    (y,), _, notes = read(labels)
    assert (y.dtype.kind, notes) == ("f", ())


def test_both_pools_decide():
    (train, test), _, notes = read([0.0, 1.0], [0.5])
    assert (train.dtype.kind, test.dtype.kind, notes) == ("f", "f", ())


def test_no_labels():
    assert read(None, None) == ((None, None), (), ())


def test_labels_that_are_no_indices_are_listed():
    found = error([10, 20, 30])
    assert found.message == "D: integer labels are 10, 20, 30, which are no class indices"
    assert found.hint == "class indices are 0..k-1; store the targets of a regression as floats"


def test_negative_labels_are_listed():
    assert error([-1, 0, 1]).message.startswith("D: integer labels are -1, 0, 1, which")


def test_labels_that_count_from_one():
    assert error([1, 2, 3]).hint == "subtract 1: class indices start at 0"


def test_complex_labels():
    assert error([1j]).message == "D: labels have the dtype complex128, which is no number"


@given(st.lists(st.integers(0, 9)))
def test_one_hot_and_indices_say_the_same(drawn):
    y = [0, 1, 2, 3, 4, *drawn]
    one_hot = np.eye(10, dtype=int)[y]
    (converted,), _, _ = read_labels((one_hot,), where="D")
    assert converted.tolist() == y
