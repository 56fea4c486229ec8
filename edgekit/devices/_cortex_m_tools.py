"""The compiler and the emulator of a Cortex-M: whether they are there, and which they are."""

from __future__ import annotations

import os
import re
import shutil
from functools import cache

from edgekit.child import said_by
from edgekit.devices._cortex_m_cores import Core

__all__ = ["COMPILER", "EMULATOR", "SYMBOLS", "compiler", "emulator", "problem"]

COMPILER, SYMBOLS, EMULATOR = "arm-none-eabi-gcc", "arm-none-eabi-nm", "qemu-system-arm"
_PACKAGES = {
    COMPILER: "gcc-arm-none-eabi",
    SYMBOLS: "binutils-arm-none-eabi",
    EMULATOR: "qemu-system-arm",
}
_LIBRARY, _LIBRARY_PACKAGE = "libc.a", "libnewlib-arm-none-eabi"
_LIMIT_SECONDS = 20
_VERSION = re.compile(r"(\d+(?:\.\d+)+)")


def problem(core: Core) -> str:
    """Why no firmware for this core can be built or run here; '' where it can."""
    missing = [name for name in _PACKAGES if shutil.which(name) is None]
    packages = [_PACKAGES[name] for name in missing]
    if COMPILER not in missing and not _has_library():
        missing.append(f"{COMPILER}'s C library newlib")
        packages.append(_LIBRARY_PACKAGE)
    elif COMPILER in missing:
        packages.insert(1, _LIBRARY_PACKAGE)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        return (
            f"{' and '.join(missing)} {verb} not installed: on Debian and Ubuntu "
            f"`apt install {' '.join(packages)}`"
        )
    if core.machine not in _said(EMULATOR, "-M", "help").split():
        return f"{emulator()} does not know the board {core.machine}: install QEMU 5.2 or newer"
    return ""


def compiler() -> str:
    """Which compiler: 'arm-none-eabi-gcc 12.2.1'."""
    return f"{COMPILER} {_version(COMPILER, '-dumpfullversion')}"


def emulator() -> str:
    """Which emulator: 'qemu-system-arm 7.2.22'."""
    return f"{EMULATOR} {_version(EMULATOR, '--version')}"


def _has_library() -> bool:
    """The compiler prints the bare name of a library that it does not find."""
    return os.path.isabs(_said(COMPILER, f"-print-file-name={_LIBRARY}").strip())


def _version(program: str, option: str) -> str:
    match = _VERSION.search(_said(program, option))
    return match[1] if match else "(not installed)"


def _said(program: str, *words: str) -> str:
    path = shutil.which(program)
    return _output(path, *words) if path else ""


@cache
def _output(path: str, *words: str) -> str:
    return said_by([path, *words], limit_seconds=_LIMIT_SECONDS)
