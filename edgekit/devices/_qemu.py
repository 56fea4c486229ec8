"""The program qemu-user: whether it is there, which it is, and the command that runs something."""

from __future__ import annotations

import re
import shutil
import sys
from functools import cache
from pathlib import Path

from edgekit.child import said_by
from edgekit.devices._qemu_cpus import CpuName, Machine

__all__ = ["command", "problem", "title"]

_PROGRAMS: dict[Machine, str] = {"aarch64": "qemu-aarch64", "armv7l": "qemu-arm"}
_INSTALL = "on Debian and Ubuntu: apt install qemu-user-static"
_LIMIT_SECONDS = 20
_VERSION = re.compile(r"version (\d+(?:\.\d+)+)")


def problem(machine: Machine, cpu: CpuName) -> str:
    """Why qemu-user cannot imitate this processor here; '' where it can."""
    if not sys.platform.startswith("linux"):
        return f"qemu-user, which runs programs for {machine}, is there for Linux only"
    name, path = _PROGRAMS[machine], _find(machine)
    if path is None:
        return f"{name}-static is not installed: {_INSTALL}"
    if cpu not in _say(path, "-cpu", "help").split():
        version = _version(path) or "that is installed"
        return f"{name} {version} does not know the processor {cpu}: install QEMU 7.0 or newer"
    return ""


def title(machine: Machine) -> str:
    """What emulates: 'qemu-aarch64 7.2.22'."""
    path = _find(machine)
    return f"{_PROGRAMS[machine]} {_version(path) if path else '(not installed)'}".strip()


def command(machine: Machine, cpu: CpuName, root: Path, program: str) -> list[str]:
    """The words that run a program of a sysroot; qemu looks for every absolute path there first."""
    path = _find(machine) or _PROGRAMS[machine]
    return [path, "-cpu", cpu, "-L", str(root), str(root / program)]


def _find(machine: Machine) -> str | None:
    name = _PROGRAMS[machine]
    return shutil.which(f"{name}-static") or shutil.which(name)


def _version(path: str) -> str:
    match = _VERSION.search(_say(path, "--version"))
    return match[1] if match else ""


@cache
def _say(path: str, *words: str) -> str:
    return said_by([path, *words], limit_seconds=_LIMIT_SECONDS)
