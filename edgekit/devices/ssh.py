"""A device that is reached by ssh: a board on the desk, or in a test farm"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.device import Link, Progress
from edgekit.core.schema import build
from edgekit.devices._pipe import PipeLink, Way, printable_word
from edgekit.devices._ssh_address import FORM, check_host, check_option, check_user, split
from edgekit.devices._ssh_errors import Host, explain
from edgekit.errors import UsageError
from edgekit.text import clean

__all__ = [
    "FORM",
    "SCHEMES",
    "Options",
    "connect",
    "describe",
    "install",
    "parse",
    "unavailable",
    "untimed",
]

SCHEMES = ("ssh",)

_FOLDER = "~/.edgekit"
_ALIVE_SECONDS = 5
_ALIVE_COUNT = 3
_LONGEST_SOCKET = 80
_INSTALL = "install the OpenSSH client (Debian: sudo apt install openssh-client)"


@dataclass(frozen=True)
class Options:
    """Where it is, and what of it is used; what is not said comes from the user's ~/.ssh/config.

    `dir` is the folder on the device below which every link makes its own and removes it again;
    `python` is a program there, `~/venv/bin/python` for one of a virtual environment.
    """

    host: str
    user: str = ""
    port: int | None = None
    dir: str = _FOLDER
    python: str = "python3"
    connect_seconds: float = 10.0
    identity: str = ""
    ssh_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_host(self.host)
        if self.user:
            check_user(self.user)
        if self.port is not None and not 1 <= self.port <= 65535:
            raise ValueError(f"the port must be from 1 to 65535, not {self.port}")
        for noun, word in (("dir", self.dir), ("python", self.python)):
            printable_word(noun, word)
            if not word:
                raise ValueError(f"{noun} is empty")
        printable_word("identity", self.identity)
        if not 1 <= self.connect_seconds <= 600:
            raise ValueError(f"connect-seconds must be from 1 to 600, not {self.connect_seconds:g}")
        for option in self.ssh_options:
            check_option(option)


def parse(address: str) -> Options:
    """Reads what follows `ssh:` in `ssh://[user@]host[:port][/folder]`.

    Raises:
        UsageError: of another form, or with a word that no host, user or folder can have.
    """
    return build(Options, split(address), where=f"ssh:{clean(address)}")


def untimed(options: Options) -> str:
    """It is a machine of its own: times count."""
    return ""


def unavailable(options: Options) -> str:
    """'' where this machine has what it needs to call the device; the device itself is not asked,
    because only a connection tells, and `connect` says why there is none."""
    if shutil.which("ssh") is None:
        return f"the program 'ssh' is not installed: {_INSTALL}"
    if options.identity and not _identity(options).is_file():
        return f"identity '{options.identity}': no such file"
    return ""


def install(options: Options, progress: Progress) -> None:
    """Nothing can be made for a device of somebody's own.

    Raises:
        UsageError: something is missing on this machine.
    """
    _require(options)


def connect(options: Options) -> Link:
    """Logs in, starts Python there, and makes the link's folder.

    One connection stays open until the end, and others pass through it.

    Raises:
        UnmeasuredError: not reached, not let in, no Python, no folder: says which.
        UsageError: this machine lacks what is needed.
    """
    _require(options)
    host = _host(options)
    socket, finish = _socket()
    base = ["ssh", *_rules(options)]
    name = ["--", options.host]
    return PipeLink(
        Way(
            label=host.label,
            python=options.python,
            folder=options.dir,
            first=lambda command: [*base, *_shared(socket, "yes"), *name, command],
            more=lambda command: [*base, *_shared(socket, "no"), *name, command],
            explain=lambda code, said, during: explain(host, code, said, during=during),
            hello_seconds=options.connect_seconds + _ALIVE_SECONDS * (_ALIVE_COUNT + 1),
            finish=finish,
        )
    )


def describe(options: Options) -> str:
    """`pi@raspberrypi.local`."""
    return _host(options).label


def _host(options: Options) -> Host:
    return Host(options.host, options.user, options.port, options.ssh_options)


def _require(options: Options) -> None:
    problem = unavailable(options)
    if problem:
        raise UsageError(f"{describe(options)}: {problem}")


def _identity(options: Options) -> Path:
    return Path(options.identity).expanduser()


def _rules(options: Options) -> list[str]:
    """What holds for every connection; ssh takes the first value that it is given, so neither the
    options behind these nor the user's own file can undo them."""
    values = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "ConnectTimeout": str(round(options.connect_seconds)),
        "ServerAliveInterval": str(_ALIVE_SECONDS),
        "ServerAliveCountMax": str(_ALIVE_COUNT),
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
        "ControlPersist": "no",
        "LogLevel": "INFO",
    }
    words = ["-T", "-a", "-x", "-e", "none"]
    for key, value in values.items():
        words += ["-o", f"{key}={value}"]
    for option in options.ssh_options:
        words += ["-o", option]
    if options.identity:
        words += ["-o", "IdentitiesOnly=yes", "-i", str(_identity(options))]
    if options.port is not None:
        words += ["-p", str(options.port)]
    if options.user:
        words += ["-l", options.user]
    return words


def _shared(socket: str, is_master: str) -> list[str]:
    """A later connection through the first takes some ms instead of a key exchange; where the
    server allows one session only, ssh connects anew by itself."""
    return ["-o", f"ControlMaster={is_master if socket else 'no'}", "-S", socket or "none"]


def _socket() -> tuple[str, Callable[[], None]]:
    """A path for the shared connection that only this user can reach; '' where paths are too long
    for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="edgekit-ssh-"))
    path = str(folder / "s")

    def finish() -> None:
        shutil.rmtree(folder, ignore_errors=True)

    return (path if len(os.fsencode(path)) <= _LONGEST_SOCKET else ""), finish
