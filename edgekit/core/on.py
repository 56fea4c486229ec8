"""What `--on` means: an address, a device of the project's file, or this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from edgekit.core import catalog
from edgekit.core.device import DeviceSpec
from edgekit.core.project import PROJECT_FILE, ProjectDevice, load_devices
from edgekit.core.schema import build, option_fields
from edgekit.errors import UsageError, did_you_mean
from edgekit.text import clean

__all__ = ["THIS_MACHINE", "parse_on", "project_target"]

THIS_MACHINE = "this-machine"

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)


def parse_on(text: str) -> DeviceSpec | None:
    """Reads a `--on`; None is this machine with its own runtimes.

    Raises:
        UsageError: no such device, a scheme that no way answers to, or an address that is none.
    """
    if text == THIS_MACHINE:
        return None
    if _ADDRESS.fullmatch(text):
        via, _, options = _at(text, where="--on")
        return _spec(via, options)
    devices = load_devices()
    if text not in devices:
        near = did_you_mean(text, (*devices, THIS_MACHINE))
        raise UsageError(
            f"--on: '{clean(text)}' is no address, and no device of {PROJECT_FILE}",
            hint=f"{near}; an address is {_forms()}",
        )
    return _listed(text, devices[text])


def project_target(text: str) -> str:
    """The target that the project's file gives to a device by name; '' where it gives none."""
    device = load_devices().get(text)
    return device.target if device else ""


def _listed(name: str, device: ProjectDevice) -> DeviceSpec:
    where = f"{PROJECT_FILE}: devices.{name}"
    via, module, options = _at(device.on, where=f"{where}: on")
    known = option_fields(module.Options)
    for key in device.options:
        if key not in known:
            raise UsageError(
                f"{where}: {key.replace('_', '-')} means nothing for '{clean(device.on)}'",
                hint=f"its options are {', '.join(sorted(known))}",
            )
    said = {**_as_table(options, known), **device.options}
    return _spec(via, build(module.Options, said, where=where), name=name)


def _as_table(options: Any, known: Mapping[str, object]) -> dict[str, Any]:
    """As a TOML file would say it: without null, and with arrays for tuples."""
    values = {name: getattr(options, name) for name in known}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None
    }


def _at(text: str, *, where: str) -> tuple[str, ModuleType, Any]:
    match = _ADDRESS.fullmatch(text)
    ways = _ways()
    if match is None or match[1].lower() not in ways:
        raise UsageError(
            f"{where}: '{clean(text)}' is no address of a device", hint=f"it is {_forms()}"
        )
    via, module = ways[match[1].lower()]
    return via, module, module.parse(match[2])


def _spec(via: str, options: Any, *, name: str = "") -> DeviceSpec:
    what = catalog.load("devices", via).describe(options)
    return DeviceSpec(via, options, label=f"{name} ({what})" if name else what)


def _ways() -> dict[str, tuple[str, ModuleType]]:
    """By scheme: the ways that an address can name."""
    found = {}
    for name in catalog.names("devices"):
        module = catalog.load("devices", name)
        for scheme in getattr(module, "SCHEMES", ()):
            found[scheme] = (name, module)
    return found


def _forms() -> str:
    forms = [module.FORM for _, module in _ways().values()]
    return " or ".join(dict.fromkeys(forms))
