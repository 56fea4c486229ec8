"""A target as a run uses it: its options, the device that it runs on, and whether that is here."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping
from typing import Any

from edgekit.core import catalog
from edgekit.core.artifact import Artifact
from edgekit.core.device import DeviceSpec
from edgekit.core.notes import Note
from edgekit.core.on import parse_on, project_target
from edgekit.core.target import Target, default_target, load_target
from edgekit.engine.device_session import Serving, device_module
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.text import with_article

__all__ = [
    "check_runs",
    "device_facts",
    "device_of",
    "elsewhere",
    "elsewhere_notes",
    "host",
    "nameless",
    "open_target",
    "target_for",
    "through_run_py",
    "unavailable",
]

_HOST = "host"
_FACTS: dict[str, Mapping[str, Any]] = {}
"""What devices said of themselves, by their options: asked once in a process."""


def open_target(name: str, *, threads: int | None = None, on: str | None = None) -> Target:
    """Reads a target; `on` is what `--on` says: another device, or this machine.

    Raises:
        UsageError: no such target or device, or a runtime that cannot be on another device.
    """
    target = load_target(name, overrides={"threads": threads})
    if on is None:
        return target
    spec = parse_on(on)
    if spec is not None and not target.runtimes:
        raise UsageError(
            f"--on '{on}': target '{target.name}' runs in no runtime that a device can have",
            hint="leave --on out",
        )
    return dataclasses.replace(target, device=spec and _equipped(spec, target))


def target_for(
    artifact: Artifact, name: str | None, *, threads: int | None = None, on: str | None = None
) -> Target:
    """The named target, or the default one of the artifact's format.

    Raises:
        UsageError: the target takes another format.
        UnmeasuredError: it does not work here.
    """
    chosen = name or (project_target(on) if on else "") or default_target(artifact.format)
    target = open_target(chosen, threads=threads, on=on)
    if not target.opens(artifact.format):
        raise UsageError(
            f"model '{artifact.path}' is {with_article(artifact.format)} file, and target "
            f"'{target.name}' takes {target.format}",
            hint=f"edgekit convert {artifact.path} --to {target.format}",
        )
    if target.device is not None:
        check_runs(target)
    return target


def host(label: str, target: Target | None = None) -> DeviceSpec:
    """This machine as a device, where run.py runs models in edgekit's own Python."""
    options = catalog.load("devices", _HOST).Options()
    spec = DeviceSpec(_HOST, options, label)
    return spec if target is None else _equipped(spec, target)


def through_run_py(target: Target) -> Target:
    """On this machine too a target then runs by the file that its bundle carries."""
    if target.device is not None or not target.runtimes:
        return target
    return dataclasses.replace(target, device=host(target.name, target))


def device_of(target: Target) -> DeviceSpec | None:
    """Where a target's models run; None in this process, which takes no delegates."""
    if target.device is not None:
        return _equipped(target.device, target)
    return host(target.name, target) if target.delegates else None


def _equipped(spec: DeviceSpec, target: Target) -> DeviceSpec:
    return dataclasses.replace(
        spec, runtimes=target.runtimes, delegates=target.delegates, strict=target.strict
    )


def nameless(target: Target) -> str:
    """Why a target cannot run before a library is named, and how that is done; '' where it can."""
    if all(delegate.library for delegate in target.delegates):
        return ""
    return (
        "needs the library of a delegate: --delegate LIB.so[:KEY=VALUE,...], or a target file with "
        f'inherit = "{target.name}" and [[delegate]]'
    )


def unavailable(target: Target) -> str:
    """'' where models of this target can be run now, else why not and what to do."""
    if nameless(target):
        return nameless(target)
    if target.device is not None:
        said = device_module(target.device).unavailable(target.device.options)
        # A way to a device does not know which target takes it.
        return said.replace("--target NAME", f"--target {target.name}")
    problem: str = catalog.load("runners", target.runner).unavailable()
    return problem


def check_runs(target: Target) -> None:
    """Refuses a target whose runtime or device is not there, before any work.

    Raises:
        UnmeasuredError: nothing could be measured; says what installs the runtime.
    """
    problem = unavailable(target)
    if problem:
        raise UnmeasuredError(
            f"target '{target.name}' does not work here: {problem}",
            hint="--on names another device, or this-machine" if target.device else "",
        )
    device_facts(target)


def device_facts(target: Target) -> Mapping[str, Any] | None:
    """What a target's device says of itself: processor, Python, runtimes; None for this machine.

    Raises:
        UnmeasuredError: it does not answer.
    """
    if target.device is None:
        return None
    spec = target.device
    key = repr((spec.via, spec.options))
    if key not in _FACTS:
        _FACTS[key] = _facts(spec)
    return _FACTS[key]


def _facts(spec: DeviceSpec) -> Mapping[str, Any]:
    serving = Serving(spec, {})
    serving.close()
    known = {key: value for key, value in serving.hello.items() if key not in ("schema", "arrays")}
    return {"device": device_module(spec).describe(spec.options), **known}


def elsewhere(target: Target) -> str:
    """Why figures of this machine are not the target's own; '' where they are."""
    here = platform.machine()
    if target.device is not None or not target.machines or here in target.machines:
        return ""
    return f"measured on this machine ({here}), not on {target.name} ({', '.join(target.machines)})"


def elsewhere_notes(target: Target) -> tuple[Note, ...]:
    """The same for a report: what was not executed where it is going to run."""
    reason = elsewhere(target)
    return (Note("not executed", f"on {target.name}", reason),) if reason else ()
