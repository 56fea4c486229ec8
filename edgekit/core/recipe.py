"""A recipe: an ordered list of techniques and the quality it promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.core import catalog
from edgekit.core.limits import Limits, SourcedLimits
from edgekit.core.schema import build, read_toml
from edgekit.errors import UsageError, did_you_mean

__all__ = ["Recipe", "RecipeStep", "load_recipe", "toml_names", "toml_path"]


@dataclass(frozen=True)
class RecipeStep:
    """One technique of a recipe with its parameters (the technique's frozen dataclass)."""

    technique: str
    parameters: Any


@dataclass(frozen=True)
class Recipe:
    """Portable: names no format and no device."""

    name: str
    summary: str
    steps: tuple[RecipeStep, ...]
    promise: SourcedLimits


@dataclass(frozen=True, eq=False, repr=False)
class _File:
    summary: str
    promise: Limits = field(default_factory=Limits)
    technique: tuple[Any, ...] = ()


def toml_names(folder: str) -> tuple[str, ...]:
    """The names of the shipped TOML files in `recipes` or `targets`."""
    return tuple(sorted(path.stem for path in catalog.shipped(folder).glob("*.toml")))


def toml_path(folder: str, name_or_path: str) -> tuple[Path, str]:
    """Finds a shipped name or a path; returns it with what messages call it.

    Raises:
        UsageError: neither; with the nearest shipped names.
    """
    noun = folder.removesuffix("s")
    if name_or_path in toml_names(folder):
        return catalog.shipped(folder) / f"{name_or_path}.toml", f"{folder}/{name_or_path}.toml"
    path = Path(name_or_path)
    if path.suffix == ".toml" or len(path.parts) > 1:
        if path.is_file():
            return path, name_or_path
        raise UsageError(f"{noun} '{name_or_path}': no such file")
    raise UsageError(
        f"unknown {noun} '{name_or_path}'", hint=did_you_mean(name_or_path, toml_names(folder))
    )


def load_recipe(name_or_path: str) -> Recipe:
    """Reads a shipped recipe by name, or a TOML file by path.

    Raises:
        UsageError: not found, not TOML, or with a key, technique or value that does not exist.
    """
    path, source = toml_path("recipes", name_or_path)
    file = build(_File, read_toml(path), where=source)
    steps = tuple(
        _step(table, f"{source}: technique {i}") for i, table in enumerate(file.technique, 1)
    )
    return Recipe(path.stem, file.summary, steps, SourcedLimits(file.promise, source))


def _step(table: Any, where: str) -> RecipeStep:
    if not isinstance(table, Mapping):
        raise UsageError(f"{where}: must be a table, written [[technique]]")
    rest = dict(table)
    name = rest.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"{where}: the key 'name' is missing", hint='name = "..."')
    if name not in catalog.names("techniques"):
        hint = did_you_mean(name, catalog.names("techniques"))
        raise UsageError(f"{where}: unknown technique '{name}'", hint=hint)
    parameters = catalog.load("techniques", name).Parameters
    return RecipeStep(name, build(parameters, rest, where=where))
