"""What the runners share whose models run on their target's device and never in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from edgekit.errors import UnmeasuredError

__all__ = ["FRAMEWORKS", "PREDICTS", "refuse", "unavailable", "versions"]

PREDICTS: tuple[str, ...] = ()
FRAMEWORKS: frozenset[str] = frozenset()


def refuse(path: Path, what: str) -> NoReturn:
    """Opens nothing in this process.

    Raises:
        UnmeasuredError: always; `what` runs on its device.
    """
    raise UnmeasuredError(f"{path}: {what} its target's own device only", hint="leave --on out")


def unavailable() -> str:
    """Whether it works depends on the target's device, which says so itself."""
    return ""


def versions() -> Mapping[str, str]:
    """Those of the device count."""
    return {}
