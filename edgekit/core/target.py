"""A target: the TOML facts of a device, with one inherit parent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekit.core import catalog
from edgekit.core.limits import Limits, SourcedLimits
from edgekit.core.recipe import toml_names, toml_path
from edgekit.core.schema import build, read_toml
from edgekit.errors import UsageError, did_you_mean

__all__ = ["Target", "default_target", "load_target"]


@dataclass(frozen=True)
class Target:
    """Data, not code. `options` is the runner's own frozen dataclass of runtime options.

    `is_default` marks the target that `bench` and `validate` take for a file of this format.
    """

    name: str
    summary: str
    format: str
    runner: str
    options: Any
    limits: SourcedLimits
    is_default: bool = False

    def opens(self, format: str) -> bool:
        """Whether its runner opens files of a format, its own or another."""
        return format in catalog.load("runners", self.runner).FORMATS


@dataclass(frozen=True)
class _File:
    summary: str
    format: str
    runner: str
    default: bool = False
    inherit: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


def load_target(name_or_path: str, *, overrides: Mapping[str, Any] | None = None) -> Target:
    """Reads a shipped target by name, or a TOML file by path; `overrides` replace runtime options.

    Raises:
        UsageError: not found, not TOML, or with a key, format, runner or value that does not exist.
    """
    path, source = toml_path("targets", name_or_path)
    file = build(_File, _inherited(read_toml(path), source), where=source)
    for family, name in (("formats", file.format), ("runners", file.runner)):
        if name not in catalog.names(family):
            noun, hint = family.removesuffix("s"), did_you_mean(name, catalog.names(family))
            raise UsageError(f"{source}: unknown {noun} '{name}'", hint=hint)
    runner = catalog.load("runners", file.runner)
    if file.format not in runner.FORMATS:
        raise UsageError(
            f"{source}: the runner '{file.runner}' cannot open {file.format}",
            hint=f"it opens {', '.join(runner.FORMATS)}",
        )
    known = {key: value for key, value in (overrides or {}).items() if value is not None}
    options = build(runner.Options, {**file.options, **known}, where=f"{source}: options")
    return Target(
        name=path.stem,
        summary=file.summary,
        format=file.format,
        runner=file.runner,
        options=options,
        limits=SourcedLimits(file.limits, source),
        is_default=file.default,
    )


def default_target(format: str) -> str:
    """The shipped target for files of one format.

    Raises:
        UsageError: no target is marked as that format's default.
    """
    defaults = [
        target for name in toml_names("targets") if (target := load_target(name)).is_default
    ]
    for target in defaults:
        if target.format == format:
            return target.name
    for target in defaults:
        if target.opens(format):
            return target.name
    raise UsageError(
        f"no target runs {format} files by default",
        hint=f"name one with --target: {', '.join(toml_names('targets'))}",
    )


def _inherited(table: dict[str, Any], source: str) -> dict[str, Any]:
    """Lays a file over its parent, table by table; a parent may not inherit again."""
    parent_name = table.get("inherit")
    if not isinstance(parent_name, str):
        return table
    parent_path, _ = toml_path("targets", parent_name)
    parent = read_toml(parent_path)
    if "inherit" in parent:
        raise UsageError(f"{source}: inherit '{parent_name}' inherits itself from another target")
    merged = dict(parent)
    merged.pop("default", None)
    for key, value in table.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = {**below, **value}
        else:
            merged[key] = value
    return merged
