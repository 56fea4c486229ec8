"""Regression: R2, mean absolute error and root mean squared error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Signature
from edgekit.core.data import Judgement, Score
from edgekit.core.data import Task as TaskProtocol
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.statistics import bootstrap_interval
from edgekit.tasks._columns import Column
from edgekit.tasks._shapes import holds_integers, is_autoencoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = ["check", "create", "suits"]


def suits(signature: Signature, labels_dtype: str | None, labels_ndim: int) -> bool:
    """Float labels, and not the 0/1 marks of an autoencoder's anomalies."""
    if labels_dtype is None or holds_integers(labels_dtype) or not signature.outputs:
        return False
    return labels_ndim > 1 or not is_autoencoder(signature)


def check(
    signature: Signature,
    classes: int | None,
    *,
    class_names: tuple[str, ...] = (),
    label_shape: tuple[int, ...] | None = None,
) -> None:
    """Checks that the first output has as many values a sample as the labels.

    `label_shape` is the shape of one sample's label, () for a single number; None where it is not
    known.

    Raises:
        UsageError: an output with a dynamic shape, or with another number of values.
    """
    output = signature.outputs[0]
    if None in output.sample_shape:
        raise UsageError(
            f"regression needs a fixed number of outputs, and '{output.name}' has the shape "
            f"{output.shape}"
        )
    if label_shape is None:
        return
    predicted, labelled = (
        math.prod(size or 1 for size in output.sample_shape),
        math.prod(label_shape),
    )
    if predicted != labelled:
        raise UsageError(
            f"labels have {_values(labelled)} a sample {_shape(label_shape)}, and the model's "
            f"output '{output.name}' has {_values(predicted)} {_shape(output.sample_shape)}",
            hint="give one label for each value of the output, or name another task with --task",
        )


def _values(count: int) -> str:
    return f"{count} value{'' if count == 1 else 's'}"


def _shape(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join(str(size) for size in shape)})" if shape else "(one number)"


def create(*, argument: str, class_names: tuple[str, ...], seed: int) -> TaskProtocol:
    """Makes the task.

    Raises:
        UsageError: there is an argument, and regression takes none.
    """
    if argument:
        raise UsageError(f"--task 'regression:{argument}': regression takes no argument")
    return _Regression(seed)


class _Regression:
    """Keeps the labels and, for each model, the squared and absolute error of every sample.

    With several targets R2 is 1 - (all squared errors) / (all squared deviations from each target's
    mean), the variance-weighted R2.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._targets = 0
        self._labels = Column("f")
        self._squared: dict[str, Column] = {}
        self._absolute: dict[str, Column] = {}

    def update(
        self,
        outputs: Mapping[str, tuple[Array, ...]],
        inputs: tuple[Array, ...],
        labels: Array | None,
    ) -> None:
        """Takes one batch."""
        import numpy as np

        if labels is None:
            raise UsageError("regression needs labels, and the data has none")
        truth = np.asarray(labels, dtype=np.float64).reshape(len(labels), -1)
        self._targets = truth.shape[1]
        self._labels.extend(truth.reshape(-1))
        for role, arrays in outputs.items():
            predicted = np.asarray(arrays[0], dtype=np.float64).reshape(len(truth), -1)
            if predicted.shape != truth.shape:
                raise UsageError(
                    f"labels have {_values(truth.shape[1])} a sample, and the output of {role} has "
                    f"{predicted.shape[1]}"
                )
            error = predicted - truth
            self._squared.setdefault(role, Column("d")).extend((error**2).mean(axis=1))
            self._absolute.setdefault(role, Column("f")).extend(np.abs(error).mean(axis=1))

    def score(self, role: str) -> Score:
        """R2 with its bootstrap interval; MAE and RMSE."""
        import numpy as np

        squared, absolute = self._squared[role].values, self._absolute[role].values
        _must_be_finite(squared, role)
        labels = self._labels.values.astype(np.float64).reshape(-1, self._targets)
        # Centred first: the variance of a far-off target would be lost in rounding.
        centred = labels - labels.mean(axis=0)
        if not centred.any():
            raise UnmeasuredError("labels are all the same, so there is no R2")
        rows = np.column_stack([squared, (centred**2).mean(axis=1), centred])
        return Score(
            metric="R2",
            value=float(_r2(rows.mean(axis=0)[None])[0]),
            ci95=bootstrap_interval(rows, seed=self._seed, of=_r2),
            n=len(squared),
            details={"MAE": float(absolute.mean()), "RMSE": float(np.sqrt(squared.mean()))},
        )

    def compare(self, reference: str, result: str) -> Judgement:
        """Both scores; a regression has no right and wrong, so no agreement and no flips."""
        return Judgement(self.score(reference), self.score(result), None, None, None, None)


def _r2(means: NDArray[Any]) -> NDArray[Any]:
    """From the means of (squared error, squared deviation, deviation of each target)."""
    import numpy as np

    spread = means[:, 1] - (means[:, 2:] ** 2).mean(axis=1)
    value: NDArray[Any] = 1 - means[:, 0] / np.maximum(spread, np.finfo(np.float64).tiny)
    return value


def _must_be_finite(squared: NDArray[Any], role: str) -> None:
    import numpy as np

    broken = int((~np.isfinite(squared)).sum())
    if broken:
        raise UnmeasuredError(
            f"{role}: {broken} of {len(squared)} samples have outputs that are not finite, "
            "so there is no R2"
        )
