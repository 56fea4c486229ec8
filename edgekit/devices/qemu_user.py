"""An arm board's processor emulated here, with the real arm packages."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgekit.core.device import Link, Progress
from edgekit.devices._environment_pins import check_debs, check_module, check_pins
from edgekit.devices._qemu_cpus import CPUS, CpuName, Machine
from edgekit.errors import UnmeasuredError, UsageError

if TYPE_CHECKING:
    from edgekit.devices._sysroot import Sysroot

__all__ = ["Options", "connect", "describe", "install", "unavailable", "untimed"]


# Nothing of the host's environment reaches the emulated system: LD_PRELOAD, QEMU_CPU, OMP_ ...
_VARIABLES = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class Options:
    """Which processor, and what is installed: pins of wheels, and names of Debian's packages.

    `python` is the version of a release of Debian; `module` must be importable in the end.
    """

    machine: Machine
    cpu: CpuName
    packages: tuple[str, ...]
    module: str
    debs: tuple[str, ...] = ()
    python: Literal["3.11"] = "3.11"
    download_mb: int = 50

    def __post_init__(self) -> None:
        check_pins(self.packages)
        check_debs(self.debs)
        check_module(self.module)
        known = [name for name in typing.get_args(CpuName) if CPUS[name].machine == self.machine]
        if self.cpu not in known:
            raise ValueError(f"cpu of {self.machine} must be {' or '.join(known)}, not {self.cpu}")


def untimed(options: Options) -> str:
    """Nothing that an emulator takes counts."""
    return "emulated by qemu-user: no timing"


def unavailable(options: Options) -> str:
    """Says what is missing: qemu, the system that it runs, or what makes that."""
    problem = _impossible(options)
    if problem or _sysroot(options).made_with():
        return problem
    return (
        f"the {_sysroot(options).title} system that it runs is not made yet: `edgekit doctor "
        f"--target NAME --install` makes it (a download of about {options.download_mb} MB)"
    )


def install(options: Options, progress: Progress) -> None:
    """Makes the system where it is not there yet: Debian's Python, and the wheels.

    Raises:
        UsageError: qemu, apt or pip is missing, there is no network, or no room.
    """
    problem = _impossible(options)
    if problem:
        raise UsageError(f"qemu-user: {problem}")
    if not _sysroot(options).made_with():
        _sysroot(options).make(progress, download_mb=options.download_mb)


def connect(options: Options) -> Link:
    """Opens a folder in which the emulated Python starts.

    Raises:
        UnmeasuredError: qemu or the system is not there.
    """
    from edgekit.devices._local import ISOLATED, LocalLink

    problem = unavailable(options)
    if problem:
        raise UnmeasuredError(f"qemu-user: {problem}")
    python = _sysroot(options).python_command(options.cpu)
    device = f"{CPUS[options.cpu].title} by qemu-user"
    return LocalLink([*python, *ISOLATED], _VARIABLES, device=device)


def describe(options: Options) -> str:
    """The processor, the emulator and its version, the system and the packages."""
    from edgekit.devices import _qemu

    sysroot = _sysroot(options)
    python = sysroot.made_with().get("python", options.python)
    packages = ", ".join(pin.replace("==", " ") for pin in options.packages)
    emulator = _qemu.title(options.machine)
    system = f"{sysroot.title}, Python {python}, {packages}"
    return f"{CPUS[options.cpu].title} emulated by {emulator}: {system}"


def _impossible(options: Options) -> str:
    """Why the device cannot be used, and nothing that we can make would help."""
    from edgekit.devices import _qemu, _sysroot_debian, _sysroot_wheels

    problem = _qemu.problem(options.machine, options.cpu)
    if problem or _sysroot(options).made_with():
        return problem
    missing = _sysroot_debian.problem() or _sysroot_wheels.problem()
    what = f"the {_sysroot(options).title} system that it runs"
    return f"{what} cannot be made here: {missing}" if missing else ""


def _sysroot(options: Options) -> Sysroot:
    from edgekit.devices._sysroot import Sysroot

    return Sysroot(options.machine, options.python, options.packages, options.debs, options.module)
