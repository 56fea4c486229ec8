"""Checks of what a target file wants installed: pins only, never an option, a path or an URL."""

from __future__ import annotations

import re

__all__ = ["check_debs", "check_module", "check_pins"]

_PIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?==[0-9][A-Za-z0-9.!+_-]*")
_DEB = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def check_pins(pins: tuple[str, ...]) -> None:
    """Raises ValueError where a package has no exact version."""
    if not pins:
        raise ValueError("packages must name one package at least")
    for pin in pins:
        if not _PIN.fullmatch(pin):
            raise ValueError(f"packages must be pins such as 'numpy==1.26.4', not '{pin}'")


def check_debs(names: tuple[str, ...]) -> None:
    """Raises ValueError where a name is none that a Debian package can have."""
    for name in names:
        if not _DEB.fullmatch(name):
            raise ValueError(f"debs must be names such as 'python3-numpy', not '{name}'")


def check_module(name: str) -> None:
    """Raises ValueError where a name cannot stand after `import`."""
    if not _MODULE.fullmatch(name):
        raise ValueError(f"module must be a name such as 'numpy.linalg', not '{name}'")
