"""The train and select splits as a training reads them: model-ready, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.core import catalog
from edgekit.core.artifact import InputScaling, Signature, TensorSpec
from edgekit.core.data import Rows, SplitName, TrainingData
from edgekit.engine.data_inputs import prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.data import Array
    from edgekit.engine.data import LoadedData

__all__ = ["left_out", "training_data"]


def training_data(
    data: LoadedData, signature: Signature | None, scaling: InputScaling
) -> TrainingData:
    """What a training gets; without a signature (a model yet to be made) samples keep their shape.

    For a task that trains a model towards its own input there are no labels, and of the samples
    only those that it learns from.

    Raises:
        UsageError: the model has other inputs than the data.
    """
    learns_from = getattr(_task(data), "learns_from", None)
    return TrainingData(
        *_split(data, "train", signature, scaling, learns_from),
        *_split(data, "select", signature, scaling, learns_from),
        classes=data.classes if learns_from is None else None,
    )


def left_out(data: LoadedData, made: TrainingData) -> tuple[int, str]:
    """How many samples of the train split are not trained on, and why."""
    count = data.split_sizes["train"] - len(made.x_train[0])
    return count, getattr(_task(data), "LEFT_OUT", "") if count else ""


def _task(data: LoadedData) -> Any:
    return catalog.load("tasks", data.task_name) if data.can_judge else None


def _split(
    data: LoadedData,
    split: SplitName,
    signature: Signature | None,
    scaling: InputScaling,
    learns_from: Any,
) -> tuple[tuple[Rows, ...], Rows | None]:
    indices, pool = data.indices(split), data.dataset.train
    labels = None if pool.y is None else pool.y[indices]
    if learns_from is not None:
        indices, labels = indices[learns_from(labels, len(indices))], None
    inputs = tuple(
        _ScaledRows(rows, indices, spec, scaling) for rows, spec in data.inputs(pool, signature)
    )
    return inputs, labels


class _ScaledRows:
    """The samples of one input and split, scaled when they are read."""

    def __init__(
        self, rows: Rows, indices: NDArray[Any], spec: TensorSpec | None, scaling: InputScaling
    ) -> None:
        self._rows, self._indices, self._spec, self._scaling = rows, indices, spec, scaling

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of samples of the split, then the shape of one."""
        if not len(self._indices):
            return (0, *self._rows.shape[1:])
        return (len(self._indices), *self[:1].shape[1:])

    @property
    def dtype(self) -> Any:
        """What scaled samples are."""
        return "float32"

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any, /) -> Array:
        return prepare(self._rows[self._indices[index]], self._spec, self._scaling)
