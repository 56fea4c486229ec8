"""The four splits of a dataset, by seed and content only."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from edgekit.core.data import SPLITS, Dataset, SplitName
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["split_indices"]

_ENOUGH = 32


def split_indices(dataset: Dataset, seed: int, *, where: str) -> dict[SplitName, NDArray[Any]]:
    """Row numbers of each split; `test` counts rows of the test pool where there is one.

    1. A source's own test pool is the test split, in its own order.
    2. Where there is none, a quarter (rounded up) of the rows is the test split.
    3. Of the rest a tenth is for calibration and a tenth for selection, but at least 32 samples
       each as long as that leaves a third of the rest for training: a handful of samples calibrates
       nothing.
    4. Class labels are spread evenly over every split. Splits never share a row, and are shuffled,
       so that the first samples of a split speak for all of it.

    Raises:
        UsageError: fewer samples than one for each split.
    """
    import numpy as np

    rng = np.random.default_rng(int(sha256(f"{seed}:{dataset.digest}".encode()).hexdigest(), 16))
    order = _by_class(dataset, rng)
    needed = 4 if dataset.test is None else 3
    if 0 < len(order) < needed or (len(order) == 0 and dataset.test is None):
        raise UsageError(
            f"{where}: has {len(order)} samples, and the splits need at least {needed}"
        )
    if dataset.test is None:
        test, order = _taken(order, -(-len(order) // 4))
        test = rng.permutation(test)
    else:
        test = np.arange(len(dataset.test))
    count = max(round(len(order) / 10), min(_ENOUGH, len(order) // 3))
    calibrate, order = _taken(order, count)
    select, train = _taken(order, count)
    drawn = (rng.permutation(part) for part in (train, calibrate, select))
    return dict(zip(SPLITS, (*drawn, test), strict=True))


def _by_class(dataset: Dataset, rng: Any) -> NDArray[Any]:
    """All rows of the pool, class by class and shuffled within each."""
    import numpy as np

    pool = dataset.train
    ties = rng.random(len(pool))
    if pool.y is None or np.dtype(pool.y.dtype).kind not in "iu" or len(pool.y.shape) != 1:
        return np.argsort(ties)
    return np.lexsort((ties, np.asarray(pool.y[:])))


def _taken(order: NDArray[Any], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Takes `count` evenly spaced rows, so that each class gives its share; and the rest."""
    import numpy as np

    chosen = np.zeros(len(order), dtype=bool)
    chosen[((np.arange(count) + 0.5) * len(order) / max(count, 1)).astype(np.int64)] = True
    return order[chosen], order[~chosen]
