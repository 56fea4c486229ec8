"""Delegates that a user names with `--delegate`: read, and looked at before anything loads them."""

from __future__ import annotations

import mmap
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.device import Delegate
from edgekit.errors import UsageError
from edgekit.text import clean

__all__ = ["NO_DELEGATION", "Delegation", "check_library", "parse_delegate"]

_CREATE = b"tflite_plugin_create_delegate"
"""The function that makes a library a delegate of TFLite."""
_ELF = b"\x7fELF"
_MACHINES = {
    3: "i686",
    8: "mips",
    21: "ppc64le",
    40: "armv7l",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
"""By `e_machine` in the header of an ELF file, as `platform.machine()` calls them."""
_ALIASES = {"amd64": "x86_64", "arm64": "aarch64", "armv8l": "armv7l", "armv6l": "armv7l"} | {
    f"i{n}86": "i686" for n in (3, 4, 5)
}


@dataclass(frozen=True)
class Delegation:
    """What `--delegate` and `--strict` say together; by default nothing."""

    delegates: tuple[Delegate, ...] = ()
    strict: bool = False

    @classmethod
    def parse(cls, texts: Sequence[str], *, strict: bool = False) -> Delegation:
        """Reads the words of the command line.

        Raises:
            UsageError: one of them is no LIB[:KEY=VALUE,...].
        """
        return cls(tuple(map(parse_delegate, texts)), strict)

    def words(self, option: str = "--delegate") -> list[str]:
        """The options of the command line that say the same."""
        words = []
        for delegate in self.delegates:
            said = ",".join(f"{key}={value}" for key, value in delegate.options.items())
            words += [option, f"{delegate.library}:{said}" if said else delegate.library]
        return words + (["--strict"] if self.strict else [])


NO_DELEGATION = Delegation()


def parse_delegate(text: str) -> Delegate:
    """Reads `LIB[:KEY=VALUE,...]`; the first colon ends the library.

    Raises:
        UsageError: no library, or an option that is no KEY=VALUE, or is said twice.
    """
    library, _, said = text.partition(":")
    form = "it is LIB.so[:KEY=VALUE,...], or the name of a provider of ONNX Runtime"
    if not library.strip() or not library.isprintable():
        raise UsageError(f"--delegate '{clean(text)}': names no library", hint=form)
    options: dict[str, str] = {}
    for pair in said.split(",") if said else ():
        key, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[\w.\-]+", key):
            raise UsageError(
                f"--delegate '{clean(text)}': the option '{clean(pair)}' is no KEY=VALUE", hint=form
            )
        if key in options:
            raise UsageError(
                f"--delegate '{clean(text)}': says '{clean(key)}' twice", hint="say it once"
            )
        options[key] = value
    return Delegate(library, options)


def check_library(library: str) -> str:
    """The absolute path of a delegate's library, looked at but not loaded.

    Raises:
        UsageError: it is not there, no library, no delegate, or that of another machine.
    """
    path, where = Path(library).expanduser(), f"--delegate '{clean(library, most=200)}'"
    build = f"give the path of a library for {platform.machine()} that TFLite can load as one"
    if path.is_dir():
        raise UsageError(f"{where}: is a folder", hint="name the .so file in it")
    if not path.is_file():
        raise UsageError(f"{where}: no such file", hint=build)
    try:
        with path.open("rb") as file:
            head = file.read(20)
            has_it = len(head) == 20 and _holds(file.fileno(), _CREATE)
    except OSError as error:
        raise UsageError(
            f"{where}: cannot be read: {error.strerror or error}", hint="see its permissions"
        ) from None
    if sys.platform == "linux" and not head.startswith(_ELF):
        raise UsageError(f"{where}: is no shared library (ELF)", hint=build)
    other = _other_machine(head)
    if other:
        raise UsageError(
            f"{where}: is built for {other}, and this machine is {platform.machine()}", hint=build
        )
    if not has_it:
        raise UsageError(
            f"{where}: is no TFLite delegate, it has no {_CREATE.decode()}",
            hint="a delegate's library exports that function (TFLite's external delegate)",
        )
    return str(path.absolute())  # Its link may be how people know it.


def _holds(descriptor: int, word: bytes) -> bool:
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content:
        return content.find(word) >= 0


def _other_machine(head: bytes) -> str:
    """What an ELF file is built for, where that is not this machine; '' else."""
    if not head.startswith(_ELF) or len(head) < 20:
        return ""
    number = int.from_bytes(head[18:20], "big" if head[5] == 2 else "little")
    here = platform.machine().lower()
    here = _ALIASES.get(here, here)
    if sys.maxsize < 2**32:  # A 32-bit Python loads 32-bit libraries, whatever the kernel is.
        here = {"aarch64": "armv7l", "x86_64": "i686"}.get(here, here)
    built = _MACHINES.get(number, f"another processor (ELF machine {number})")
    return "" if built == here or here not in _MACHINES.values() else built
