"""A target: the TOML facts of a device, with one inherit parent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekit.core import catalog
from edgekit.core.device import Delegate, DeviceSpec
from edgekit.core.limits import Limits, SourcedLimits
from edgekit.core.recipe import toml_names, toml_path
from edgekit.core.schema import build, read_toml
from edgekit.errors import UsageError, did_you_mean
from edgekit.units import Bytes

__all__ = ["Board", "Target", "default_target", "load_target"]


@dataclass(frozen=True)
class Board:
    """A system that devices of a target run, its Python ('3.11'), and what pip installs there."""

    name: str
    python: str
    requires: tuple[str, ...]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"3\.\d{1,2}", self.python):
            raise ValueError(f"python must be a version such as '3.11', not '{self.python}'")


@dataclass(frozen=True)
class Target:
    """Data, not code. `options` is the runner's own frozen dataclass of runtime options.

    `is_default` marks the target that `bench` and `validate` take for a file of this format.
    `device` is what models run on where that is not this process. `machines` are the processors
    (`platform.machine()`) that a bundle for this target runs on, `runtimes` the Python modules that
    may run it there, `delegates` what is tried there in turn before the CPU, `boards` what to
    install on which system. `dtypes` (empty: any), `op_table` and `ram` (bytes) say what it can
    run; `executed` says on what it really ran. `strict` makes a delegate that fails an error.
    """

    name: str
    summary: str
    format: str
    runner: str
    options: Any
    limits: SourcedLimits
    is_default: bool = False
    device: DeviceSpec | None = None
    machines: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    delegates: tuple[Delegate, ...] = ()
    boards: tuple[Board, ...] = ()
    dtypes: tuple[str, ...] = ()
    op_table: str = ""
    ram: int | None = None
    executed: tuple[str, ...] = ()
    strict: bool = False

    def opens(self, format: str) -> bool:
        """Whether its runner opens files of a format, its own or another."""
        return format in catalog.load("runners", self.runner).FORMATS


@dataclass(frozen=True, eq=False, repr=False)
class _File:
    summary: str
    format: str
    runner: str
    default: bool = False
    inherit: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    device: Mapping[str, Any] = field(default_factory=dict)
    machines: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    delegate: tuple[Delegate, ...] = ()
    board: tuple[Board, ...] = ()
    dtypes: tuple[str, ...] = ()
    op_table: str = ""
    ram: Bytes | None = None
    executed: tuple[str, ...] = ()


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
    runtimes = _runtimes(file, runner.MODULES, source)
    return Target(
        name=path.stem,
        summary=file.summary,
        format=file.format,
        runner=file.runner,
        options=options,
        limits=SourcedLimits(file.limits, source),
        is_default=file.default,
        device=_device(file, path.stem, source, runtimes) if file.device else None,
        machines=file.machines,
        runtimes=runtimes,
        delegates=file.delegate,
        boards=file.board,
        dtypes=file.dtypes,
        op_table=file.op_table,
        ram=file.ram,
        executed=file.executed,
    )


def _runtimes(file: _File, known: tuple[str, ...], source: str) -> tuple[str, ...]:
    for name in file.runtimes:
        if name not in known:
            raise UsageError(
                f"{source}: runtimes: the runner '{file.runner}' does not run in '{name}'",
                hint=did_you_mean(name, known),
            )
    return file.runtimes or known


def _device(file: _File, name: str, source: str, runtimes: tuple[str, ...]) -> DeviceSpec:
    table = dict(file.device)
    via = table.pop("via", None)
    if via not in (known := catalog.names("devices")):
        what = f"unknown way '{via}'" if via else "the key 'via' is missing"
        hint = did_you_mean(str(via), known) if via else f"one of {', '.join(known)}"
        raise UsageError(f"{source}: device: {what}", hint=hint)
    options = build(catalog.load("devices", via).Options, table, where=f"{source}: device")
    return DeviceSpec(via, options, name, runtimes, file.delegate)


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
