"""What every dataset must hold to: equal lengths, one shape, finite values, classes from 0."""

from __future__ import annotations

from typing import Any

from edgekit.core.data import Dataset, Pool
from edgekit.engine.data_inputs import chunks
from edgekit.errors import UsageError

__all__ = ["check_values"]


def check_values(dataset: Dataset, where: str) -> int | None:
    """Checks lengths, shapes and every value; returns the largest class label + 1.

    Raises:
        UsageError: pools that do not fit together, NaN or infinity (counted), a negative class.
    """
    import numpy as np

    classes = None
    for pool in (dataset.train, *((dataset.test,) if dataset.test else ())):
        _check_pool(pool, dataset, where)
        for rows in pool.x:
            _check_finite(rows, where, "inputs")
        if pool.y is None:
            continue
        _check_finite(pool.y, where, "labels")
        if np.dtype(pool.y.dtype).kind in "iu" and len(pool.y.shape) == 1 and len(pool.y):
            labels = np.asarray(pool.y[:])
            if labels.min() < 0:
                raise UsageError(f"{where}: labels reach {labels.min()}, and classes start at 0")
            classes = max(classes or 0, int(labels.max()) + 1)
    return classes


def _check_pool(pool: Pool, dataset: Dataset, where: str) -> None:
    import numpy as np

    if len(pool.x) != len(dataset.train.x):
        raise UsageError(
            f"{where}: test has {len(pool.x)} inputs, and training has {len(dataset.train.x)}"
        )
    for rows in pool.x:
        if np.dtype(rows.dtype).kind not in "biuf":
            raise UsageError(f"{where}: inputs have the dtype {rows.dtype}, which is no number")
    lengths = {len(rows) for rows in (*pool.x, *(() if pool.y is None else (pool.y,)))}
    if len(lengths) > 1 or not pool.x:
        found = ", ".join(str(len(rows)) for rows in pool.x)
        labels = "no" if pool.y is None else len(pool.y)
        raise UsageError(
            f"{where}: inputs have {found or 'no'} samples, and there are {labels} labels"
        )
    if pool is dataset.test and len(pool) == 0:
        raise UsageError(f"{where}: has no test samples")
    for rows, train in zip(pool.x, dataset.train.x, strict=True):
        if tuple(rows.shape[1:]) != tuple(train.shape[1:]):
            raise UsageError(
                f"{where}: test samples have the shape {tuple(rows.shape[1:])}, "
                f"and training samples {tuple(train.shape[1:])}"
            )


def _check_finite(rows: Any, where: str, what: str) -> None:
    import numpy as np

    if np.dtype(rows.dtype).kind != "f":
        return
    nan = infinite = 0
    for chunk in chunks(rows):
        # One pass finds whether anything is wrong; only then is it counted.
        with np.errstate(all="ignore"):
            total = np.add.reduce(chunk, axis=None, dtype=np.float64)
        if not np.isfinite(total):
            nan += int(np.isnan(chunk).sum())
            infinite += int(np.isinf(chunk).sum())
    if nan or infinite:
        raise UsageError(
            f"{where}: {what} have {nan} NaN and {infinite} infinite values",
            hint="drop or replace them first",
        )
