"""A Cortex-M microcontroller, emulated here, which runs C that is made for it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.core.device import Link, Progress
from edgekit.devices import _cortex_m_tools as tools
from edgekit.devices._cortex_m_cores import CORES, CpuName
from edgekit.devices._local import LocalLink
from edgekit.errors import EdgekitError, UnmeasuredError, UsageError
from edgekit.text import clean
from edgekit.units import Bytes

__all__ = ["FIGURES", "Options", "connect", "describe", "install", "unavailable", "untimed"]

FIGURES = True

_SERVER = ("-I", "-B", "-X", "utf8", "-m", "edgekit.devices._cortex_m_serve")


@dataclass(frozen=True)
class Options:
    """Which core, and what the chip has: a model that needs more flash or RAM is refused."""

    cpu: CpuName
    flash: Bytes | None = None
    ram: Bytes | None = None

    def __post_init__(self) -> None:
        for name in ("flash", "ram"):
            if getattr(self, name) == 0:
                raise ValueError(f"{name} must be more than 0 bytes")


def untimed(options: Options) -> str:
    """Instructions are counted there, and no time is taken."""
    return "emulated by qemu-system-arm: no timing"


def unavailable(options: Options) -> str:
    """Says which program is missing, and the command that installs it."""
    return tools.problem(CORES[options.cpu])


def install(options: Options, progress: Progress) -> None:
    """Nothing can be made without the system's packages.

    Raises:
        UsageError: a program is missing; says which.
    """
    problem = unavailable(options)
    if problem:
        raise UsageError(f"cortex-m: {problem}")


def connect(options: Options) -> Link:
    """Opens a folder in which models are built and run.

    Raises:
        UnmeasuredError: a program is missing.
    """
    problem = unavailable(options)
    if problem:
        raise UnmeasuredError(f"cortex-m: {problem}")
    return _CortexLink(options)


def describe(options: Options) -> str:
    """The core, the emulator, the compiler, and their versions."""
    core = CORES[options.cpu]
    return (
        f"{core.title} emulated by {tools.emulator()} (board {core.machine}), "
        f"C built by {tools.compiler()}"
    )


class _CortexLink(LocalLink):
    """A folder on this machine, in which edgekit itself answers for the microcontroller."""

    def __init__(self, options: Options) -> None:
        from edgekit.frameworks.isolated import own_variables

        core = CORES[options.cpu]
        super().__init__([sys.executable, *_SERVER], own_variables(), device=core.title)
        self._title = core.title
        self._options = json.dumps(dataclasses.asdict(options))

    def start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Starts edgekit's own server in place of the device's Python."""
        return super().start([self._options])

    def ended(self, code: int | None, stderr: str, *, during: str) -> EdgekitError:
        """The sentence for a server that ended by itself."""
        lines = [line.strip() for line in stderr.splitlines() if line.strip()]
        said = f": {clean(lines[-1], most=200)}" if lines else ""
        return UnmeasuredError(
            f"{self._title}: the process that builds and runs the model ended {during} "
            f"(exit code {code}){said}",
            hint="nothing was measured",
        )
