"""Runs a firmware in qemu-system-arm on a block of samples, and reads what it says of itself.

Instructions are counted exactly (`edgekit/mcu/firmware/counter.c`), and are the same in every run:
with `-icount shift=0` the emulated clock is the number of instructions.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit.devices import _cortex_m_tools as tools
from edgekit.devices._cortex_m_cores import BOARD, Core
from edgekit.errors import UnmeasuredError
from edgekit.text import clean
from edgekit.units import format_bytes

__all__ = ["Answers", "execute"]

_STUCK = "nothing was measured; report this with the model"
_LINE = re.compile(r"(exact|instructions|stack|samples|end) (\d{1,20})")
_FAULT = re.compile(r"^fault (\d+) (\d+)$", re.MULTILINE)
_FILES_BYTES = 2**31

# What bench.c ends with.
_NO_FILE, _SHORT_FILE, _NOT_WRITTEN, _FAULTED, _STACK_FULL = 20, 21, 22, 23, 24

# The emulator dies with this process, also where nothing is left that could kill it.
_BOUND = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)\n"
    "os.getppid() == int(sys.argv[1]) or sys.exit(1)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)


@dataclass(frozen=True)
class Answers:
    """The outputs of all samples, one after another, and what was counted.

    `instructions` are those of each inference; `exact` says that a loop of known length was counted
    right before; `stack` is the most that was in use, in bytes.
    """

    outputs: bytes
    instructions: tuple[int, ...]
    exact: bool
    stack: int


def execute(elf: Path, core: Core, inputs: bytes, *, limit_seconds: float) -> Answers:
    """Runs the firmware on the samples in `inputs`, which lie there one after another.

    Raises:
        UnmeasuredError: the firmware faults, hangs or runs out of stack, or the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-mcu-") as work:
        folder = Path(work)
        try:
            (folder / "in.bin").write_bytes(inputs)
            done = subprocess.run(
                [*_bound(), tools.EMULATOR, *_words(elf, core)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit_seconds,
            )
        except subprocess.TimeoutExpired:
            raise UnmeasuredError(
                f"the {core.title} did not end within {limit_seconds:.0f} s", hint=_STUCK
            ) from None
        except OSError as error:
            raise UnmeasuredError(
                f"{tools.EMULATOR} cannot be run on the samples: {error.strerror or error}",
                hint="see whether the disk is full",
            ) from None
        if done.returncode:
            raise _explain(core, done.returncode, done.stdout + done.stderr)
        return _answers(folder)


def _bound() -> list[str]:
    if not sys.platform.startswith("linux"):
        return []
    return [sys.executable, "-I", "-S", "-c", _BOUND, str(os.getpid())]


def _words(elf: Path, core: Core) -> list[str]:
    return [
        *("-M", core.machine, "-nographic", "-monitor", "none", "-serial", "none"),
        *("-semihosting-config", "enable=on,target=native", "-icount", "shift=0"),
        *("-kernel", str(elf)),
    ]


def _explain(core: Core, code: int, said: str) -> UnmeasuredError:
    if code == _FAULTED and (match := _FAULT.search(said)):
        cause, address = int(match[1]), int(match[2])
        what = f"the {core.title} faults (CFSR {cause:#010x}, BFAR {address:#010x})"
    elif code == _STACK_FULL:
        what = f"the {core.title} needs more than {format_bytes(BOARD.stack_bytes)} of stack"
    elif code in (_NO_FILE, _SHORT_FILE, _NOT_WRITTEN):
        what = f"the {core.title} cannot read its samples or write its answers (code {code})"
        return UnmeasuredError(what, hint="see whether the disk is full")
    else:
        lines = [line for line in said.splitlines() if line.strip()]
        last = f": {clean(lines[-1], most=200)}" if lines else ""
        what = f"{tools.emulator()} ended with exit code {code}{last}"
    return UnmeasuredError(what, hint=_STUCK)


def _answers(folder: Path) -> Answers:
    words: dict[str, list[int]] = {}
    for word, value in _counts(_read(folder / "counts.txt").decode("ascii", "replace")):
        words.setdefault(word, []).append(value)
    instructions = tuple(words.get("instructions", ()))
    single = ("exact", "stack", "samples", "end")
    if any(len(words.get(word, ())) != 1 for word in single) or words["samples"] != [
        len(instructions)
    ]:
        raise UnmeasuredError("the firmware's counts.txt is not whole", hint=_STUCK)
    outputs = _read(folder / "out.bin")
    return Answers(outputs, instructions, words["exact"] == [1], words["stack"][0])


def _counts(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise UnmeasuredError(
                f"the firmware's counts.txt has the line {clean(line)!r}", hint=_STUCK
            )
        yield match[1], int(match[2])


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _FILES_BYTES:
            raise UnmeasuredError(f"the firmware's {path.name} has over 2 GB", hint=_STUCK)
        return path.read_bytes()
    except OSError as error:
        raise UnmeasuredError(
            f"the firmware's {path.name} cannot be read: {error.strerror or error}", hint=_STUCK
        ) from None
