"""Your own function, python:FILE.py:FUNC, that returns arrays or a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Signature
from edgekit.core.data import Dataset, Pool
from edgekit.core.user_function import load_function
from edgekit.datasets._digest import Digest
from edgekit.datasets._labels import read_labels
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.core.data import Rows

__all__ = ["Options", "load", "sniff"]

_HINT = "return (x, y), (x_train, y_train, x_test, y_test), or an edgekit Dataset"


@dataclass(frozen=True)
class Options:
    """A function of one's own has no options that edgekit knows."""


def sniff(path: Path) -> bool:
    """Recognises what this kind of data comes in, by its name."""
    return path.is_file() and path.suffix == ".py"


def load(argument: str, options: Options, signature: Signature | None) -> Dataset:
    """Calls FUNC() and takes (x, y), (x_train, y_train, x_test, y_test), or a Dataset.

    An x is an array or lazy rows, or for several inputs a dict by input name or a tuple; a y may be
    None. The digest is of every value returned, so lazy rows are read through once.

    Raises:
        UsageError: no such file or function, the function raised (exception and line), or it
            returned something else.
    """
    where = f"--data 'python:{argument}'"
    if not argument:
        raise UsageError(f"{where}: the file is missing", hint="write python:FILE.py:FUNC")
    returned = load_function(argument, where=where).call()
    if isinstance(returned, Dataset):
        return replace(returned, name=f"python:{argument}")
    if not isinstance(returned, tuple | list) or len(returned) not in (2, 4):
        size = f" of {len(returned)}" if isinstance(returned, tuple | list) else ""
        raise UsageError(f"{where}: returned {type(returned).__name__}{size}", hint=_HINT)
    return _dataset(list(returned), f"python:{argument}", where, signature)


def _dataset(parts: list[Any], name: str, where: str, signature: Signature | None) -> Dataset:
    import numpy as np

    names = tuple(parts[0]) if isinstance(parts[0], Mapping) else ()
    inputs = [_inputs(part, names, where) for part in parts[0::2]]
    given = [None if part is None else np.asarray(part) for part in parts[1::2]]
    labels, class_names, notes = read_labels(tuple(given), where=where, signature=signature)
    digest = Digest("python", names, class_names)
    for x, y in zip(inputs, labels, strict=True):
        for rows in (*x, *(() if y is None else (y,))):
            digest.add_rows(rows)
    pools = [Pool(x, y) for x, y in zip(inputs, labels, strict=True)]
    return Dataset(
        name=name,
        train=pools[0],
        test=pools[1] if len(pools) > 1 else None,
        digest=digest.hexdigest(),
        class_names=class_names,
        input_names=names,
        notes=notes,
    )


def _inputs(x: Any, names: tuple[str, ...], where: str) -> tuple[Rows, ...]:
    if isinstance(x, Mapping):
        if set(x) != set(names):
            raise UsageError(f"{where}: train and test have different inputs", hint=_HINT)
        return tuple(_rows(x[name], where) for name in names)
    if isinstance(x, tuple):
        return tuple(_rows(item, where) for item in x)
    return (_rows(x, where),)


def _rows(item: Any, where: str) -> Rows:
    """Arrays and lazy readers stay what they are; lists become arrays."""
    import numpy as np

    if all(hasattr(item, part) for part in ("shape", "dtype", "__len__", "__getitem__")):
        rows: Rows = item
    else:
        try:
            rows = np.asarray(item)
        except ValueError as error:
            raise UsageError(f"{where}: x is no array: {error}", hint=_HINT) from None
    try:
        kind = np.dtype(rows.dtype).kind
    except TypeError:
        kind = "O"
    if kind not in "biuf" or len(rows.shape) < 1:
        raise UsageError(
            f"{where}: x is {type(item).__name__} of {rows.dtype}, which is no array of numbers",
            hint=_HINT,
        )
    return rows
