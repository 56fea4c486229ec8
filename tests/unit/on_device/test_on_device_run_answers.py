"""`run.py` makes answers of outputs: classes, numbers, boxes, text."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from bundle_folder import runner


def answer(how: dict[str, Any], *outputs: Any, labels: Any = (), top_k: Any = None) -> Any:
    return runner().answer([np.float32(o) for o in outputs], how, labels, top_k)


CLASSES = {"kind": "classes", "activation": "none", "top_k": 2, "threshold": None}


def test_the_best_classes_come_first() -> None:
    found = answer(CLASSES, [0.1, 0.6, 0.3], labels=["a", "b"])
    assert found == {
        "classes": [
            {"label": "b", "index": 1, "score": 0.6},
            {"label": "2", "index": 2, "score": 0.3},
        ]
    }
    assert len(answer(CLASSES, [0.1, 0.6, 0.3], top_k=1)["classes"]) == 1
    assert len(answer({**CLASSES, "threshold": 0.5}, [0.1, 0.6, 0.3])["classes"]) == 1
    assert answer({**CLASSES, "index": 1}, [9.0, 0], [0, 9.0])["classes"][0]["index"] == 1


def test_scores_are_made_of_logits() -> None:
    (best, _) = answer({**CLASSES, "activation": "softmax"}, [1000.0, 1001.0])["classes"]
    assert best["score"] == pytest.approx(1 / (1 + np.exp(-1)), rel=1e-5)
    (best, rest) = answer({**CLASSES, "activation": "sigmoid"}, [2.0])["classes"]
    assert (best["index"], best["score"]) == (1, pytest.approx(0.8807971, rel=1e-5))
    assert rest["score"] == pytest.approx(1 - 0.8807971, rel=1e-4)


def test_values_are_plain_numbers_and_null() -> None:
    found = answer({"kind": "values", "activation": "none"}, [[1.5, np.nan], [np.inf, 0.1]])
    assert found == {"values": [1.5, None, None, 0.1]}
    json.dumps(found, allow_nan=False)


def test_boxes_are_those_above_the_threshold_as_xyxy() -> None:
    order = ["boxes", "classes", "scores", "count"]
    how = {"kind": "boxes", "order": order, "form": "yxyx", "threshold": 0.5}
    boxes = [[1, 2, 3, 4], [5, 6, 7, 8], [0, 0, 1, 1]]
    found = answer(how, boxes, [0, 1, 0], [0.9, 0.4, 0.8], [2], labels=["cat", "dog"])
    assert found == {"boxes": [{"label": "cat", "score": 0.9, "box": [2, 1, 4, 3]}]}
    short = {"kind": "boxes", "order": ["boxes", "scores"], "form": "xyxy", "threshold": 0.5}
    assert answer(short, boxes, [0.1, 0.2, 0.9]) == {
        "boxes": [{"label": "0", "score": 0.9, "box": [0, 0, 1, 1]}]
    }


def test_text_is_decoded_greedily() -> None:
    steps = np.eye(4)[[0, 1, 1, 0, 1, 2, 3, 3, 0]]
    how = {"kind": "ctc", "blank": 0}
    assert answer(how, steps, labels=["", "a", "b", "c"]) == {"text": "aabc"}
