"""COCO's average precision against values computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.tasks import detection
from edgekit.tasks._average_precision import THRESHOLDS, average_precision, iou, match

SQUARE = (0.0, 0.0, 10.0, 10.0)


def signature(outputs=3):
    specs = tuple(TensorSpec(f"o{i}", (None, 5, 4), "float32") for i in range(outputs))
    return Signature((TensorSpec("x", (None, 3, 8, 8), "float32"),), specs)


def create(argument="", names=()):
    return detection.create(argument=argument, class_names=names, seed=0)


def labels(*images, most=4):
    array = np.full((len(images), most, 5), -1.0)
    for row, boxes in enumerate(images):
        for column, box in enumerate(boxes):
            array[row, column] = box
    return array


def outputs(*images, most=4):
    """Of (class, score, box) each: boxes, scores and classes, filled up with score 0."""
    boxes, scores, classes = (
        np.zeros((len(images), most, *tail), np.float32) for tail in ((4,), (), ())
    )
    for row, found in enumerate(images):
        for column, (kind, score, box) in enumerate(found):
            boxes[row, column], scores[row, column], classes[row, column] = box, score, kind
    return boxes, scores, classes


def scored(arrays, truth, task=None, role="result"):
    task = task or create()
    task.update({role: arrays}, (np.zeros((len(truth), 1)),), truth)
    return task.score(role)


def test_overlaps():
    boxes = np.array([SQUARE, (5, 0, 15, 10), (20, 20, 30, 30), (3, 3, 3, 3)])
    np.testing.assert_allclose(iou(boxes[:1], boxes)[0], [1, 1 / 3, 0, 0])


def test_average_precision_by_hand():
    # Falling score: right, wrong, right; 4 true boxes. Precision 1, 1/2, 2/3, made monotonic
    # 1, 2/3, 2/3; recall 1/4, 1/4, 1/2. Of 101 recalls the first 26 (0 to 0.25) read 1, the next
    # 25 (0.26 to 0.5) read 2/3, and the rest 0.
    right = np.array([[True], [False], [True]])
    found = average_precision(np.array([0.9, 0.8, 0.7]), right, 4)
    assert found[0] == pytest.approx((26 * 1 + 25 * 2 / 3) / 101)


def test_the_order_of_the_detections_is_that_of_their_scores():
    right = np.array([[True], [True], [False]])
    found = average_precision(np.array([0.7, 0.9, 0.8]), right, 2)
    # right, wrong, right: precision 1, 1/2, 2/3; recall 1/2, 1/2, 1.
    assert found[0] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_no_detections_have_no_precision():
    none = average_precision(np.zeros(0), np.zeros((0, 10), bool), 3)
    assert none.tolist() == [0.0] * 10


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 40))
def test_average_precision_lies_between_0_and_the_recall(right, more):
    hits = np.array(right)[:, None]
    true = int(hits.sum()) + more - 1 or 1
    found = average_precision(np.linspace(1, 0.1, len(right)), hits, true)[0]
    assert 0 <= found <= hits.sum() / true + 1 / 101


def test_each_true_box_is_matched_once_by_the_surest():
    boxes = np.array([SQUARE, SQUARE])
    assert match(boxes, np.array([SQUARE]))[:, 0].tolist() == [True, False]


def test_a_detection_takes_the_free_box_that_it_overlaps_most():
    near, far = (0, 0, 10, 9), (0, 0, 10, 6)
    right = match(np.array([SQUARE, SQUARE]), np.array([far, near]))
    # The surest takes `near` (0.9); the second gets `far` (0.6) at overlaps up to 0.6.
    assert right[0].tolist() == [t <= 0.9 for t in THRESHOLDS]
    assert right[1].tolist() == [t <= 0.6 for t in THRESHOLDS]


def test_perfect_boxes():
    score = scored(outputs([(0, 0.9, SQUARE)]), labels([(0, *SQUARE)]))
    assert (score.metric, score.value, score.n, score.is_share) == ("mAP", 1.0, 1, True)
    assert score.ci95 == (0.0, 1.0)  # a single image says nothing
    assert score.details == {
        "mAP@0.5": 1.0,
        "F1@0.5": 1.0,
        "precision@0.5": 1.0,
        "recall@0.5": 1.0,
        "boxes": 1,
        "detections": 1,
        "nonfinite_outputs": 0,
    }


def test_map_is_the_mean_over_overlaps_and_classes():
    shifted = (0.0, 0.0, 10.0, 7.2)  # overlap 0.72: right at 0.5 to 0.7, five of ten
    truth = labels([(0, *SQUARE), (2, *SQUARE)])
    score = scored(outputs([(0, 0.9, shifted), (2, 0.8, SQUARE), (1, 0.7, SQUARE)]), truth)
    assert score.value == pytest.approx((0.5 + 1.0) / 2)
    assert score.by_class == {"0": 0.5, "2": 1.0}  # class 1 has no true box
    assert score.details["mAP@0.5"] == 1.0
    assert score.details["precision@0.5"] == pytest.approx(2 / 3)


def test_classes_have_their_names():
    score = scored(
        outputs([(1, 0.9, SQUARE)]), labels([(1, *SQUARE)]), create(names=("cat", "dog"))
    )
    assert score.by_class == {"dog": 1.0}


def test_unsure_detections_count_for_map_and_not_for_f1():
    score = scored(outputs([(0, 0.4, SQUARE)]), labels([(0, *SQUARE)]))
    assert (score.value, score.details["F1@0.5"], score.details["precision@0.5"]) == (1, 0, 0)


def test_detections_of_all_images_are_ranked_together():
    # The surest is a false alarm in an image without boxes: precision 0, 1/2, so the best is 1/2.
    task = create()
    for likely, truth in ((0.8, [(0, *SQUARE)]), (0.9, [])):
        score = scored(outputs([(0, likely, SQUARE)]), labels(truth), task)
    assert score.value == pytest.approx(0.5)
    assert score.n == 2


def test_what_is_filling():
    boxes, scores, classes = outputs([(0, 0.9, SQUARE), (-1, 0.9, SQUARE), (0, -1.0, SQUARE)])
    score = scored((boxes, scores, classes), labels([(0, *SQUARE)]))
    assert score.details["detections"] == 1


def test_nan_is_counted_and_finds_nothing():
    boxes, scores, classes = outputs([(0, 0.9, SQUARE), (0, math.nan, SQUARE)])
    boxes[0, 0, 0] = math.nan
    score = scored((boxes, scores, classes), labels([(0, *SQUARE)]))
    assert (score.value, score.details["nonfinite_outputs"]) == (0.0, 2)


def test_the_interval_leaves_out_groups_of_images():
    task = create()
    rng = np.random.default_rng(0)
    for _ in range(40):
        height = 10.0 if rng.random() < 0.7 else 3.0
        found = outputs([(0, 0.9, (0, 0, 10, height))])
        score = scored(found, labels([(0, *SQUARE)]), task)
    assert 0 < score.ci95[0] < score.value < score.ci95[1] <= 1
    assert score.ci95[1] - score.ci95[0] < 0.6


def test_an_interval_without_a_spread_has_the_rule_of_three():
    task = create()
    for _ in range(30):
        score = scored(outputs([(0, 0.9, SQUARE)]), labels([(0, *SQUARE)]), task)
    assert score.ci95 == (pytest.approx(0.9), 1.0)


def test_no_box_at_all_is_unmeasured():
    with pytest.raises(UnmeasuredError, match="labels have no box at all"):
        scored(outputs([(0, 0.9, SQUARE)]), labels([]))


def test_a_comparison_has_no_flips():
    task = create()
    truth, arrays = labels([(0, *SQUARE)]), outputs([(0, 0.9, SQUARE)])
    task.update({"reference": arrays, "result": arrays}, (np.zeros((1, 1)),), truth)
    judged = task.compare("reference", "result")
    assert judged.reference == judged.result
    assert (judged.agreement, judged.right_to_wrong, judged.p_worse) == (None, None, None)


@pytest.mark.parametrize(
    ("corners", "box"),
    [
        ("xyxy", (1, 2, 5, 8)),
        ("yxyx", (2, 1, 8, 5)),
        ("xywh", (1, 2, 4, 6)),
        ("cxcywh", (3, 5, 4, 6)),
    ],
)
def test_how_boxes_are_written(corners, box):
    truth = labels([(0, 1, 2, 5, 8)])
    assert scored(outputs([(0, 0.9, box)]), truth, create(corners)).value == 1.0


def test_outputs_as_tflite_gives_them():
    boxes, scores, classes = outputs([(1, 0.9, (0, 0, 10, 8)), (1, 0.8, SQUARE)])
    arrays = (boxes, classes, scores, np.array([[1.0]]))
    task = create("boxes,classes,scores,count,yxyx")
    score = scored(arrays, labels([(1, 0, 0, 8, 10)]), task)
    assert (score.value, score.details["detections"]) == (1.0, 1)


@pytest.mark.parametrize(("count", "kept"), [(math.nan, 0), (-3.0, 0), (99.0, 2)])
def test_a_count_beyond_the_boxes(count, kept):
    boxes, scores, _ = outputs([(0, 0.9, SQUARE), (0, 0.8, SQUARE)])
    task = create("boxes,scores,count")
    score = scored((boxes, scores, np.array([count])), labels([(0, *SQUARE)]), task)
    assert score.details["detections"] == kept


def test_outputs_that_are_no_boxes():
    boxes, scores, classes = outputs([(0, 0.9, SQUARE)])
    with pytest.raises(UsageError) as caught:
        scored((scores, boxes, classes), labels([(0, *SQUARE)]))
    assert caught.value.message.startswith("result: the outputs are boxes (1, 4), scores (1, 4, 4)")
    with pytest.raises(UsageError, match="has 2 outputs, and detection takes boxes, scores, cla"):
        scored((boxes, scores), labels([(0, *SQUARE)]))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("boxes,score", "unknown word 'score'"),
        ("boxes", "boxes and scores must be there"),
        ("boxes,scores,boxes", "nothing twice"),
        ("xyxy,yxyx", "nothing twice"),
    ],
)
def test_arguments_that_say_nothing(argument, message):
    with pytest.raises(UsageError) as caught:
        create(argument)
    assert caught.value.message.startswith(f"--task 'detection:{argument}': ")
    assert message in caught.value.message
    assert caught.value.hint


def test_labels_are_needed():
    with pytest.raises(UsageError, match="detection needs labels"):
        create().update({}, (np.zeros((1, 1)),), None)


def test_models_and_labels_that_fit():
    detection.check(signature(), None, label_shape=(40, 5))
    assert not detection.suits(signature(), "float32", 3)
    with pytest.raises(UsageError, match=r"there are \(40, 4\) a sample"):
        detection.check(signature(), None, label_shape=(40, 4))
    with pytest.raises(UsageError, match="there are none"):
        detection.check(signature(), None)
    with pytest.raises(UsageError, match="the model has only 'o0'"):
        detection.check(signature(1), None, label_shape=(40, 5))


def test_a_few_bytes_a_detection():
    task = create()
    arrays = outputs(*[[(0, 0.9, SQUARE)] * 4] * 8)
    for _ in range(10):
        scored(arrays, labels(*[[(0, *SQUARE)]] * 8), task)
    found = task._found["result"]
    held = sum(c.values.nbytes for c in (found.image, found.label, found.score, found.right))
    assert held == 10 * 8 * 4 * 22
