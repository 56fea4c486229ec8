"""The project's own file, `edgekit.toml` in the current folder: for now its devices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.schema import build, read_toml
from edgekit.errors import UsageError
from edgekit.text import clean

__all__ = ["PROJECT_FILE", "ProjectDevice", "load_devices"]

PROJECT_FILE = "edgekit.toml"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class ProjectDevice:
    """`[devices.NAME]`: an address as `--on` takes it, and what one need not type every time.

    `target` is the target that the device is, for commands that are told none. The others are
    options of the way there; what is not said keeps that way's default.
    """

    on: str
    target: str = ""
    python: str = ""
    identity: str = ""
    connect_seconds: float | None = None
    ssh_options: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """What it says beyond the address, by the names that options of devices have."""
        said = {
            "python": self.python,
            "identity": self.identity,
            "connect_seconds": self.connect_seconds,
            "ssh_options": list(self.ssh_options),
        }
        return {key: value for key, value in said.items() if value}


def load_devices(folder: Path = Path()) -> Mapping[str, ProjectDevice]:
    """The devices by name; none where there is no such file. Other tables are not looked at.

    Raises:
        UsageError: the file is no TOML, or a device has a key or a value that does not exist.
    """
    path = folder / PROJECT_FILE
    if not path.exists():
        return {}
    devices = read_toml(path).get("devices", {})
    if not isinstance(devices, Mapping):
        raise UsageError(f"{path}: devices: must be tables, [devices.NAME]")
    return {name: _device(name, table, f"{path}: devices") for name, table in devices.items()}


def _device(name: str, table: Any, where: str) -> ProjectDevice:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{where}: '{clean(name)}' cannot be the name of a device",
            hint="write it with letters, digits, '_', '-' and '.', a letter or a digit first",
        )
    if not isinstance(table, Mapping):
        raise UsageError(
            f"{where}.{name}: must be a table, not {clean(repr(table))}",
            hint=f'[devices.{name}] with on = "..." below it',
        )
    return build(ProjectDevice, table, where=f"{where}.{name}")
