"""The metrics of tools/bench that judge PP-OCR as a `python:` task."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.core.user_function import load_functions
from edgekit.tasks import python as python_task

FILE = Path(__file__).parents[3] / "tools/bench/ocr_metrics.py"
NAMES = ("boxes_of", "connected", "detector_f1", "page_f1", "word_accuracy")
metrics = load_functions(FILE, NAMES, where="test")


def flooded(mask):
    """The boxes of 8-connected regions, found the slow way."""
    left, found = {tuple(map(int, at)) for at in np.argwhere(mask)}, []
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            edge += near
        rows, columns = zip(*region, strict=True)
        found.append([min(rows), min(columns), max(rows) + 1, max(columns) + 1])
    return sorted(found)


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_regions_are_those_of_a_flood_fill(mask):
    assert [list(box) for box in metrics["connected"](mask)] == flooded(mask)


def test_a_region_becomes_a_grown_box():
    page = np.zeros((60, 80))
    page[20:30, 10:50] = 0.9
    page[50:52, 3:5] = 0.9  # too small
    page[40:48, 10:30] = 0.4  # not sure enough
    (box,) = metrics["boxes_of"](page)
    more = 10 * 40 * 1.6 / (2 * 50)
    np.testing.assert_allclose(box, (10 - more, 20 - more, 50 + more, 30 + more))
    assert metrics["boxes_of"](np.zeros((9, 9))).shape == (0, 4)


def test_f1_of_a_page():
    boxes = np.array([(0.0, 0, 10, 10), (20, 20, 30, 30), (0, 0, 9, 10)])
    assert metrics["page_f1"](boxes[:2], boxes[:2]) == 1.0
    assert metrics["page_f1"](boxes, boxes[:1]) == pytest.approx(2 / 4)
    assert metrics["page_f1"](boxes[:0], boxes[:1]) == 0.0
    assert metrics["page_f1"](boxes[:0], boxes[:0]) == 1.0


def test_the_detectors_metric_as_a_task():
    task = python_task.create(argument=f"{FILE}:detector_f1", class_names=(), seed=0)
    maps = np.zeros((2, 1, 60, 80), np.float32)
    maps[:, 0, 20:30, 10:50] = 0.9
    labels = np.full((2, 4, 5), -1.0)
    labels[0, 0] = (0, 5, 15, 55, 35)
    labels[1, :2] = ((0, 5, 15, 55, 35), (0, 60, 40, 70, 50))
    task.update({"a": (maps,)}, (maps,), labels)
    score = task.score("a")
    assert (score.metric, score.is_share, score.n) == ("F1 at IoU 0.5", True, 2)
    assert score.value == pytest.approx((1 + 2 / 3) / 2)


def test_words_are_read_greedily():
    # Steps of classes: 0 is the blank, 4 (the last) the space.
    steps = [
        [0, 1, 1, 0, 1, 2, 0],  # a a b
        [4, 3, 0, 4, 2, 4, 0],  # ' c b ' loses the spaces around it, not the one inside
        [0, 0, 0, 0, 0, 0, 0],
    ]
    labels = np.array([[1, 1, 2, -1], [3, 4, 2, -1], [1, -1, -1, -1]])
    right = metrics["word_accuracy"]((np.eye(5)[np.array(steps)],), labels)
    assert right.tolist() == [True, True, False]
