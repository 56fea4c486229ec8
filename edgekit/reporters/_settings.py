"""A step's parameters as a person reads them: short where there are many."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import PurePath
from typing import Any, Final

from edgekit.core.training import TrainingOptions
from edgekit.reporters._wording import file_name
from edgekit.text import clean

__all__ = ["Settings", "setting", "settings", "without_folders"]

_USUAL: Final[Mapping[str, Any]] = {
    item.name: getattr(TrainingOptions(), item.name) for item in fields(TrainingOptions)
}
_MOST: Final = 300
_FILE: Final = re.compile(r"(?:[A-Za-z]{2,}:)?(?:/|[A-Za-z]:\\).*\.[A-Za-z][A-Za-z0-9]*")
"""The whole path of a file; a layer's name like '/conv1/Conv' ends in another way."""


@dataclass(frozen=True)
class Settings:
    """All parameters of a step by name, and one line of those that say something."""

    every: tuple[tuple[str, str], ...]
    line: str
    left_out: int

    @property
    def is_cut(self) -> bool:
        """Whether the line does not have everything."""
        return self.left_out > 0 or "…" in self.line


def settings(parameters: Mapping[str, Any]) -> Settings:
    """The parameters in words.

    A step that trains has some twenty: the line leaves out what is empty, and what is as
    `TrainingOptions` has it.
    """
    trains = _USUAL.keys() <= parameters.keys()
    said = {
        name: value for name, value in parameters.items() if not (trains and _is_usual(name, value))
    }
    line = clean(", ".join(f"{clean(name)}={setting(said[name])}" for name in said), most=_MOST)
    return Settings(tuple(_spread(parameters)), line or "none", len(parameters) - len(said))


def _is_usual(name: str, value: Any) -> bool:
    if value is None or (isinstance(value, str | list | tuple | Mapping) and not value):
        return True
    return name in _USUAL and _tuples(value) == _USUAL[name]


def _tuples(value: Any) -> Any:
    """Lists as tuples: a record that was kept as JSON has no tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _spread(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Every value by its name; one inside a table as 'outer.inner'."""
    for key, value in values.items():
        name = f"{above}{clean(key)}"
        if isinstance(value, Mapping) and value:
            yield from _spread(value, f"{name}.")
        else:
            yield name, setting(value)


def setting(value: Any) -> str:
    """Writes a value as TOML would, without the quotes, on one line and not too long."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | PurePath):
        return clean(without_folders(value)) or "''"
    if is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in fields(value)}
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{clean(key)}={setting(item)}' for key, item in value.items())}}}"
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if isinstance(value, list | tuple):
        return f"[{', '.join(setting(item) for item in value)}]"
    return clean(value)


def without_folders(value: Any) -> Any:
    """The value with every whole path of a file in it cut to the file's name."""
    if isinstance(value, Mapping):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    if isinstance(value, PurePath):
        return file_name(str(value))
    if isinstance(value, str) and _FILE.fullmatch(value):
        return file_name(value)
    return value
