"""Which targets work on this machine, and why the others do not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata

from edgekit.core import catalog
from edgekit.core.recipe import toml_names
from edgekit.core.target import load_target
from edgekit.engine.device_session import device_module
from edgekit.engine.progress import Progress
from edgekit.engine.targets import unavailable
from edgekit.errors import UsageError
from edgekit.lazy import is_installed

__all__ = ["Checkup", "check_environments", "check_extras", "check_targets", "install"]

_DISTRIBUTION = "edgekit-ml"
_EXTRA = re.compile(r"^([\w.-]+).*;.*extra == ['\"]([\w-]+)['\"]")


@dataclass(frozen=True)
class Checkup:
    """One thing that was checked; `problem` is '' where it works, `where` what then executes."""

    name: str
    summary: str
    problem: str
    where: str = ""


def check_targets(target: str | None = None) -> tuple[Checkup, ...]:
    """Runs a tiny model on the runtime of each target (or of the one named)."""
    found = []
    for name in (target,) if target else toml_names("targets"):
        loaded = load_target(name)
        problem, where = unavailable(loaded), ""
        if loaded.device is not None and not problem:
            where = device_module(loaded.device).describe(loaded.device.options)
        found.append(Checkup(loaded.name, loaded.summary, problem, where))
    return tuple(found)


def install(target: str, bars: Progress) -> None:
    """Makes what a target needs on this machine to be run here, as far as a program can.

    Raises:
        UsageError: it needs nothing of that kind, or what the user has to install first.
    """
    loaded = load_target(target)
    if loaded.device is None:
        raise UsageError(
            f"--install: target '{loaded.name}' needs no device of its own",
            hint=unavailable(loaded) or "it works here already",
        )
    device_module(loaded.device).install(loaded.device.options, bars)


def check_environments() -> tuple[Checkup, ...]:
    """The environments of their own that some conversions make on first use."""
    found = []
    for name in catalog.names("conversions"):
        environment = getattr(catalog.load("conversions", name), "environment", None)
        if environment is not None:
            status = environment()
            problem = f"{status.problem}: {status.hint}" if status.problem else ""
            found.append(Checkup(name, status.summary, problem))
    return tuple(found)


def check_extras() -> tuple[Checkup, ...]:
    """Which optional packages are installed, by the extras in edgekit's own metadata."""
    found = []
    for extra, packages in _extras().items():
        missing = [package for package in packages if not is_installed(package.replace("-", "_"))]
        install = f"not installed: pip install '{_DISTRIBUTION}[{extra}]'"
        found.append(Checkup(extra, ", ".join(packages), install if missing else ""))
    return tuple(found)


def _extras() -> dict[str, list[str]]:
    """Extra -> packages, without the extras that only gather others or serve development."""
    found: dict[str, list[str]] = {}
    try:
        lines = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return {}
    for line in lines:
        if (match := _EXTRA.match(line)) and match[2] not in ("all", "dev"):
            found.setdefault(match[2], []).append(match[1])
    return found
