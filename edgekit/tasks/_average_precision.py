"""Matching boxes and average precision as COCO evaluates them, in numpy.

cocodataset.org/#detection-eval and its reference implementation: detections of a class are taken by
falling score, each matches the free true box that it overlaps most; precision is made monotonic and
read at 101 recalls (Lin et al. 2014, "Microsoft COCO: Common Objects in Context").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["THRESHOLDS", "average_precision", "iou", "match"]

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""The overlaps of mAP; the first one, 0.5, is that of F1 and of mAP@0.5."""


def iou(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
    """Intersection over union of each pair of boxes x0, y0, x1, y1: (len(ours), len(theirs))."""
    import numpy as np

    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    own = np.clip(ours[:, 2:] - ours[:, :2], 0, None).prod(axis=1)
    other = np.clip(theirs[:, 2:] - theirs[:, :2], 0, None).prod(axis=1)
    union = own[:, None] + other[None, :] - common
    found: NDArray[Any] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return found


def match(boxes: NDArray[Any], true: NDArray[Any]) -> NDArray[Any]:
    """Which detections are right at each threshold: (detections, 10) of one image and one class.

    `boxes` come by falling score. Of equal overlaps the last true box is taken, as in COCO.
    """
    import numpy as np

    overlaps = iou(boxes, true)
    right = np.zeros((len(boxes), len(THRESHOLDS)), bool)
    for column, threshold in enumerate(THRESHOLDS):
        free = np.ones(len(true), bool)
        for row in range(len(boxes) if len(true) else 0):
            open_overlaps = np.where(free, overlaps[row], -1.0)
            best = len(true) - 1 - int(open_overlaps[::-1].argmax())
            if open_overlaps[best] >= threshold:
                free[best] = False
                right[row, column] = True
    return right


def average_precision(scores: NDArray[Any], right: NDArray[Any], true: int) -> NDArray[Any]:
    """The mean of the monotonic precision at the recalls 0, 0.01, ... 1, for each threshold.

    `scores` (n,) and `right` (n, thresholds) are all detections of one class; `true` counts its
    boxes, at least 1.
    """
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    hits = right[order].cumsum(axis=0)
    recall = hits / true
    precision = hits / np.arange(1, len(order) + 1)[:, None]
    # From the right: the best precision at this recall or a higher one.
    precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    wanted = np.linspace(0.0, 1.0, 101)
    found = np.zeros(right.shape[1])
    for column in range(right.shape[1]):
        at = np.searchsorted(recall[:, column], wanted, side="left")
        reached = at[at < len(order)]
        found[column] = precision[reached, column].sum() / len(wanted)
    return found
