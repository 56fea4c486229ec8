"""Strict reading of JSON from files of unknown origin into frozen dataclasses."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union

from edgekit.errors import UsageError, did_you_mean

__all__ = ["build_strictly", "dump_json", "parse_json", "plain"]

T = TypeVar("T")
_MOST_BYTES = 4_000_000
_MOST_SHOWN = 60


def parse_json(data: bytes, *, where: str) -> Any:
    """Parses JSON; a key twice, NaN and Infinity are refused, as other readers differ on them.

    Raises:
        UsageError: larger than 4 MB, not UTF-8, or not JSON.
    """
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{where}: larger than 4 MB, so no file of edgekit's")
    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UsageError(f"{where}: not valid JSON: {reason}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key stands there twice")
    return table


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON's")


def build_strictly(kind: Any, value: Any, *, where: str) -> Any:
    """Makes a value of the type `kind` from parsed JSON (or TOML); nothing is converted silently.

    Of a union of dataclasses the one is taken whose field `kind` allows the table's "kind".
    A ValueError from `__post_init__` is the range check.

    Raises:
        UsageError: starts with `where`: an unknown or missing key, or a value of another type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return _anything(value, where)
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, where)
    if origin is Literal:
        return _literal(arguments, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise UsageError(f"{where}: must be a list, not {_shown(value)}")
        return tuple(
            build_strictly(arguments[0], item, where=f"{where}[{index}]")
            for index, item in enumerate(value)
        )
    if is_dataclass(kind):
        return _dataclass(typing.cast("type[Any]", kind), _table(value, where), where)
    if origin is Mapping:
        return {
            key: build_strictly(arguments[1], item, where=f"{where}.{key}")
            for key, item in _keys(_table(value, where), where).items()
        }
    return _plain_value(kind, value, where)


def dump_json(value: Any) -> bytes:
    """The canonical bytes of a dataclass: the fields in their order, one a line."""
    text = json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def plain(value: Any) -> Any:
    """Dataclasses as dicts, tuples as lists; what is optional and at its default is left out."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: plain(getattr(value, item.name))
            for item in fields(value)
            if not (item.metadata.get("optional") and getattr(value, item.name) == item.default)
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _dataclass(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    hints = typing.get_type_hints(cls)
    known = {item.name: item for item in fields(typing.cast(Any, cls)) if item.init}
    for key in table:
        if key not in known:
            raise UsageError(f"{where}: unknown key {_shown(key)}", hint=did_you_mean(key, known))
    for name, item in known.items():
        if name not in table and item.default is MISSING and item.default_factory is MISSING:
            raise UsageError(f"{where}: the key '{name}' is missing")
    values = {
        key: build_strictly(hints[key], value, where=f"{where}: {key}")
        for key, value in table.items()
    }
    try:
        return cls(**values)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def _one_of(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    real = [option for option in options if option is not type(None)]
    if len(real) == 1:
        return build_strictly(real[0], value, where=where)
    by_kind = {
        word: option
        for option in real
        for word in typing.get_args(typing.get_type_hints(option)["kind"])
    }
    word = _table(value, where).get("kind")
    if not isinstance(word, str) or word not in by_kind:
        raise UsageError(
            f"{where}: unknown kind {_shown(word)}", hint=did_you_mean(str(word), by_kind)
        )
    return build_strictly(by_kind[word], value, where=where)


def _literal(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if not any(value == option and type(value) is type(option) for option in options):
        known = [str(option) for option in options]
        raise UsageError(
            f"{where}: unknown value {_shown(value)}", hint=did_you_mean(str(value), known)
        )
    return value


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: must be a table, not {_shown(value)}")
    return value


_NOUNS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def _plain_value(kind: type, value: Any, where: str) -> Any:
    if kind is float and type(value) is int and abs(value) < 2**63:
        value = float(value)
    if type(value) is not kind:
        raise UsageError(f"{where}: must be {_NOUNS[kind]}, not {_shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where}: must be a finite number, not {value}")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise UsageError(f"{where}: is larger than any figure of edgekit's")
    if isinstance(value, str):
        _check_text(value, where)
    return value


def _check_text(text: str, where: str) -> None:
    """Half a character (a lone surrogate) is valid in JSON and can be written nowhere else."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{where}: {_shown(text)} is no text") from None


def _anything(value: Any, where: str) -> Any:
    """JSON of any shape: each value in it as strict as elsewhere."""
    if isinstance(value, Mapping):
        return {key: _anything(item, where) for key, item in _keys(value, where).items()}
    if isinstance(value, list):
        return [_anything(item, where) for item in value]
    return value if value is None else _plain_value(type(value), value, where)


def _keys(table: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    for key in table:
        _check_text(key, where)
    return table


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
