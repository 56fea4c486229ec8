"""The words of an ssh address, checked before any of them reaches a command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from edgekit.devices._pipe import printable_word
from edgekit.errors import UsageError, did_you_mean
from edgekit.text import clean

__all__ = ["FORM", "OPTIONS", "check_host", "check_option", "check_user", "split"]

FORM = "ssh://[user@]host[:port][/folder]"

OPTIONS = frozenset(
    (
        *("AddressFamily", "BindAddress", "Ciphers", "Compression", "HostKeyAlgorithms"),
        *("HostKeyAlias", "IPQoS", "KexAlgorithms", "MACs", "ProxyJump"),
        *("PubkeyAcceptedAlgorithms", "UserKnownHostsFile"),
    )
)
"""Options of ssh that a project's file may set: none of them starts a program or weakens a check.

Whatever else is needed belongs into the user's own ~/.ssh/config."""

_ADDRESS = re.compile(
    r"//(?:(?P<user>[^/@]*)@)?(?P<host>\[[^\]/]*\]|[^:/@\[\]]*)(?::(?P<port>[^/]*))?(?P<dir>/.*)?",
    re.DOTALL,
)
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?|[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]*")
_VALUE = re.compile(r"[A-Za-z0-9_~/][A-Za-z0-9_./~@:,+%\[\]-]*")


def split(address: str) -> dict[str, Any]:
    """The parts of `//[user@]host[:port][/folder]`; `/~/x` is a folder in the home folder.

    Raises:
        UsageError: of another form, with a password, or with a port that is none.
    """
    where = f"'ssh:{clean(address)}'"
    match = _ADDRESS.fullmatch(address)
    if match is None or not match["host"]:
        raise UsageError(f"{where} is not of the form {FORM}", hint="like ssh://pi@raspberrypi")
    parts: dict[str, Any] = {"host": match["host"].strip("[]")}
    if match["user"] is not None:
        if ":" in match["user"]:
            raise UsageError(
                f"'ssh://...@{clean(match['host'])}' has a password in it, which every list of "
                "processes would show",
                hint="log in with a key: ssh-copy-id USER@HOST",
            )
        parts["user"] = match["user"]
    if match["port"] is not None:
        if not re.fullmatch(r"[0-9]{1,5}", match["port"]):
            raise UsageError(f"{where}: the port '{clean(match['port'])}' is not a number")
        parts["port"] = int(match["port"])
    if match["dir"] and match["dir"] != "/":
        folder = match["dir"]
        parts["dir"] = folder[1:] if folder.startswith("/~") else folder
    return parts


def check_host(host: str) -> None:
    """Raises ValueError for what is no name and no number of a host."""
    printable_word("the host", host)
    if not _HOST.fullmatch(host) or len(host) > 255:
        raise ValueError(f"the host '{clean(host)}' is neither a name nor an IP address")


def check_user(user: str) -> None:
    """Raises ValueError for what is no name of a user."""
    printable_word("the user", user)
    if not _USER.fullmatch(user) or len(user) > 255:
        raise ValueError(f"the user '{clean(user)}' is no name of a user")


def check_option(text: str, *, known: Iterable[str] = OPTIONS) -> None:
    """Raises ValueError for an option outside the allow list, or an unusual value."""
    name, equals, value = text.partition("=")
    if name not in known:
        raise ValueError(
            f"ssh-options: '{clean(name)}' cannot be set here, but in your ~/.ssh/config "
            f"({did_you_mean(name, known)})"
        )
    if not equals or not _VALUE.fullmatch(value):
        raise ValueError(f"ssh-options: '{clean(text)}' is not {name}=VALUE")
