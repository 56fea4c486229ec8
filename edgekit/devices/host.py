"""This machine, in the Python that edgekit itself runs in."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

from edgekit.core.device import Link, Progress

__all__ = ["IS_HERE", "Options", "connect", "describe", "install", "unavailable", "untimed"]

IS_HERE = True


@dataclass(frozen=True)
class Options:
    """None: there is one such Python."""


def untimed(options: Options) -> str:
    """It is this machine: times count."""
    return ""


def unavailable(options: Options) -> str:
    """Always there; which runtimes it has is another question."""
    return ""


def install(options: Options, progress: Progress) -> None:
    """Nothing is missing."""


def connect(options: Options) -> Link:
    """Opens a folder in which this Python starts anew."""
    from edgekit.devices._local import ISOLATED, LocalLink
    from edgekit.frameworks.isolated import own_variables

    return LocalLink([sys.executable, *ISOLATED], own_variables(), device="this machine")


def describe(options: Options) -> str:
    """The processor's architecture and the version of Python."""
    return f"this machine ({platform.machine()}), Python {platform.python_version()}"
