"""What the outputs of a detector are: boxes, scores, classes, a count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = ["Boxes", "Layout", "parse_layout"]

_PARTS = ("boxes", "scores", "classes", "count")
_CORNERS = ("xyxy", "yxyx", "xywh", "cxcywh")
_HINT = "say what the outputs are, in their order: --task detection:boxes,scores,classes"


@dataclass(frozen=True, eq=False)
class Boxes:
    """A batch: corners x0, y0, x1, y1 (n, most, 4), scores and classes (n, most), counts (n,)."""

    corners: NDArray[Any]
    scores: NDArray[Any]
    classes: NDArray[Any]
    counts: NDArray[Any]


@dataclass(frozen=True)
class Layout:
    """What each output is, in the model's order, and how a box is written."""

    parts: tuple[str, ...] = ("boxes", "scores", "classes")
    corners: str = "xyxy"

    def read(self, arrays: tuple[Array, ...], role: str) -> Boxes:
        """Brings the outputs of one batch to one form; without classes all are of class 0.

        Raises:
            UsageError: fewer outputs than parts, or shapes that are none of boxes and scores.
        """
        import numpy as np

        if len(arrays) < len(self.parts):
            named = ", ".join(self.parts)
            raise UsageError(
                f"{role}: has {len(arrays)} outputs, and detection takes {named}", hint=_HINT
            )
        by_part = dict(zip(self.parts, arrays, strict=False))
        boxes = np.asarray(by_part["boxes"], np.float64)
        n, most = len(boxes), boxes.size // max(1, 4 * len(boxes))
        scores = np.asarray(by_part["scores"], np.float64)
        classes = np.asarray(by_part.get("classes", np.zeros((n, most))), np.float64)
        counts = np.asarray(by_part.get("count", np.full(n, most)))
        if boxes.shape[-1] != 4 or {scores.size, classes.size} != {n * most} or counts.size != n:
            shapes = ", ".join(f"{part} {array.shape}" for part, array in by_part.items())
            raise UsageError(
                f"{role}: the outputs are {shapes}, and detection takes boxes (n, most, 4) with "
                "scores and classes (n, most)",
                hint=_HINT,
            )
        return Boxes(
            _cornered(boxes.reshape(n, most, 4), self.corners),
            scores.reshape(n, most),
            classes.reshape(n, most),
            np.clip(np.nan_to_num(counts.reshape(n)), 0, most).astype(int),
        )


def parse_layout(argument: str) -> Layout:
    """Reads 'boxes,scores,classes,xyxy'.

    Raises:
        UsageError: an unknown word, boxes or scores missing, or a word twice.
    """
    words = [word.strip() for word in argument.split(",") if word.strip()]
    where = f"--task 'detection:{argument}'"
    for word in words:
        if word not in (*_PARTS, *_CORNERS):
            known = did_you_mean(word, (*_PARTS, *_CORNERS))
            raise UsageError(f"{where}: unknown word '{word}'", hint=known)
    parts = tuple(word for word in words if word in _PARTS) or Layout.parts
    corners = [word for word in words if word in _CORNERS] or [Layout.corners]
    if len(set(parts)) < len(parts) or len(corners) > 1 or not {"boxes", "scores"} <= {*parts}:
        raise UsageError(
            f"{where}: boxes and scores must be there, and nothing twice",
            hint="such as --task detection:boxes,scores,classes,xyxy",
        )
    return Layout(parts, corners[0])


def _cornered(boxes: NDArray[Any], corners: str) -> NDArray[Any]:
    """Boxes as x0, y0, x1, y1."""
    import numpy as np

    first, second = boxes[..., :2], boxes[..., 2:]
    if corners == "yxyx":
        return boxes[..., [1, 0, 3, 2]]
    if corners == "xywh":
        second = first + second
    elif corners == "cxcywh":
        first, second = first - second / 2, first + second / 2
    return np.concatenate([first, second], axis=-1)
