"""An Android device that is reached by adb: by its cable, or over the network."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from edgekit.core.device import Link, Progress
from edgekit.core.schema import build
from edgekit.devices._adb_errors import explain
from edgekit.devices._pipe import PipeLink, Way, printable_word
from edgekit.devices._pipe_errors import last_line
from edgekit.errors import UnmeasuredError, UsageError
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

FORM = "adb:SERIAL[/folder]"
SCHEMES = ("adb",)

_INSTALL = "install Android's platform tools (Debian: sudo apt install adb)"
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")


@dataclass(frozen=True)
class Options:
    """Which device, and what of it is used.

    `serial` is what `adb devices` shows. `python` is a program that adb's own user can start there;
    Android has none of its own.
    """

    serial: str
    dir: str = "/data/local/tmp/edgekit"
    python: str = "python3"
    connect_seconds: float = 20.0

    def __post_init__(self) -> None:
        printable_word("the serial number", self.serial)
        if not _SERIAL.fullmatch(self.serial) or len(self.serial) > 255:
            raise ValueError(f"'{clean(self.serial)}' is no serial number of a device")
        for noun, word in (("dir", self.dir), ("python", self.python)):
            printable_word(noun, word)
            if not word:
                raise ValueError(f"{noun} is empty")
        if not 1 <= self.connect_seconds <= 600:
            raise ValueError(f"connect-seconds must be from 1 to 600, not {self.connect_seconds:g}")


def parse(address: str) -> Options:
    """Reads what follows `adb:` in `adb:SERIAL[/folder]`.

    Raises:
        UsageError: no serial number, or a word that cannot be one.
    """
    serial, slash, folder = address.partition("/")
    if not serial:
        raise UsageError(
            f"'adb:{clean(address)}' is not of the form {FORM}",
            hint="`adb devices` lists the serial numbers",
        )
    more = {"dir": f"/{folder}"} if slash and folder else {}
    return build(Options, {"serial": serial, **more}, where=f"adb:{clean(address)}")


def untimed(options: Options) -> str:
    """It is a machine of its own: times count."""
    return ""


def unavailable(options: Options) -> str:
    """'' where the program is there; the device itself is asked by `connect`."""
    if shutil.which("adb") is None:
        return f"the program 'adb' is not installed: {_INSTALL}"
    return ""


def install(options: Options, progress: Progress) -> None:
    """Nothing can be made for a device of somebody's own.

    Raises:
        UsageError: adb is missing on this machine.
    """
    _require(options)


def connect(options: Options) -> Link:
    """Looks whether the device is ready, starts Python there, and makes the link's folder.

    Raises:
        UnmeasuredError: not there, not allowed, asleep, no Python, no folder: says which.
        UsageError: adb is missing on this machine.
    """
    _require(options)
    _ask_state(options)

    def command(line: str) -> list[str]:
        # -T: no terminal, so that bytes are not changed, and stdin's end reaches the program.
        return ["adb", "-s", options.serial, "shell", "-T", line]

    return PipeLink(
        Way(
            label=describe(options),
            python=options.python,
            folder=options.dir,
            first=command,
            more=command,
            explain=lambda code, said, during: explain(describe(options), said, during),
            hello_seconds=options.connect_seconds,
        )
    )


def describe(options: Options) -> str:
    """`Android device emulator-5554`."""
    return f"Android device {options.serial}"


def _require(options: Options) -> None:
    problem = unavailable(options)
    if problem:
        raise UsageError(f"{describe(options)}: {problem}")


def _ask_state(options: Options) -> None:
    """Before anything else, because `adb shell` waits for a device that is not ready."""
    label = describe(options)
    try:
        done = subprocess.run(
            ["adb", "-s", options.serial, "get-state"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=options.connect_seconds,
        )
    except subprocess.TimeoutExpired:
        raise UnmeasuredError(
            f"{label}: adb did not answer within {options.connect_seconds:g} s",
            hint="restart its server: adb kill-server",
        ) from None
    except OSError as error:
        raise UsageError(f"adb did not start: {error.strerror or error}") from None
    said = done.stderr.decode("utf-8", "replace")
    state = done.stdout.decode("utf-8", "replace").strip() or last_line(said)
    if done.returncode == 0 and state == "device":
        return
    raise explain(label, said or f"device {state}", "") or UnmeasuredError(
        f"{label}: is not ready: '{clean(state)}'", hint="`adb devices` must show it as 'device'"
    )
