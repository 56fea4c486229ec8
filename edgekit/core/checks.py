"""The rows of the gate: `[[check]]` of the project's file, read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.core.gate import CheckRow, MaxRegression
from edgekit.core.limits import Limits, SourcedLimits
from edgekit.core.project import PROJECT_FILE
from edgekit.core.schema import build, option_fields, read_toml
from edgekit.errors import UsageError, did_you_mean
from edgekit.text import clean

__all__ = ["load_checks", "select"]

_TABLES = ("check", "devices")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class _Row:
    """What a row says beside its limits."""

    name: str
    model: str
    target: str
    recipe: str = ""
    reference: str = ""
    data: str = ""
    data_options: str = ""
    task: str = ""
    output: str = ""
    inputs: tuple[str, ...] = ()
    seed: int = 0
    threads: int | None = None
    on: str = ""
    required: bool = True
    max_regression: MaxRegression = field(default_factory=MaxRegression)

    def __post_init__(self) -> None:
        if self.recipe and self.reference:
            raise ValueError(
                "recipe and reference exclude each other: with a recipe the reference is the "
                "model before it"
            )
        for name in ("data_options", "task", "output"):
            if getattr(self, name) and not self.data:
                raise ValueError(f"{name} says something of data, and there is no data")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be from 0 to {2**32 - 1}, not {self.seed}")
        if self.threads is not None and not 1 <= self.threads <= 64:
            raise ValueError(f"threads must be from 1 to 64, not {self.threads}")


def load_checks(folder: Path = Path()) -> tuple[CheckRow, ...]:
    """All rows, in their order.

    Raises:
        UsageError: no such file, no row, a table, key, unit or value that does not exist, or a name
            twice.
    """
    path = folder / PROJECT_FILE
    if not path.exists():
        raise UsageError(
            f"{path}: no such file",
            hint="write [[check]] with name, model, target and limits: docs/check.md",
        )
    file = read_toml(path)
    # A misspelt [[chekc]] would be a gate that is always open.
    for key in file:
        if key not in _TABLES:
            raise UsageError(
                f"{path}: unknown table '{clean(key)}'", hint=did_you_mean(key, _TABLES)
            )
    tables = file.get("check", [])
    if not isinstance(tables, list) or not tables:
        raise UsageError(f"{path}: has no [[check]]", hint="each row begins with [[check]]")
    rows = tuple(_row(table, path, number) for number, table in enumerate(tables, 1))
    _check_names(rows)
    return rows


def select(rows: tuple[CheckRow, ...], names: tuple[str, ...]) -> tuple[CheckRow, ...]:
    """The rows of these names, in the order of the file; all of them where none is named.

    Raises:
        UsageError: no row has that name.
    """
    known = [row.name for row in rows]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UsageError(f"NAME '{clean(name)}': no [[check]] has that name", hint=hint)
    return tuple(row for row in rows if not names or row.name in names)


def _row(table: Any, path: Path, number: int) -> CheckRow:
    where = f"{path}: check {number}"
    if not isinstance(table, Mapping):
        raise UsageError(f"{where}: must be a table, written [[check]]")
    name = table.get("name")
    if isinstance(name, str):
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{where}: '{clean(name)}' cannot be the name of a row, which is that of its "
                "baseline's file too",
                hint="write it with letters, digits, '_', '-' and '.', a letter or a digit first",
            )
        where = f"{path}: check '{name}'"
    limits, own = option_fields(Limits), option_fields(_Row)
    for key in table:
        if key.replace("-", "_") not in (*limits, *own):
            hint = did_you_mean(key, (*limits, *own))
            raise UsageError(f"{where}: unknown key '{clean(key)}'", hint=hint)
    of_limits = {key: value for key, value in table.items() if key.replace("-", "_") in limits}
    of_row = {key: value for key, value in table.items() if key not in of_limits}
    row = build(_Row, of_row, where=where)
    held = SourcedLimits(build(Limits, of_limits, where=where), where)
    return CheckRow(
        **{item: getattr(row, item) for item in option_fields(_Row)}, limits=held, where=where
    )


def _check_names(rows: tuple[CheckRow, ...]) -> None:
    """Names are file names too, and some disks do not tell capitals from small letters."""
    seen: dict[str, str] = {}
    for row in rows:
        other = seen.setdefault(row.name.lower(), row.name)
        if other is not row.name:
            raise UsageError(
                f"{row.where}: another row has the name '{other}'", hint="give each its own name"
            )
