"""What a device's own refusals mean, in one sentence each with what to do."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from typing import Any

from edgekit.errors import UnmeasuredError
from edgekit.text import clean
from edgekit.units import format_bytes

__all__ = ["last_line", "refused", "stopped"]

_OLDEST = "3.8"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TOO_OLD = re.compile(r"^edgekit: python (\d+\.\d+)", re.MULTILINE)


def refused(label: str, reply: Mapping[str, Any]) -> UnmeasuredError:
    """The error for {"error": ...} from the device."""
    error, path = clean(reply.get("error")), clean(reply.get("path", ""))
    if error == "damaged":
        return UnmeasuredError(
            f"{label}: '{path}' arrived damaged", hint="try again, and look at the connection"
        )
    if error == "full" or reply.get("code") in _FULL:
        return UnmeasuredError(
            f"{label}: the disk is full: {_amounts(reply)} in {path}",
            hint="free some space there, or name a folder on another disk behind the host",
        )
    return UnmeasuredError(
        f"{label}: '{path}' cannot be written there: {error}",
        hint="name a folder that this user may write behind the host, or change its owner",
    )


def _amounts(reply: Mapping[str, Any]) -> str:
    needed, free = reply.get("needed"), reply.get("free")
    has = f"{format_bytes(free)} free" if isinstance(free, int) else "no space"
    return f"{format_bytes(needed)} needed, {has}" if isinstance(needed, int) else has


def stopped(label: str, python: str, code: int, stderr: str, during: str) -> UnmeasuredError:
    """The error for a Python on the device that is not there, is too old, or ended by itself."""
    too_old = _TOO_OLD.search(stderr)
    if too_old:
        return UnmeasuredError(
            f"{label}: '{clean(python)}' is Python {too_old[1]} there, and {_OLDEST} is the oldest "
            "that works",
            hint='name a newer one: python = "/path/to/python3" in the device\'s table of '
            "edgekit.toml",
        )
    if code in (126, 127):
        return UnmeasuredError(
            f"{label}: the program '{clean(python)}' cannot be started there",
            hint="install Python there (Debian: sudo apt install python3), or name it: python = "
            '"/path/to/python3" in the device\'s table of edgekit.toml',
        )
    how = f"exit code {code}" if code >= 0 else f"signal {-code}"
    said = last_line(stderr)
    return UnmeasuredError(
        f"{label}: the program there ended {during} ({how}{': ' + said if said else ''})",
        hint="try again; if it ends again, look at the device's memory and its system log",
    )


def last_line(stderr: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return clean(lines[-1], most=200) if lines else ""
