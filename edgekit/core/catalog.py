"""What exists: a name is a file in a family's folder; listing imports nothing."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from edgekit.errors import UsageError, did_you_mean

__all__ = [
    "FAMILIES",
    "Entry",
    "built_in",
    "conversions",
    "entries",
    "find",
    "implementations",
    "load",
    "load_implementation",
    "names",
    "prepared_by",
    "produces",
    "shipped",
]

FAMILIES = (
    *("formats", "techniques", "conversions", "runners", "datasets"),
    *("tasks", "zoo", "reporters", "check_reports", "devices"),
)
"""The folders of `edgekit/` in which a file is a name; plug-ins add to them by entry point."""

_DOCSTRING = re.compile(r'\s*"""(.+?)(?:"""|\n)')
"""The first line of a module's docstring; a regular expression, because `list` reads every file."""

_CONSTANT = r'^{} = "([\w-]+)"$'

_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Entry:
    """One name of a family: its summary (first docstring line) and the module that has it."""

    name: str
    family: str
    summary: str
    module: str


def entries(family: str) -> tuple[Entry, ...]:
    """Lists a family by what lies in its folder, then the plug-ins; imports none of them."""
    return built_in(family) + _plugins(family)


def names(family: str) -> tuple[str, ...]:
    """The names of a family, in order."""
    return tuple(entry.name for entry in entries(family))


def find(family: str, name: str) -> Entry:
    """Finds a name.

    Raises:
        UsageError: no such name; the hint has the nearest ones.
    """
    for entry in built_in(family):
        if entry.name == name:
            return entry
    for entry in _plugins(family):
        if entry.name == name:
            return entry
    noun = family.removesuffix("s")
    raise UsageError(f"unknown {noun} '{name}'", hint=did_you_mean(name, names(family)))


def load(family: str, name: str) -> ModuleType:
    """Imports the module behind a name (its heavy packages come when its functions are called)."""
    return importlib.import_module(find(family, name).module)


def load_implementation(technique: str, format: str) -> ModuleType:
    """Imports what a technique does to a format."""
    return importlib.import_module(f"{find('techniques', technique).module}.{format}")


@cache
def implementations(technique: str) -> frozenset[str]:
    """The formats that a technique works on: the files in its folder, private ones aside."""
    folder = _PACKAGE / "techniques" / technique.replace("-", "_")
    if folder.is_dir():
        return frozenset(_file_names(folder))
    return frozenset(getattr(load("techniques", technique), "FORMATS", ()))


@cache
def produces(technique: str, format: str) -> str:
    """The format that a technique makes of a format: `PRODUCES` of its file, else the same."""
    return _constant("PRODUCES", technique, format) or format


@cache
def prepared_by(technique: str, format: str) -> str:
    """The technique that must have worked before this one: `PREPARED_BY` of its file, else ''."""
    return _constant("PREPARED_BY", technique, format)


def _constant(name: str, technique: str, format: str) -> str:
    """Read from the source as `list` reads summaries: planning imports no implementation."""
    file = _PACKAGE / "techniques" / technique.replace("-", "_") / f"{format}.py"
    if not file.is_file():
        return str(getattr(load_implementation(technique, format), name, ""))
    match = re.search(_CONSTANT.format(name), file.read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else ""


@cache
def conversions() -> frozenset[tuple[str, str]]:
    """The pairs of formats that can be converted: files named SOURCE_to_TARGET."""
    parts = (name.partition("-to-") for name in names("conversions"))
    return frozenset((source, target) for source, between, target in parts if between)


def shipped(folder: str) -> Path:
    """The folder of TOML files that ship with edgekit: in the wheel, or beside the package."""
    inside = _PACKAGE / "_shipped" / folder
    return inside if inside.is_dir() else _PACKAGE.parent / folder


@cache
def built_in(family: str) -> tuple[Entry, ...]:
    """The names in a family's own folder, without the plug-ins."""
    folder = _PACKAGE / family
    return tuple(
        Entry(name, family, _summary(folder, name), f"edgekit.{family}.{name.replace('-', '_')}")
        for name in sorted(_file_names(folder))
    )


def _file_names(folder: Path) -> list[str]:
    return [
        path.stem.replace("_", "-")
        for path in (folder.iterdir() if folder.is_dir() else ())
        if not path.name.startswith("_")
        and (path.suffix == ".py" or (path / "__init__.py").is_file())
    ]


def _summary(folder: Path, name: str) -> str:
    stem = name.replace("-", "_")
    path = folder / f"{stem}.py"
    source = path if path.is_file() else folder / stem / "__init__.py"
    match = _DOCSTRING.match(source.read_text(encoding="utf-8"))
    return match[1].strip() if match else ""


@cache
def _plugins(family: str) -> tuple[Entry, ...]:
    if not _any_plugin_installed():
        return ()
    from importlib.metadata import entry_points

    own = {entry.name for entry in built_in(family)}
    found = []
    for point in entry_points(group=f"edgekit.{family}"):
        if point.name in own:
            raise UsageError(
                f"the plug-in '{point.value}' calls itself {family} '{point.name}', "
                "which edgekit has already",
                hint="rename or uninstall the plug-in",
            )
        summary = f"plug-in from {point.dist.name if point.dist else point.value}"
        found.append(Entry(point.name, family, summary, point.value))
    return tuple(found)


@cache
def _any_plugin_installed() -> bool:
    """Looks for entry points of ours in the installed packages' files.

    `importlib.metadata` takes longer to import than `edgekit list` may take in all; it is asked
    only where there is something to find.
    """
    return any(_has_plugin(folder or ".") for folder in sys.path)


def _has_plugin(folder: str) -> bool:
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.endswith(".dist-info"):
                with contextlib.suppress(OSError):
                    if b"[edgekit." in Path(folder, name, "entry_points.txt").read_bytes():
                        return True
    return False
