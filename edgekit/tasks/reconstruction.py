"""Reconstruction: anomaly AUC from the error, or R2 where there are no labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Signature
from edgekit.core.data import Judgement, Score
from edgekit.core.data import Task as TaskProtocol
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.statistics import auc_interval, bootstrap_interval
from edgekit.tasks._columns import Column
from edgekit.tasks._shapes import holds_integers, is_autoencoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = ["LEFT_OUT", "check", "create", "learns_from", "suits"]

LEFT_OUT = "they are anomalies, and a model learns to reconstruct what is normal"


def suits(signature: Signature, labels_dtype: str | None, labels_ndim: int) -> bool:
    """An output shaped like the input; no labels, or integer marks of the anomalies."""
    if not is_autoencoder(signature):
        return False
    return labels_dtype is None or (holds_integers(labels_dtype) and labels_ndim == 1)


def check(
    signature: Signature,
    classes: int | None,
    *,
    class_names: tuple[str, ...] = (),
    label_shape: tuple[int, ...] | None = None,
) -> None:
    """Checks that the output has the input's shape, and that labels mark normal and anomaly.

    Raises:
        UsageError: another shape, or labels beyond 0 and 1.
    """
    source, output = signature.inputs[0], signature.outputs[0]
    if not is_autoencoder(signature):
        raise UsageError(
            f"reconstruction needs an output of the input's shape, and '{output.name}' is "
            f"{output.sample_shape} where '{source.name}' is {source.sample_shape}",
            hint="name another task with --task",
        )
    if classes is not None and classes > 2:
        raise UsageError(
            f"labels have {classes} classes, and reconstruction knows 0 (normal) and 1 (anomaly)"
        )


def learns_from(labels: Array | None, count: int) -> NDArray[Any]:
    """Which of `count` samples a model is trained to reconstruct: the normal ones, as a mask.

    A task with this function trains a model towards its own input, not towards labels.
    """
    import numpy as np

    return np.ones(count, bool) if labels is None else np.asarray(labels).reshape(-1) == 0


def create(*, argument: str, class_names: tuple[str, ...], seed: int) -> TaskProtocol:
    """Makes the task; `argument` is the anomaly score: 'mse' (the default) or 'mae'.

    Raises:
        UsageError: another argument.
    """
    if argument not in ("", "mse", "mae"):
        raise UsageError(
            f"--task 'reconstruction:{argument}': unknown anomaly score '{argument}'",
            hint="known: mse, mae",
        )
    return _Reconstruction(argument or "mse", seed)


class _Spread:
    """Streaming mean and variance of every feature, merged batch by batch (Chan et al. 1983)."""

    def __init__(self) -> None:
        self._n = 0
        self._mean: Any = 0.0
        self._deviation: Any = 0.0

    def add(self, rows: NDArray[Any]) -> None:
        mean = rows.mean(axis=0)
        shift, n = mean - self._mean, self._n + len(rows)
        self._deviation += ((rows - mean) ** 2).sum(axis=0)
        self._deviation += shift**2 * (self._n * len(rows) / n)
        self._mean, self._n = self._mean + shift * (len(rows) / n), n

    @property
    def variance(self) -> float:
        """The mean over features of the variance over samples."""
        return float((self._deviation / self._n).mean())


class _Reconstruction:
    """Keeps the label and, for each model, the squared and absolute error of every sample."""

    def __init__(self, anomaly_score: str, seed: int) -> None:
        self._anomaly_score = anomaly_score
        self._seed = seed
        self._labels = Column("b")
        self._spread = _Spread()
        self._errors: dict[str, dict[str, Column]] = {}

    def update(
        self,
        outputs: Mapping[str, tuple[Array, ...]],
        inputs: tuple[Array, ...],
        labels: Array | None,
    ) -> None:
        """Takes one batch."""
        import numpy as np

        source = np.asarray(inputs[0], dtype=np.float64).reshape(len(inputs[0]), -1)
        self._spread.add(source)
        if labels is not None:
            self._labels.extend(_marks(labels))
        for role, arrays in outputs.items():
            error = np.asarray(arrays[0], dtype=np.float64).reshape(len(source), -1) - source
            columns = self._errors.setdefault(role, {"mse": Column("d"), "mae": Column("d")})
            columns["mse"].extend((error**2).mean(axis=1))
            columns["mae"].extend(np.abs(error).mean(axis=1))

    def score(self, role: str) -> Score:
        """AUC of the error where there are labels, else R2 of the reconstruction."""
        labels = self._labels.values.astype(bool)
        return self._auc(role, labels) if len(labels) else self._r2(role)

    def compare(self, reference: str, result: str) -> Judgement:
        """Both scores; a reconstruction has no right and wrong, so no agreement and no flips."""
        return Judgement(self.score(reference), self.score(result), None, None, None, None)

    def _auc(self, role: str, labels: NDArray[Any]) -> Score:
        import numpy as np

        if labels.all() or not labels.any():
            raise UnmeasuredError(
                f"labels of the {len(labels)} test samples are all {int(labels[0])}, "
                "so there is no AUC",
                hint="it needs normal samples (0) and anomalies (1)",
            )
        errors = self._errors[role][self._anomaly_score].values
        broken = ~np.isfinite(errors)
        # The worst for the model: a broken output hides an anomaly and accuses a normal sample.
        errors[broken] = np.where(labels[broken], -1.0, np.inf)
        auc, ci95 = auc_interval(errors, labels)
        details = self._details(role)
        for name, group in (("normal", ~labels), ("anomaly", labels)):
            finite = errors[group & ~broken]
            details[f"{self._anomaly_score}[{name}]"] = float(finite.mean()) if len(finite) else 0.0
        details["nonfinite_outputs"] = float(broken.sum())
        return Score("AUC", auc, ci95, len(labels), details=details)

    def _r2(self, role: str) -> Score:
        """1 - error / variance; the interval takes the variance of the data as given."""
        import numpy as np

        squared, variance = self._errors[role]["mse"].values, self._spread.variance
        broken = int((~np.isfinite(squared)).sum())
        if broken or variance == 0:
            why = (
                f"{broken} of {len(squared)} samples have outputs that are not finite"
                if broken
                else "all samples are the same"
            )
            raise UnmeasuredError(f"{role}: {why}, so there is no R2")
        ci95 = bootstrap_interval(
            squared, seed=self._seed, of=lambda means: 1 - means[:, 0] / variance
        )
        value = 1 - float(squared.mean()) / variance
        return Score("R2", value, ci95, len(squared), details=self._details(role))

    def _details(self, role: str) -> dict[str, float]:
        import numpy as np

        means = {}
        for name, column in self._errors[role].items():
            finite = column.values[np.isfinite(column.values)]
            means[name.upper()] = float(finite.mean()) if len(finite) else 0.0
        return means


def _marks(labels: Array) -> NDArray[Any]:
    import numpy as np

    marks = np.asarray(labels).reshape(-1)
    wrong = marks[(marks != 0) & (marks != 1)]
    if len(wrong):
        raise UsageError(
            f"labels hold {wrong[0]}, and reconstruction knows 0 (normal) and 1 (anomaly)"
        )
    return marks
