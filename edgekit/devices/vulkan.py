"""This machine's GPU through Vulkan, or SwiftShader, which emulates one."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.device import Link, Progress
from edgekit.errors import UnmeasuredError, UsageError

if TYPE_CHECKING:
    from edgekit.devices import environment

__all__ = ["IS_HERE", "Options", "connect", "describe", "install", "unavailable", "untimed"]

IS_HERE = True

_EMULATED = "emulated by SwiftShader: no timing"


@dataclass(frozen=True)
class Options:
    """What runs there: this Python, or that of an environment with `packages` of its own.

    `packages`, `pythons`, `module` and `download_mb` are those of the way `environment`. `untimed`
    is why no time counts that is taken on a GPU of this machine (which is not the target's own).
    """

    packages: tuple[str, ...] = ()
    pythons: tuple[str, ...] = ()
    module: str = ""
    download_mb: int = 50
    untimed: str = ""

    def __post_init__(self) -> None:
        if self.packages:
            _environment(self)
        elif self.pythons or self.module:
            raise ValueError("pythons and module are those of packages, and there are none")


def untimed(options: Options) -> str:
    """What the target's file says, or that a program plays the GPU."""
    from edgekit.devices import _vulkan_drivers

    drivers = _vulkan_drivers.find()
    if drivers is None:
        return _EMULATED
    if drivers.are_software:
        return f"emulated by {drivers.title} ({drivers.named}): no timing"
    return options.untimed


def unavailable(options: Options) -> str:
    """Says what is missing: the environment, a Vulkan loader, or SwiftShader in place of a GPU."""
    from edgekit.devices import _swiftshader, _vulkan_drivers, environment

    if options.packages and (missing := environment.unavailable(_environment(options))):
        return missing
    if _variables() is not None:
        return ""
    drivers, problem = _vulkan_drivers.find(), _swiftshader.problem()
    what = "no GPU with a Vulkan driver is here, and SwiftShader, which emulates one,"
    if drivers:
        loader = f"a loader for it ({_swiftshader.LOADER})"
        what = f"the Vulkan driver {drivers.title} is here, and {loader}"
    size = f"a download of about {_swiftshader.DOWNLOAD_MB} MB"
    hint = f"`edgekit doctor --target NAME --install` takes it from Debian ({size})"
    return f"{what} is not made yet: {problem or hint}"


def install(options: Options, progress: Progress) -> None:
    """Makes the environment, and takes SwiftShader from Debian, where they are missing.

    Raises:
        UsageError: no network, no room, or a system for which there is none.
    """
    from edgekit.devices import _swiftshader, environment

    if options.packages:
        environment.install(_environment(options), progress)
    if _variables() is None:
        if problem := _swiftshader.problem():
            raise UsageError(f"vulkan: {problem}")
        _swiftshader.make(progress)


def connect(options: Options) -> Link:
    """Opens a folder in which a Python starts that sees one kind of Vulkan driver only.

    Raises:
        UnmeasuredError: there is no environment, GPU or SwiftShader.
    """
    from edgekit.devices._local import ISOLATED, LocalLink

    own, problem = _variables(), unavailable(options)
    if own is None or problem:
        raise UnmeasuredError(f"vulkan: {problem}")
    python = Path(sys.executable)
    if options.packages:
        from edgekit.devices.environment import _requirements
        from edgekit.frameworks import isolated

        found = isolated.present(_requirements(_environment(options)))
        assert found is not None, "it is available"
        python = found.python
        own["PATH"] = os.pathsep.join((str(python.parent), own.get("PATH", os.defpath)))
    return LocalLink([str(python), *ISOLATED], own, device="this machine's GPU")


def describe(options: Options) -> str:
    """The driver, or what emulates a GPU with its version, and the packages."""
    from edgekit.devices import _swiftshader, _vulkan_drivers, environment

    drivers, emulator = _vulkan_drivers.find(), _swiftshader.find()
    if drivers:
        said = f" ({drivers.named})" if drivers.named else ""
        gpu = f"this machine's GPU by the Vulkan driver {drivers.title}{said}"
        if drivers.are_software:
            gpu = f"a GPU emulated by the Vulkan driver {drivers.title}{said}"
    else:
        gpu = f"a GPU emulated by {emulator.title if emulator else 'SwiftShader'}"
    if not options.packages:
        return f"{gpu}, Python {'.'.join(map(str, sys.version_info[:3]))}"
    known = environment.describe(_environment(options)).removeprefix("this machine, ")
    return f"{gpu}, {known}"


def _variables() -> dict[str, str] | None:
    """All that a process sees, with one kind of driver; None without a driver or a loader."""
    from edgekit.devices import _swiftshader, _vulkan_drivers
    from edgekit.frameworks.isolated import own_variables

    drivers, emulator = _vulkan_drivers.find(), _swiftshader.find()
    files: tuple[Path, ...] = drivers.files if drivers else (emulator.icd,) if emulator else ()
    found = _swiftshader.has_loader()
    loader = emulator.loader if emulator and not (drivers and found) else None
    if not files or not (loader or found):
        return None
    own = own_variables()
    own.pop("VK_ADD_DRIVER_FILES", None)
    # Not every loader knows VK_DRIVER_FILES, which is VK_ICD_FILENAMES under its newer name.
    own.update(dict.fromkeys(_vulkan_drivers.VARIABLES, os.pathsep.join(map(str, files))))
    if loader is not None:
        before = own.get("LD_LIBRARY_PATH", "")
        own["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, (str(loader), before)))
    return own


def _environment(options: Options) -> environment.Options:
    from edgekit.devices import environment

    return environment.Options(
        options.packages, options.pythons, options.module, options.download_mb
    )
