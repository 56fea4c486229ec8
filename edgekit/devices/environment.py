"""This machine, in a virtual environment with packages of its own."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.device import Link, Progress
from edgekit.devices._environment_pins import check_module, check_pins
from edgekit.errors import UnmeasuredError, UsageError

if TYPE_CHECKING:
    from edgekit.frameworks.isolated import Requirements

__all__ = [
    "FIGURES",
    "IS_HERE",
    "Options",
    "connect",
    "describe",
    "install",
    "unavailable",
    "untimed",
]

IS_HERE = True
FIGURES = True

_PYTHON = re.compile(r"3\.\d{1,2}")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True)
class Options:
    """What the environment holds: every package with its version, and nothing is resolved.

    The first of `packages` gives the environment its name. `pythons` are the versions that all of
    them are built for, the best first; `module` is what must be importable in the end. `variables`
    are set for what runs in it, `untimed` is why no time counts that is taken there. `needs` are
    paths of which one must exist ('/dev/nvidia0'), for `needs_reason`.
    """

    packages: tuple[str, ...]
    pythons: tuple[str, ...]
    module: str
    download_mb: int = 50
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)
    untimed: str = ""
    needs: tuple[str, ...] = ()
    needs_reason: str = ""

    def __post_init__(self) -> None:
        check_pins(self.packages)
        check_module(self.module)
        for name in self.variables:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"variables: '{name}' is no name of an environment variable")
        if not self.pythons:
            raise ValueError("pythons must name one version at least")
        for version in self.pythons:
            if not _PYTHON.fullmatch(version):
                raise ValueError(f"pythons must be versions such as '3.11', not '{version}'")


def untimed(options: Options) -> str:
    """What the target's file says."""
    return options.untimed


def unavailable(options: Options) -> str:
    """Says whether the environment is there, what makes it, or why nothing here can."""
    from edgekit.frameworks import isolated

    if lacking := _lacking(options):
        return lacking
    if sys.platform == "win32":
        return "environments of their own are made on Linux and macOS only"
    found = isolated.status(_requirements(options))
    if found.is_present:
        return ""
    if found.problem:
        return f"{found.problem}; {found.hint}"
    return (
        f"the environment with {_title(options)} is not made yet: `edgekit doctor --target NAME "
        f"--install` makes it (a download of about {options.download_mb} MB)"
    )


def install(options: Options, progress: Progress) -> None:
    """Makes the environment where it is not there yet.

    Raises:
        UsageError: no Python for it, no network, no room, or what it needs is not there.
    """
    from edgekit.frameworks import isolated

    if lacking := _lacking(options):
        raise UsageError(lacking, hint="nothing was downloaded")

    isolated.ensure(_requirements(options), progress)


def connect(options: Options) -> Link:
    """Opens a folder in which the environment's Python starts.

    Raises:
        UnmeasuredError: the environment is not there.
    """
    from edgekit.devices._local import ISOLATED, LocalLink
    from edgekit.frameworks import isolated

    found = isolated.present(_requirements(options))
    if found is None:
        raise UnmeasuredError(unavailable(options))
    own = {**isolated.own_variables(), **options.variables}
    own["PATH"] = os.pathsep.join((str(found.python.parent), os.environ.get("PATH", os.defpath)))
    return LocalLink([str(found.python), *ISOLATED], own, device="this machine")


def describe(options: Options) -> str:
    """The packages and, once the environment is there, its Python."""
    from edgekit.frameworks import isolated
    from edgekit.frameworks.isolated_folder import read_marker

    found = isolated.present(_requirements(options))
    python = f"Python {read_marker(found.folder)['python']}" if found else "no Python yet"
    return f"this machine, {python} of an environment with {_title(options)}"


def _lacking(options: Options) -> str:
    """What the machine lacks, whatever is installed; '' where it lacks nothing."""
    if not options.needs or any(Path(path).exists() for path in options.needs):
        return ""
    return options.needs_reason or f"none of {', '.join(options.needs)} is there"


def _title(options: Options) -> str:
    return ", ".join(pin.replace("==", " ") for pin in options.packages)


def _requirements(options: Options) -> Requirements:
    from edgekit.frameworks.isolated import Requirements

    return Requirements(
        name=options.packages[0].partition("==")[0],
        pins=options.packages,
        pythons=options.pythons,
        module=options.module,
        download_mb=options.download_mb,
        needed_for=options.packages[0].replace("==", " "),
    )
