"""The machine that measured: what a figure depends on besides the model."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["fingerprint"]


class _UnknownError(Exception):
    """Why a fact cannot be had here."""


def fingerprint(
    packages: Mapping[str, str] | None = None,
    *,
    root: Path = Path("/"),
    device: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Facts of this machine; each that cannot be had is None, with the reason under "unknown".

    `packages` are names and versions to put on record. `root` is where `proc` and `sys` lie.
    `device` are the facts of the device that ran the models, where it was not this machine.
    """
    facts: dict[str, Callable[[], Any]] = {
        "cpu": lambda: _cpu(root),
        "architecture": lambda: platform.machine() or _unknown("the system does not say"),
        "cores": _cores,
        "memory_bytes": lambda: _memory(root),
        "os": lambda: platform.platform() or _unknown("the system does not say"),
        "python": platform.python_version,
        "governor": lambda: _governor(root),
        "temperature_celsius": lambda: _temperature(root),
        "load_1min": lambda: _load(root),
    }
    found: dict[str, Any] = {}
    unknown: dict[str, str] = {}
    for name, read in facts.items():
        try:
            found[name] = read()
        except (_UnknownError, OSError, ValueError) as error:
            found[name], unknown[name] = None, _reason(error)
    found["packages"] = dict(packages or {})
    found["unknown"] = unknown
    if device is not None:
        found["device"] = dict(device)
    return found


def _unknown(reason: str) -> Any:
    raise _UnknownError(reason)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {(error.strerror or str(error)).lower()}"
    return str(error)


def _cpu(root: Path) -> Any:
    """The model name; boards with Arm cores give it in the device tree instead."""
    text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    for key in ("model name", "Model", "Hardware", "uarch"):
        if match := re.search(rf"^{key}\s*:\s*(\S.*)$", text, re.MULTILINE):
            return match[1].strip()
    tree = root / "proc/device-tree/model"
    if tree.is_file():
        return tree.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    return platform.processor() or _unknown("/proc/cpuinfo names no model")


def _cores() -> Any:
    """The cores that this process may use, which a container can hold below those there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or _unknown("the system does not say")


def _memory(root: Path) -> Any:
    text = (root / "proc/meminfo").read_text(encoding="utf-8")
    match = re.search(r"^MemTotal:\s*(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else _unknown("/proc/meminfo has no MemTotal")


def _governor(root: Path) -> Any:
    """The frequency governors of all cores, each once."""
    files = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
    if not files:
        return _unknown("the system shows no frequency governor (usual in virtual machines)")
    return ", ".join(sorted({file.read_text(encoding="utf-8").strip() for file in files}))


def _temperature(root: Path) -> Any:
    """The hottest thermal zone."""
    found = []
    for file in (root / "sys/class/thermal").glob("thermal_zone*/temp"):
        try:
            found.append(int(file.read_text(encoding="utf-8")) / 1000)
        except (OSError, ValueError):  # A zone that is switched off refuses to be read.
            continue
    return max(found) if found else _unknown("the system shows no thermal zone")


def _load(root: Path) -> Any:
    return float((root / "proc/loadavg").read_text(encoding="utf-8").split()[0])
