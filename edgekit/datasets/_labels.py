"""Labels as the engine takes them: class indices from 0, or float targets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Signature
from edgekit.core.notes import Note
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Labels", "read_labels"]

_MAX_WHOLE = 1000

Labels = tuple["NDArray[Any] | None", ...]


def read_labels(
    labels: Labels, *, where: str, signature: Signature | None = None
) -> tuple[Labels, tuple[str, ...], tuple[Note, ...]]:
    """Brings the labels of all pools to one form; returns them, class names if any, and notes.

    1. Integers (and booleans), one a sample, are class indices 0..k-1.
    2. One-hot rows become class indices, which is noted.
    3. Text becomes class indices in alphabetical order, with the texts as class names, noted.
    4. Floats that are class indices all the same (whole, one a sample, 2 to 1000 different ones)
       become integers, which is noted; with a model (`signature`) whose first output is a single
       value only 0 and 1 do, because one value scores no more classes than two.
    5. Other floats stay: they are targets of a regression.

    Raises:
        UsageError: integers that are no class indices (the found ones are listed), or another kind.
    """
    import numpy as np

    given = [np.asarray(item) for item in labels if item is not None]
    if not given:
        return labels, (), ()
    if all(item.dtype.kind in "US" and item.ndim == 1 for item in given):
        return _from_text(labels, given)
    for item in given:
        if item.dtype.kind not in "biuf":
            raise UsageError(f"{where}: labels have the dtype {item.dtype}, which is no number")
    if all(_is_one_hot(item) for item in given):
        note = Note("converted", "labels", f"one-hot rows of {given[0].shape[1]} to class indices")
        return _each(labels, lambda item: item.argmax(axis=1)), (), (note,)
    if _are_whole_classes(given, signature):
        note = Note("converted", "labels", "whole numbers stored as floats to class indices")
        return _each(labels, lambda item: item.reshape(-1).astype(np.int64)), (), (note,)
    squeezed = _each(labels, _without_column)
    _check_indices([item for item in squeezed if item is not None], where)
    return squeezed, (), ()


def _each(labels: Labels, change: Any) -> Labels:
    import numpy as np

    return tuple(None if item is None else change(np.asarray(item)) for item in labels)


def _without_column(item: NDArray[Any]) -> NDArray[Any]:
    """(n, 1) integers are (n,), as CIFAR-10's are."""
    if item.dtype.kind == "b":
        item = item.astype("uint8")
    if item.dtype.kind != "f" and item.ndim == 2 and item.shape[1] == 1:
        return item[:, 0]
    return item


def _is_one_hot(item: NDArray[Any]) -> bool:
    import numpy as np

    if item.ndim != 2 or item.shape[1] < 2 or not len(item):
        return False
    return bool(np.isin(item, (0, 1)).all() and (item.sum(axis=1) == 1).all())


def _from_text(
    labels: Labels, given: list[NDArray[Any]]
) -> tuple[Labels, tuple[str, ...], tuple[Note, ...]]:
    import numpy as np

    names = np.unique(np.concatenate([item.astype(str) for item in given]))
    note = Note("converted", "labels", f"text to class indices 0..{len(names) - 1}, alphabetically")
    indices = _each(labels, lambda item: np.searchsorted(names, item.astype(str)))
    return indices, tuple(str(name) for name in names), (note,)


def _are_whole_classes(given: list[NDArray[Any]], signature: Signature | None) -> bool:
    import numpy as np

    if any(item.dtype.kind != "f" or (item.size,) != item.shape[:1] for item in given):
        return False
    found = np.unique(np.concatenate([item.reshape(-1) for item in given]))
    if not 2 <= len(found) <= _MAX_WHOLE or not (found == np.floor(found)).all():
        return False
    if not np.isfinite(found).all() or not _are_indices(found):
        return False
    if signature is None or float(found[-1]) == 1:
        return True
    sizes = [size or 1 for size in signature.outputs[0].sample_shape]
    return math.prod(sizes) > 1


def _check_indices(given: list[NDArray[Any]], where: str) -> None:
    import numpy as np

    if any(item.dtype.kind == "f" or item.ndim != 1 or not len(item) for item in given):
        return
    found = np.unique(np.concatenate([np.unique(item).astype(np.int64) for item in given]))
    if _are_indices(found):
        return
    listed = ", ".join(str(value) for value in found[:8]) + (", ..." if len(found) > 8 else "")
    hint = (
        "subtract 1: class indices start at 0"
        if _counts_from_one(found)
        else "class indices are 0..k-1; store the targets of a regression as floats"
    )
    raise UsageError(f"{where}: integer labels are {listed}, which are no class indices", hint=hint)


def _are_indices(found: NDArray[Any]) -> bool:
    """Class indices start at 0 and use at least half of the indices up to the largest.

    Gaps are fine: a small test set may lack a class. 10, 20, 30 are no indices.
    """
    first, last = int(found[0]), int(found[-1])
    return first >= 0 and len(found) >= (last + 1) / 2 and not _counts_from_one(found)


def _counts_from_one(found: NDArray[Any]) -> bool:
    return len(found) > 1 and int(found[0]) == 1 and int(found[-1]) == len(found)
