"""The train and select splits as a training reads them: model-ready, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import InputScaling, Signature, TensorSpec
from edgekit.core.data import Rows, SplitName, TrainingData
from edgekit.engine.data_inputs import prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.data import Array
    from edgekit.engine.data import LoadedData

__all__ = ["training_data"]


def training_data(
    data: LoadedData, signature: Signature | None, scaling: InputScaling
) -> TrainingData:
    """What a training gets; without a signature (a model yet to be made) samples keep their shape.

    Raises:
        UsageError: the model has other inputs than the data.
    """
    return TrainingData(
        *_split(data, "train", signature, scaling),
        *_split(data, "select", signature, scaling),
        classes=data.classes,
    )


def _split(
    data: LoadedData, split: SplitName, signature: Signature | None, scaling: InputScaling
) -> tuple[tuple[Rows, ...], Rows | None]:
    indices, pool = data.indices(split), data.dataset.train
    inputs = tuple(
        _ScaledRows(rows, indices, spec, scaling) for rows, spec in data.inputs(pool, signature)
    )
    return inputs, None if pool.y is None else pool.y[indices]


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
