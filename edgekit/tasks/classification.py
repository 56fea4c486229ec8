"""Classification: top-1 accuracy, top-k, precision, recall and F1 by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Signature
from edgekit.core.data import Judgement, Score
from edgekit.core.data import Task as TaskProtocol
from edgekit.errors import UsageError
from edgekit.statistics import mcnemar_p_worse, smallest_visible_drop, wilson_interval
from edgekit.tasks._columns import Column
from edgekit.tasks._shapes import class_count, holds_integers, is_autoencoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = ["check", "create", "suits"]

_TOP = 5
_NO_CLASS = -1


def suits(signature: Signature, labels_dtype: str | None, labels_ndim: int) -> bool:
    """Integer labels, one a sample, and one axis of class scores (or one probability)."""
    if not holds_integers(labels_dtype) or labels_ndim != 1 or is_autoencoder(signature):
        return False
    try:
        class_count(signature)
    except ValueError:
        return False
    return True


def check(
    signature: Signature,
    classes: int | None,
    *,
    class_names: tuple[str, ...] = (),
    label_shape: tuple[int, ...] | None = None,
) -> None:
    """Checks that the model's first output can score the classes of the data.

    Raises:
        UsageError: no integer labels, an output that is no list of class scores, or another number
            of classes; where the data names its classes, their number must be the output's.
    """
    if classes is None:
        raise UsageError(
            "classification needs one integer label a sample, and the data has none",
            hint="name another task with --task",
        )
    output = signature.outputs[0]
    try:
        scored = class_count(signature)
    except ValueError as error:
        raise UsageError(
            f"classification needs one score a class, and the output '{output.name}' is {error}",
            hint="name another task with --task",
        ) from None
    if scored is None:
        return
    if classes > scored or (class_names and len(class_names) != scored):
        found = max(classes, len(class_names))
        raise UsageError(
            f"labels have {found} class{'' if found == 1 else 'es'}, and the model's output "
            f"'{output.name}' has {scored}",
            hint="give the data the model was trained for",
        )


def create(*, argument: str, class_names: tuple[str, ...], seed: int) -> TaskProtocol:
    """Makes the task; `argument` is the threshold of a single-output model, 0.5 where not given.

    Raises:
        UsageError: `argument` is not a number.
    """
    if not argument:
        return _Classification(class_names, None)
    try:
        return _Classification(class_names, float(argument))
    except ValueError:
        raise UsageError(
            f"--task 'classification:{argument}': '{argument}' is not a number",
            hint="what follows 'classification:' is the threshold of a single-output model, "
            "0 for logits",
        ) from None


class _Classification:
    """Keeps the label of every sample and, for each model, the predicted class and a top-k hit.

    An output with a NaN predicts no class: it is counted, it is wrong, and it agrees with nothing.
    Of equal scores the first class wins, as with argmax.
    """

    def __init__(self, class_names: tuple[str, ...], threshold: float | None) -> None:
        self._class_names = class_names
        self._threshold = threshold
        self._labels = Column("i")
        self._predicted: dict[str, Column] = {}
        self._in_top: dict[str, Column] = {}
        self._classes = 2

    def update(
        self,
        outputs: Mapping[str, tuple[Array, ...]],
        inputs: tuple[Array, ...],
        labels: Array | None,
    ) -> None:
        """Takes one batch."""
        import numpy as np

        if labels is None:
            raise UsageError("classification needs labels, and the data has none")
        truth = np.asarray(labels).astype(np.int64).reshape(-1)
        self._labels.extend(truth)
        for role, arrays in outputs.items():
            scores = self._class_scores(arrays[0], len(truth), role)
            self._classes = max(self._classes, scores.shape[1])
            broken = np.isnan(scores).any(axis=1)
            predicted = np.where(broken, _NO_CLASS, scores.argmax(axis=1))
            self._predicted.setdefault(role, Column("i")).extend(predicted)
            in_top = (_ranks(scores, truth) < _TOP) & ~broken
            self._in_top.setdefault(role, Column("b")).extend(in_top)

    def score(self, role: str) -> Score:
        """Top-1 accuracy with its Wilson interval; recall by class."""
        labels, predicted = self._labels.values, self._predicted[role].values
        n, right = len(labels), int((labels == predicted).sum())
        by_class, details = self._per_class(labels, predicted)
        if self._classes > _TOP:
            details = {f"top-{_TOP}": float(self._in_top[role].values.mean()), **details}
        details["nonfinite_outputs"] = float((predicted == _NO_CLASS).sum())
        return Score(
            metric="accuracy",
            value=right / n if n else 0.0,
            ci95=wilson_interval(right, n),
            n=n,
            details=details,
            by_class=by_class,
        )

    def compare(self, reference: str, result: str) -> Judgement:
        """Agreement, flips, the smallest visible drop, and McNemar's p that the result is worse."""
        labels = self._labels.values
        before, after = self._predicted[reference].values, self._predicted[result].values
        was_right, is_right = before == labels, after == labels
        right_to_wrong = int((was_right & ~is_right).sum())
        wrong_to_right = int((~was_right & is_right).sum())
        same = (before == after) & (after != _NO_CLASS)
        n = len(labels)
        return Judgement(
            reference=self.score(reference),
            result=self.score(result),
            agreement=float(same.mean()) if n else None,
            right_to_wrong=right_to_wrong,
            wrong_to_right=wrong_to_right,
            smallest_visible_drop=smallest_visible_drop(right_to_wrong + wrong_to_right, n),
            p_worse=mcnemar_p_worse(right_to_wrong, wrong_to_right),
        )

    def _class_scores(self, output: Array, count: int, role: str) -> NDArray[Any]:
        """One column a class; a single output becomes two columns that its threshold parts."""
        import numpy as np

        scores = np.asarray(output).reshape(count, -1)
        if scores.shape[1] > 1:
            return scores
        if self._threshold is None:
            _must_be_probabilities(scores, role)
        margin = scores.astype(np.float64) - (0.5 if self._threshold is None else self._threshold)
        return np.concatenate([np.zeros_like(margin), margin], axis=1)

    def _per_class(
        self, labels: NDArray[Any], predicted: NDArray[Any]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Recall by class, and the details: macro means over the classes that occur, then each."""
        import numpy as np

        size = max(self._classes, int(labels.max(initial=0)) + 1)
        truth = np.bincount(labels, minlength=size)
        said = np.bincount(predicted[predicted != _NO_CLASS], minlength=size)
        hits = np.bincount(labels[labels == predicted], minlength=size)
        occurring = [int(index) for index in np.flatnonzero(truth)]
        recall = hits / np.maximum(truth, 1)
        precision = hits / np.maximum(said, 1)
        f1 = 2 * hits / np.maximum(truth + said, 1)
        details = {
            f"macro-{name}": float(figure[occurring].mean()) if len(occurring) else 0.0
            for name, figure in (("precision", precision), ("recall", recall), ("F1", f1))
        }
        for index in occurring:
            details[f"precision[{self._name(index)}]"] = float(precision[index])
            details[f"F1[{self._name(index)}]"] = float(f1[index])
        return {self._name(index): float(recall[index]) for index in occurring}, details

    def _name(self, index: int) -> str:
        return self._class_names[index] if index < len(self._class_names) else str(index)


def _ranks(scores: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
    """How many classes come before the true one; a class without a score comes last."""
    import numpy as np

    columns = np.minimum(truth, scores.shape[1] - 1)[:, None]
    own = np.take_along_axis(scores, columns, axis=1)
    tied_before = (scores == own) & (np.arange(scores.shape[1]) < columns)
    ranks: NDArray[Any] = ((scores > own) | tied_before).sum(axis=1)
    return np.where(truth < scores.shape[1], ranks, scores.shape[1])


def _must_be_probabilities(scores: NDArray[Any], role: str) -> None:
    import numpy as np

    known = scores[~np.isnan(scores)]
    # Quantized outputs may lie one step outside.
    wrong = known[(known < -0.01) | (known > 1.01)]
    if len(wrong):
        raise UsageError(
            f"{role}: its single output reaches {wrong[0]:.3g}, so it is no probability",
            hint="give the threshold: --task classification:0 for logits",
        )
