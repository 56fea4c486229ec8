"""Strict construction of frozen dataclasses from TOML tables and option strings."""

from __future__ import annotations

import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast

from edgekit.errors import UsageError, did_you_mean
from edgekit.units import Unit

__all__ = ["build", "option_fields", "parse_options", "read_toml"]

T = TypeVar("T")
_MAX_TOML_BYTES = 1_000_000


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a TOML file.

    Raises:
        UsageError: unreadable, larger than 1 MB, not UTF-8, or not TOML (with line and column).
    """
    try:
        if path.stat().st_size > _MAX_TOML_BYTES:
            raise UsageError(f"{path}: larger than 1 MB, so no file of edgekit's")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text file in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply for a file of edgekit's") from None


def build(cls: type[T], table: Mapping[str, Any], *, where: str) -> T:
    """Makes a frozen dataclass from a table; TOML keys are field names, with - or _.

    Values are checked against the field's type: Literal (nearest names), Annotated with a `Unit`
    (a string with its unit), tuples (from arrays), nested dataclasses (from tables), int, float,
    str, bool, and optional ones. A ValueError from `__post_init__` is the range check; the hint is
    then the default of the key with which it begins.

    Raises:
        UsageError: starts with `where`, names the key, and hints at the nearest valid name.
    """
    known = option_fields(cls)
    values = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            raise UsageError(f"{where}: unknown key '{key}'", hint=did_you_mean(key, known))
        values[name] = _convert(known[name], value, where=f"{where}: {key}")
    missing = [name for name in _required(cls) if name not in values]
    if missing:
        raise UsageError(f"{where}: the key '{missing[0]}' is missing")
    try:
        return cls(**values)
    except ValueError as error:
        raise UsageError(f"{where}: {error}", hint=_default_hint(cls, values, error)) from None


def _default_hint(cls: type[T], values: Mapping[str, Any], error: ValueError) -> str:
    """What stands where the refused key, with which the message begins, is left out; '' where there
    is none that would do. The message itself names the range."""
    name = str(error).partition(" ")[0]
    default = next((item.default for item in fields(cast("Any", cls)) if item.name == name), None)
    has_unit = typing.get_origin(option_fields(cls).get(name)) is typing.Annotated
    if name not in values or has_unit or isinstance(default, bool):
        return ""
    if not isinstance(default, (int, float, str)) or default == "":
        return ""
    try:
        cls(**{key: value for key, value in values.items() if key != name})
    except ValueError:
        return ""
    return f"leave {name} out for its default, {default}"


def parse_options(cls: type[T], text: str, *, where: str) -> T:
    """Makes a dataclass from 'key=value,key=value' as the command line has it.

    A value is read as TOML where it can be (numbers, booleans, arrays), else as a string.
    """
    table: dict[str, Any] = {}
    for part in _split(text):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise UsageError(
                f"{where}: '{part}' is not key=value", hint="write key=value,key=value"
            )
        table[key.strip()] = _literal(value.strip())
    return build(cls, table, where=where)


def option_fields(cls: Any) -> dict[str, Any]:
    """The names and types that a dataclass takes."""
    assert is_dataclass(cls), cls
    hints = typing.get_type_hints(cls, include_extras=True)
    return {item.name: hints[item.name] for item in fields(cls) if item.init}


def _required(cls: Any) -> list[str]:
    return [
        item.name
        for item in fields(cls)
        if item.init and item.default is MISSING and item.default_factory is MISSING
    ]


def _split(text: str) -> list[str]:
    """Splits at commas outside brackets."""
    parts, depth, current = [], 0, ""
    for char in text:
        depth += (char == "[") - (char == "]")
        if char == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += char
    return [part for part in (*parts, current) if part.strip()]


def _literal(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _convert(kind: Any, value: Any, *, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _convert(_fitting(arguments, value), value, where=where)
    if origin is typing.Annotated:
        return _convert_annotated(arguments, value, where=where)
    if origin is Literal:
        if value not in arguments:
            raise UsageError(
                f"{where}: unknown value {value!r}",
                hint=did_you_mean(str(value), [str(item) for item in arguments]),
            )
        return value
    if origin is tuple:
        if not isinstance(value, list):
            value = [value]
        return tuple(_convert(arguments[0], item, where=where) for item in value)
    if origin is Mapping or is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where}: must be a table, not {value!r}")
        if origin is None:
            return build(kind, value, where=where)
        return {
            str(key): _convert(arguments[1], item, where=f"{where}.{key}")
            for key, item in value.items()
        }
    return _plain(kind, value, where=where)


def _fitting(arguments: tuple[Any, ...], value: Any) -> Any:
    """Of `A | B | None` the one that takes an array where the value is one, else the first."""
    options = [argument for argument in arguments if argument is not type(None)]
    for option in options:
        if (typing.get_origin(option) is tuple) == isinstance(value, list):
            return option
    return options[0]


def _convert_annotated(arguments: tuple[Any, ...], value: Any, *, where: str) -> Any:
    unit = next((item for item in arguments[1:] if isinstance(item, Unit)), None)
    if unit is None:
        return _convert(arguments[0], value, where=where)
    try:
        return unit.parse(value)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


_NOUNS = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


def _plain(kind: type, value: Any, *, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind not in _NOUNS:
        return value
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{where}: must be {_NOUNS[kind]}, not {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where}: must be a finite number, not {value}")
    return value
