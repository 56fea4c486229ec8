"""A .csv file with a header row; one column is the label."""

from __future__ import annotations

import csv
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from edgekit.core.artifact import Signature
from edgekit.core.data import Dataset, Pool
from edgekit.core.notes import Note
from edgekit.datasets._digest import Digest
from edgekit.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Options", "load", "sniff"]

_MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none", "-"})
_MAX_CLASSES = 100
_MAX_COLUMNS = 100_000
_TEST_EVERY = 4
_LARGEST = 3.4028234e38
"""Of a float32, which models take; beyond it the mean and deviation would overflow too."""


@dataclass(frozen=True)
class Options:
    """How the columns are read.

    `label` names the label column, the last one where it is not given; `unlabelled` says that there
    is none. `ignore` names columns to leave out (row numbers, names). `task` decides between class
    labels and float targets; `auto` takes text, and whole numbers with at most 100 different
    values, as classes. `normalise` brings every column to mean 0 and standard deviation 1.
    """

    label: str = ""
    unlabelled: bool = False
    ignore: tuple[str, ...] = ()
    task: Literal["auto", "classification", "regression"] = "auto"
    normalise: bool = True
    delimiter: str = ","

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise ValueError(f"delimiter must be one character, not {self.delimiter!r}")
        if self.label and self.unlabelled:
            raise ValueError("label and unlabelled exclude each other")


@dataclass(frozen=True)
class _Columns:
    """Which columns are read: positions and names of the inputs, position of the label."""

    header: list[str]
    inputs: list[int]
    label: int | None


@dataclass
class _Table:
    values: array[float] = field(default_factory=lambda: array("d"))
    labels: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    missing: int = 0


def sniff(path: Path) -> bool:
    """Recognises what this kind of data comes in, by its name."""
    return path.is_file() and path.suffix in (".csv", ".tsv")


def load(argument: str, options: Options, signature: Signature | None) -> Dataset:
    """Reads a .csv file as float32 columns.

    Rows are counted as a spreadsheet does: the header is row 1. Rows with a missing value (empty,
    NA, NaN, null, ?, -) are dropped and counted. Every fourth row, evenly over the labels and
    otherwise at random, is the test pool; it depends on the content and on no seed, because the
    mean and standard deviation of each column are taken from the other rows and must not know the
    test's.

    Raises:
        UsageError: no such file, no header, no such column, rows of different lengths, text in a
            number column (row and column), or nothing left.
    """
    where = f"--data 'csv:{argument}'"
    path = _file(argument, where)
    table, columns = _read(path, options, where)
    content = Digest("csv")
    content.add_file(path)
    x, y, names, notes = _arrays(table, columns, options, where)
    train, test = _parted(y, len(x), int(content.hexdigest()[:16], 16))
    inputs = [columns.header[i] for i in columns.inputs]
    figures: dict[str, list[float]] = {}
    if options.normalise:
        x, note, figures = _normalised(x, train, inputs)
        notes.append(note)
    x = x.astype("float32")
    return Dataset(
        name=f"csv:{argument}",
        train=Pool((x[train],), None if y is None else y[train]),
        test=Pool((x[test],), None if y is None else y[test]),
        digest=Digest(options, content.hexdigest()).hexdigest(),
        class_names=names,
        notes=tuple(notes),
        front_end={"kind": "table", "columns": inputs, **figures},
    )


def _file(argument: str, where: str) -> Path:
    if not argument:
        raise UsageError(f"{where}: the file is missing", hint="write csv:FILE")
    path = Path(argument)
    if not path.is_file():
        raise UsageError(f"{where}: {'is a folder' if path.is_dir() else 'no such file'}")
    return path


def _read(path: Path, options: Options, where: str) -> tuple[_Table, _Columns]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_rows(file, options, where)
    except UnicodeDecodeError:
        raise UsageError(f"{where}: not a text file in UTF-8") from None
    except csv.Error as error:
        raise UsageError(f"{where}: not a CSV file: {error}") from None


def _read_rows(file: IO[str], options: Options, where: str) -> tuple[_Table, _Columns]:
    rows = csv.reader(file, delimiter=options.delimiter, strict=True)
    columns = _columns([name.strip() for name in next(rows, [])], options, where)
    table = _Table()
    for number, row in enumerate(rows, 2):
        if row:
            _add(table, columns, row, number, where)
    if not table.rows:
        dropped = f" ({table.missing} had a missing value)" if table.missing else ""
        raise UsageError(f"{where}: no row is left{dropped}")
    return table, columns


def _columns(header: list[str], options: Options, where: str) -> _Columns:
    if not header or all(_number(name) is not None for name in header):
        raise UsageError(f"{where}: row 1 is no header: {', '.join(header[:5]) or 'empty'}")
    if len(header) > _MAX_COLUMNS or len(set(header)) < len(header):
        twice = next((n for n in header if header.count(n) > 1), f"over {_MAX_COLUMNS}")
        raise UsageError(f"{where}: row 1 has the column '{twice}' more than once")
    for name in (*options.ignore, *((options.label,) if options.label else ())):
        if name not in header:
            raise UsageError(f"{where}: has no column '{name}'", hint=did_you_mean(name, header))
    kept = [i for i, name in enumerate(header) if name not in options.ignore]
    label = None
    if not options.unlabelled and kept:
        label = header.index(options.label) if options.label else kept[-1]
    inputs = [i for i in kept if i != label]
    if not inputs:
        hint = "--data-options delimiter=';'" if ";" in header[0] else ""
        raise UsageError(f"{where}: has no column besides the label: {header[0]}", hint=hint)
    return _Columns(header, inputs, label)


def _add(table: _Table, columns: _Columns, row: list[str], number: int, where: str) -> None:
    if len(row) != len(columns.header):
        raise UsageError(
            f"{where}: row {number} has {_count(len(row), 'value')}, and the header has "
            f"{len(columns.header)}"
        )
    used = columns.inputs if columns.label is None else [*columns.inputs, columns.label]
    if any(row[i].strip().lower() in _MISSING for i in used):
        table.missing += 1
        return
    for i in columns.inputs:
        value = _number(row[i])
        if value is None:
            raise UsageError(
                f"{where}: row {number}, column '{columns.header[i]}': '{row[i]}' is no number",
                hint='leave text columns out with --data-options ignore=["NAME"]',
            )
        if not abs(value) <= _LARGEST:
            raise _not_finite(columns.header[i], row[i], number, where)
        table.values.append(value)
    if columns.label is not None:
        table.labels.append(row[columns.label].strip())
    table.rows.append(number)


def _not_finite(column: str, text: str, number: int, where: str) -> UsageError:
    return UsageError(
        f"{where}: row {number}, column '{column}': '{text.strip()}' is no finite number of 32 "
        "bits",
        hint="correct the value, or leave it empty: rows with a missing value are dropped",
    )


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{'' if number == 1 else plural}"


def _number(text: str) -> float | None:
    # float() also takes digit groups and other alphabets' digits, which are no numbers in a CSV.
    if "_" in text or not text.isascii():
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _arrays(
    table: _Table, columns: _Columns, options: Options, where: str
) -> tuple[NDArray[Any], NDArray[Any] | None, tuple[str, ...], list[Note]]:
    import numpy as np

    x = np.array(table.values, dtype=np.float64).reshape(len(table.rows), -1)
    notes = []
    if table.missing:
        notes.append(Note("dropped", _count(table.missing, "row"), "a value is missing"))
    if columns.label is None:
        return x, None, (), notes
    numbers = [_number(text) for text in table.labels]
    if _are_classes(table.labels, numbers, options):
        y, names = _classes(table.labels, numbers)
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        column = f"column '{columns.header[columns.label]}'"
        notes.append(Note("converted", column, f"{_count(len(names), 'class', 'es')}: {shown}"))
        return x, y, names, notes
    for number, text, value in zip(table.rows, table.labels, numbers, strict=True):
        if value is None:
            raise UsageError(
                f"{where}: row {number}, column '{columns.header[columns.label]}': "
                f"'{text}' is no number",
                hint="--data-options task=classification takes text as classes",
            )
        if not abs(value) <= _LARGEST:
            raise _not_finite(columns.header[columns.label], text, number, where)
    return x, np.array(numbers, dtype=np.float32), (), notes


def _are_classes(labels: list[str], numbers: list[float | None], options: Options) -> bool:
    if options.task != "auto":
        return options.task == "classification"
    distinct = len(set(labels))
    if all(number is None for number in numbers):
        return distinct <= max(_MAX_CLASSES, len(labels) // 2)
    whole = all(number is not None and number.is_integer() for number in numbers)
    return whole and distinct <= min(_MAX_CLASSES, max(2, len(labels) // 2))


def _classes(
    labels: list[str], numbers: list[float | None]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Class indices in the order of the numbers, or of the alphabet; '1' and '1.0' are one."""
    import numpy as np

    keys: list[Any] = list(labels) if None in numbers else list(numbers)
    ordered = sorted(set(keys))
    index = {key: i for i, key in enumerate(ordered)}
    names = tuple(key if isinstance(key, str) else f"{key:g}" for key in ordered)
    return np.array([index[key] for key in keys], dtype=np.int64), names


def _parted(y: NDArray[Any] | None, n: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Train and test rows: every fourth one of the rows in label order, shuffled within a label."""
    import numpy as np

    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(n), np.zeros(n) if y is None else y))
    is_test = np.arange(n) % _TEST_EVERY == 0
    return np.sort(order[~is_test]), np.sort(order[is_test])


def _normalised(
    x: NDArray[Any], train: NDArray[Any], names: list[str]
) -> tuple[NDArray[Any], Note, dict[str, list[float]]]:
    """(x - mean) / std with the figures of the training rows, which the note carries."""
    import numpy as np

    mean, std = x[train].mean(axis=0), x[train].std(axis=0)
    std = np.where(std > 0, std, 1.0)
    figures = "; ".join(
        f"{name} ({m:.9g}, {s:.9g})" for name, m, s in zip(names, mean, std, strict=True)
    )
    reason = f"(x - mean) / std of the training rows; column (mean, std): {figures}"
    note = Note("normalised", _count(len(names), "column"), reason)
    return (x - mean) / std, note, {"mean": mean.tolist(), "std": std.tolist()}
