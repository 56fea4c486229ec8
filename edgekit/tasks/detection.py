"""Detection: COCO's mean average precision of boxes, and F1 at an overlap of 0.5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Signature
from edgekit.core.data import Judgement, Score
from edgekit.core.data import Task as TaskProtocol
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.tasks._average_precision import THRESHOLDS, average_precision, match
from edgekit.tasks._boxes import Boxes, Layout, parse_layout
from edgekit.tasks._columns import Column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = ["check", "create", "suits"]

_MOST = 100
"""Detections of a class in an image that count, as in COCO."""
_SURE = 0.5
_GROUPS = 20
_T95 = (
    *(12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23),
    *(2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09),
)
"""Student's t of a 95 % interval with 1 to 19 degrees of freedom."""


def suits(signature: Signature, labels_dtype: str | None, labels_ndim: int) -> bool:
    """Never by itself: it is named with --task, because outputs do not say what they are."""
    return False


def check(
    signature: Signature,
    classes: int | None,
    *,
    class_names: tuple[str, ...] = (),
    label_shape: tuple[int, ...] | None = None,
) -> None:
    """Checks that there are two outputs at least, and labels of five values a box.

    Raises:
        UsageError: a single output, no labels, or labels of another shape.
    """
    if label_shape is None or len(label_shape) != 2 or label_shape[1] != 5:
        has = "none" if label_shape is None else f"{label_shape} a sample"
        raise UsageError(
            f"detection needs labels of (boxes, 5) a sample, and there are {has}",
            hint="give class, x0, y0, x1, y1 a box, and fill up with boxes of the class -1",
        )
    if len(signature.outputs) < 2:
        raise UsageError(
            f"detection needs outputs for boxes and scores, and the model has only "
            f"'{signature.outputs[0].name}'",
            hint="write your own metric: --task python:FILE.py:FUNC",
        )


def create(*, argument: str, class_names: tuple[str, ...], seed: int) -> TaskProtocol:
    """Makes the task; `argument` says what the outputs are, in the model's order.

    Its words are `boxes`, `scores`, `classes` and `count`, and one for the numbers of a box:
    `xyxy` (the default), `yxyx`, `xywh` (corner and size) or `cxcywh` (middle and size). Without
    `classes` there is one class. `boxes,scores,classes,xyxy` where nothing is given;
    `boxes,classes,scores,count,yxyx` for a TFLite_Detection_PostProcess. Boxes are in the units of
    the labels.

    Raises:
        UsageError: an unknown word, or boxes or scores missing or twice.
    """
    return _Detection(parse_layout(argument), class_names)


class _Found:
    """One model's detections, 22 bytes each; how many were sure and of these right, for F1."""

    def __init__(self) -> None:
        self.image, self.label, self.score = Column("i"), Column("i"), Column("f")
        self.right = Column("b")
        self.sure = self.sure_right = self.broken = 0


class _Detection:
    """Matches the boxes of each batch, and keeps which detections were right at which overlap."""

    def __init__(self, layout: Layout, class_names: tuple[str, ...]) -> None:
        self._layout = layout
        self._class_names = class_names
        self._images = 0
        self._true_image, self._true_label = Column("i"), Column("i")
        self._found: dict[str, _Found] = {}

    def update(
        self,
        outputs: Mapping[str, tuple[Array, ...]],
        inputs: tuple[Array, ...],
        labels: Array | None,
    ) -> None:
        """Takes one batch."""
        import numpy as np

        if labels is None:
            raise UsageError("detection needs labels, and the data has none")
        truth = np.asarray(labels, np.float64)
        batches = {role: self._layout.read(arrays, role) for role, arrays in outputs.items()}
        for row, boxes in enumerate(truth):
            true = boxes[boxes[:, 0] >= 0]
            self._true_image.extend(np.full(len(true), self._images))
            self._true_label.extend(true[:, 0])
            for role, batch in batches.items():
                self._judge(self._found.setdefault(role, _Found()), batch, row, true)
            self._images += 1

    def score(self, role: str) -> Score:
        """mAP with a jackknife interval; F1, precision and recall of what scores 0.5 or more.

        Raises:
            UnmeasuredError: no image has a box.
        """
        if not len(self._true_label.values):
            raise UnmeasuredError("labels have no box at all, so there is no mAP")
        found = self._found[role]
        by_class = self._precisions(found, None)
        value = _mean(by_class)
        sure, right = found.sure, found.sure_right
        true = len(self._true_label.values)
        return Score(
            metric="mAP",
            value=value,
            ci95=self._interval(found, value),
            n=self._images,
            details={
                "mAP@0.5": float(sum(each[0] for each in by_class.values()) / len(by_class)),
                "F1@0.5": 2 * right / (sure + true),
                "precision@0.5": right / sure if sure else 0.0,
                "recall@0.5": right / true,
                "boxes": float(true),
                "detections": float(len(found.score.values)),
                "nonfinite_outputs": float(found.broken),
            },
            by_class={self._name(kind): float(each.mean()) for kind, each in by_class.items()},
        )

    def compare(self, reference: str, result: str) -> Judgement:
        """Both scores; a page of boxes is not right or wrong, so no agreement and no flips."""
        return Judgement(self.score(reference), self.score(result), None, None, None, None)

    def _judge(self, found: _Found, batch: Boxes, row: int, true: NDArray[Any]) -> None:
        """Matches one image. What scores 0 or less, or has a negative class, is filling."""
        import numpy as np

        own = slice(int(batch.counts[row]))
        corners, scores = batch.corners[row, own], batch.scores[row, own]
        kinds = np.rint(batch.classes[row, own])
        finite = np.isfinite(corners).all(axis=1) & np.isfinite(scores) & np.isfinite(kinds)
        found.broken += int((~finite).sum())
        usable = np.flatnonzero(finite & (np.where(finite, scores, 0) > 0) & (kinds >= 0))
        order = usable[np.argsort(-scores[usable], kind="stable")]
        for kind in np.unique(kinds[order]):
            own = order[kinds[order] == kind][:_MOST]
            right = match(corners[own], true[true[:, 0] == kind, 1:])
            found.image.extend(np.full(len(own), self._images))
            found.label.extend(kinds[own])
            found.score.extend(scores[own])
            found.right.extend(right.reshape(-1))
            found.sure += int((scores[own] >= _SURE).sum())
            found.sure_right += int(right[scores[own] >= _SURE, 0].sum())

    def _precisions(self, found: _Found, kept: NDArray[Any] | None) -> dict[int, NDArray[Any]]:
        """The average precision at each overlap for each class that has boxes in `kept` images."""
        import numpy as np

        right = found.right.values.reshape(-1, len(THRESHOLDS)).astype(bool)
        labels, scores, images = found.label.values, found.score.values, found.image.values
        true = self._true_label.values
        if kept is not None:
            inside = kept[images]
            right, labels, scores = right[inside], labels[inside], scores[inside]
            true = true[kept[self._true_image.values]]
        kinds, counts = np.unique(true, return_counts=True)
        return {
            int(kind): average_precision(scores[labels == kind], right[labels == kind], int(count))
            for kind, count in zip(kinds, counts, strict=True)
        }

    def _interval(self, found: _Found, value: float) -> tuple[float, float]:
        """The 95 % interval of a jackknife that leaves out one of up to 20 groups of images.

        (Shao and Wu 1989, "A general theory for jackknife variance estimation".)
        """
        import numpy as np

        groups = min(_GROUPS, self._images)
        if groups < 2:
            return 0.0, 1.0
        group = np.arange(self._images) % groups
        without = np.array([_mean(self._precisions(found, group != g)) for g in range(groups)])
        error = np.sqrt((groups - 1) / groups * ((without - without.mean()) ** 2).sum())
        # Where no group matters, 3/n: the rule of three for what was never seen.
        half = float(_T95[groups - 2] * error) or min(1.0, 3 / self._images)
        return max(0.0, value - half), min(1.0, value + half)

    def _name(self, index: int) -> str:
        return self._class_names[index] if index < len(self._class_names) else str(index)


def _mean(by_class: dict[int, NDArray[Any]]) -> float:
    return float(sum(each.mean() for each in by_class.values()) / max(1, len(by_class)))
