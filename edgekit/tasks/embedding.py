"""Embedding: a linear probe's accuracy, or the cosine where there are no labels.

Named by --task embedding; never chosen by itself, because class scores are vectors too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Signature
from edgekit.core.data import Judgement, Score
from edgekit.core.data import Task as TaskProtocol
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.statistics import (
    bootstrap_interval,
    mcnemar_p_worse,
    smallest_visible_drop,
    wilson_interval,
)
from edgekit.tasks._columns import Column
from edgekit.tasks._probe import fit_probe
from edgekit.tasks._shapes import holds_integers, without_ones
from edgekit.tasks._vectors import cosines, pooled
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = ["check", "create", "suits"]

_STRENGTH = 1.0
_MOST_BYTES = 1_000_000_000
_NO_CLASS = -1


def suits(signature: Signature, labels_dtype: str | None, labels_ndim: int) -> bool:
    """Never by itself: it is named with --task."""
    return False


def check(
    signature: Signature,
    classes: int | None,
    *,
    class_names: tuple[str, ...] = (),
    label_shape: tuple[int, ...] | None = None,
) -> None:
    """Checks that the first output is a vector or a matrix a sample, and that labels are classes.

    Raises:
        UsageError: an output with more axes or none, an integer output, or labels of another kind.
    """
    output = signature.outputs[0]
    is_whole = holds_integers(output.dtype) and output.quantization is None
    if len(without_ones(output)) not in (1, 2) or is_whole:
        raise UsageError(
            f"embedding needs a vector or a matrix a sample, and the output '{output.name}' is "
            f"{output.dtype} {output.sample_shape}",
            hint="choose another output with --output" if len(signature.outputs) > 1 else "",
        )
    if label_shape is not None and classes is None:
        raise UsageError(
            "embedding needs one class (an integer) a sample, or no labels at all",
            hint="name another task with --task",
        )


def create(*, argument: str, class_names: tuple[str, ...], seed: int) -> TaskProtocol:
    """Makes the task; `argument` is the L2 penalty of the probe on vectors of length 1 or so.

    Raises:
        UsageError: `argument` is no positive number.
    """
    try:
        strength = float(argument) if argument else _STRENGTH
    except ValueError:
        strength = math.nan
    if not 0 < strength < math.inf:
        raise UsageError(
            f"--task 'embedding:{argument}': '{argument}' is no positive number",
            hint=f"what follows 'embedding:' is the L2 penalty of the linear probe, {_STRENGTH} "
            "where it is not given",
        )
    return _Embedding(class_names, strength, seed)


class _Embedding:
    """Keeps one cosine a sample and, where there are labels, every vector in float32.

    A matrix a sample (token vectors) is averaged over its first axis for the probe; the cosine is
    that of the whole. The vectors of a model may take 1 GB: 650,000 sentences of 384 dimensions.

    The first role is the reference, for the cosine and for the probe. The samples are drawn into
    two halves by seed, class by class: the first fits the probe on the reference's vectors, the
    second judges every model with that same probe. So the result is held to what a classifier that
    was trained on the original model makes of it. A cosine counts as a share of 1, so that limits
    in points apply to it.
    """

    def __init__(self, class_names: tuple[str, ...], strength: float, seed: int) -> None:
        self._class_names = class_names
        self._strength = strength
        self._seed = seed
        self._dimensions = 0
        self._labels = Column("i")
        self._vectors: dict[str, Column] = {}
        self._cosines: dict[str, Column] = {}
        self._predicted: dict[str, NDArray[Any]] = {}

    def update(
        self,
        outputs: Mapping[str, tuple[Array, ...]],
        inputs: tuple[Array, ...],
        labels: Array | None,
    ) -> None:
        """Takes one batch."""
        import numpy as np

        self._predicted.clear()
        size = len(inputs[0])
        if labels is not None:
            self._labels.extend(_class_indices(labels))
        whole = {role: np.asarray(arrays[0], np.float32) for role, arrays in outputs.items()}
        first = next(iter(whole.values())).reshape(size, -1)
        for role, vectors in whole.items():
            found = cosines(vectors.reshape(size, -1), first, role)
            self._cosines.setdefault(role, Column("f")).extend(found)
            if labels is not None:
                self._keep(role, pooled(vectors))

    def score(self, role: str) -> Score:
        """The accuracy of the reference's probe; without labels the mean cosine to the reference.

        Raises:
            UnmeasuredError: a single model without labels, or labels that fit no probe.
        """
        if len(self._labels.values):
            return self._probe_score(role)
        if len(self._cosines) < 2:
            raise UnmeasuredError(
                "an embedding without labels can only be compared with a reference",
                hint="give labels, one class a sample, for the accuracy of a linear probe",
            )
        found = self._cosines[role].values
        return Score(
            metric="cosine to the reference",
            value=float(found.mean()),
            ci95=bootstrap_interval(found, seed=self._seed),
            n=len(found),
            details={"lowest cosine": float(found.min())},
        )

    def compare(self, reference: str, result: str) -> Judgement:
        """Both scores; with labels the agreement, the flips and McNemar's p of the probe."""
        before, after = self.score(reference), self.score(result)
        if not len(self._labels.values):
            return Judgement(before, after, None, None, None, None)
        truth = self._labels.values[self._judged]
        old, new = self._classes_of(reference), self._classes_of(result)
        was_right, is_right = old == truth, new == truth
        right_to_wrong = int((was_right & ~is_right).sum())
        wrong_to_right = int((~was_right & is_right).sum())
        return Judgement(
            reference=before,
            result=after,
            agreement=float(((old == new) & (new != _NO_CLASS)).mean()),
            right_to_wrong=right_to_wrong,
            wrong_to_right=wrong_to_right,
            smallest_visible_drop=smallest_visible_drop(
                right_to_wrong + wrong_to_right, len(truth)
            ),
            p_worse=mcnemar_p_worse(right_to_wrong, wrong_to_right),
        )

    def _keep(self, role: str, vectors: NDArray[Any]) -> None:
        dimensions = vectors.shape[1]
        if self._dimensions not in (0, dimensions):
            raise UsageError(
                f"embedding compares vectors of one length, and {role} gives {dimensions} values "
                f"where there were {self._dimensions} before"
            )
        self._dimensions = dimensions
        if len(self._labels.values) * dimensions * 4 > _MOST_BYTES:
            raise UsageError(
                f"embedding keeps every vector, at most {format_bytes(_MOST_BYTES)}: "
                f"{len(self._labels.values)} of {dimensions} values are more",
                hint="give fewer test samples",
            )
        self._vectors.setdefault(role, Column("f")).extend(vectors)

    @property
    def _judged(self) -> NDArray[Any]:
        """The judging half: of each class every second sample in an order drawn by seed."""
        import numpy as np

        labels = self._labels.values
        ties = np.random.default_rng(self._seed).random(len(labels))
        order = np.lexsort((ties, labels))
        judged = np.zeros(len(labels), bool)
        judged[order[1::2]] = True
        return judged

    def _classes_of(self, role: str) -> NDArray[Any]:
        """What the reference's probe says of each judging sample; NaN has no class."""
        import numpy as np

        if role not in self._predicted:
            judged, labels = self._judged, self._labels.values
            reference = next(iter(self._vectors))
            fitted = self._rows(reference)[~judged]
            _must_fit(fitted, labels[~judged], reference)
            probe = fit_probe(
                fitted,
                labels[~judged],
                classes=int(labels.max()) + 1,
                strength=self._strength,
            )
            for own in self._vectors:
                rows = self._rows(own)[judged]
                broken = ~np.isfinite(rows).all(axis=1)
                said = probe.scores(np.where(broken[:, None], 0, rows)).argmax(axis=1)
                self._predicted[own] = np.where(broken, _NO_CLASS, said)
        return self._predicted[role]

    def _rows(self, role: str) -> NDArray[Any]:
        return self._vectors[role].values.reshape(-1, self._dimensions)

    def _probe_score(self, role: str) -> Score:
        predicted, alike = self._classes_of(role), self._cosines[role].values
        truth = self._labels.values[self._judged]
        n, right = len(truth), int((predicted == truth).sum())
        details = {"dimensions": float(self._dimensions), "probe samples": float(len(alike) - n)}
        if role != next(iter(self._cosines)):
            details |= {
                "cosine to the reference": float(alike.mean()),
                "lowest cosine": float(alike.min()),
            }
        details["nonfinite_outputs"] = float((predicted == _NO_CLASS).sum())
        return Score(
            metric="linear probe accuracy",
            value=right / n,
            ci95=wilson_interval(right, n),
            n=n,
            details=details,
            by_class={
                self._name(c): float((predicted[truth == c] == c).mean()) for c in sorted({*truth})
            },
        )

    def _name(self, index: int) -> str:
        return self._class_names[index] if index < len(self._class_names) else str(index)


def _class_indices(labels: Array) -> NDArray[Any]:
    import numpy as np

    array = np.asarray(labels)
    if array.dtype.kind not in "iub" or array.ndim != 1:
        raise UsageError(f"embedding needs one class a sample, and labels are {array.dtype}")
    return array


def _must_fit(vectors: NDArray[Any], labels: NDArray[Any], reference: str) -> None:
    import numpy as np

    if len(np.unique(labels)) < 2:
        raise UnmeasuredError(
            f"a linear probe needs samples of two classes to fit, and half of the judged samples "
            f"({len(labels)}) have {len(np.unique(labels))}",
            hint="give more labelled test samples",
        )
    broken = int((~np.isfinite(vectors).all(axis=1)).sum())
    if broken:
        raise UnmeasuredError(
            f"{reference}: {broken} of {len(vectors)} vectors are not finite, so that no probe can "
            "be fitted"
        )
