"""What adb prints when it fails, as one sentence with what to do."""

from __future__ import annotations

import re

from edgekit.errors import EdgekitError, UnmeasuredError

__all__ = ["explain"]

_LINE = r"^(adb: )?(error: )?"

_KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"device (unauthorized|still authorizing)",
        "does not allow this machine to debug it",
        "unlock its screen and accept the key of this machine there",
    ),
    (
        r"device (offline|still connecting)",
        "is offline",
        "plug the cable in again, or run: adb reconnect offline",
    ),
    (
        r"device '.*' not found|no devices",
        "is not connected to this machine",
        "`adb devices` must list it (USB debugging is switched on in its developer options)",
    ),
    (
        r"more than one (device|emulator)",
        "several devices answer to this serial number",
        "name one as `adb devices` lists it: adb:SERIAL",
    ),
    (
        r"(insufficient|no) permissions",
        "this user may not use it on USB",
        "install the rules for Android devices (Debian: android-sdk-platform-tools-common)",
    ),
    (
        r"target doesn't support PTY args",
        "is too old for a connection that leaves bytes unchanged",
        "Android 7 or later is needed",
    ),
    (
        r"closed$|device .*disconnected|.*(connection reset|Broken pipe)",
        "dropped the connection {during}; there is no result",
        "look at its cable, and try again",
    ),
    (
        r"cannot connect to daemon|failed to (start|check) ",
        "this machine's adb server does not start",
        "adb kill-server, then adb start-server must print no error",
    ),
)
# Only whole lines as adb writes them: a program on the device may write `error: ...` as well.


def explain(label: str, stderr: str, during: str) -> EdgekitError | None:
    """The error for a failure of adb's own; None where a program on the device failed."""
    for pattern, message, hint in _KNOWN:
        if re.search(_LINE + rf"({pattern})", stderr, re.MULTILINE):
            text = message.format(during=during or "in the middle")
            return UnmeasuredError(f"{label}: {text}", hint=hint)
    return None
