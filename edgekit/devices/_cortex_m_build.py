"""Builds the firmware that runs a model's C sources, once for the same sources and compiler."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import mcu
from edgekit.core.artifact import TensorSpec
from edgekit.devices import _cortex_m_tools as tools
from edgekit.devices._cortex_m_cores import BOARD, Core
from edgekit.errors import PromiseError, UnmeasuredError, UsageError
from edgekit.frameworks.files import cache_root, replacing, sha256
from edgekit.text import clean
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from edgekit.mcu.generate import Sources

__all__ = ["Firmware", "build", "tensor_bytes"]

_FIRMWARE = Path(mcu.__file__).with_name("firmware")
_HARNESS = ("startup.c", "semihosting.c", "counter.c", "bench.c")
_HEADERS = ("startup.h", "semihosting.h", "counter.h")
_SCRIPT = "cortex-m.ld"
_FLAGS = (
    *("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffunction-sections", "-fdata-sections"),
    *("-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections", "-Wl,--strip-debug"),
)
_LIMIT_SECONDS = 300
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_OVERFLOW = re.compile(r"region [`'](FLASH|RAM)' overflowed by (\d+) bytes")


@dataclass(frozen=True)
class Firmware:
    """An ELF file, and the bytes that it takes: of flash (code, constants) and of static RAM."""

    path: Path
    flash: int
    ram: int


def build(sources: Sources, core: Core) -> Firmware:
    """Compiles and links the firmware, or takes it from the cache.

    Raises:
        PromiseError: it is larger than the emulated board's memory.
        UnmeasuredError: the compiler fails; says at what.
        UsageError: the cache folder cannot be written.
    """
    folder, key = cache_root() / "mcu", _key(sources, core)
    for found in folder.glob(f"{key}-*.elf"):
        if found.name == f"{key}-{sha256(found)[:16]}.elf":
            return _measured(found)
    with tempfile.TemporaryDirectory(prefix="edgekit-mcu-") as work:
        made = _compile(sources, core, Path(work))
        kept = folder / f"{key}-{sha256(made)[:16]}.elf"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(kept) as new:
                shutil.copyfile(made, new)
        except OSError as error:
            raise UsageError(
                f"EDGEKIT_CACHE '{cache_root()}': the firmware cannot be kept there: "
                f"{error.strerror or error}",
                hint="make room, or name another folder with EDGEKIT_CACHE",
            ) from None
    return _measured(kept)


def tensor_bytes(spec: TensorSpec) -> int:
    """The bytes of one sample."""
    import numpy as np

    count = 1
    for size in spec.shape:
        count *= size or 1
    return int(count * np.dtype(spec.dtype).itemsize)


def _key(sources: Sources, core: Core) -> str:
    own = {name: (_FIRMWARE / name).read_bytes() for name in (*_HARNESS, *_HEADERS, _SCRIPT)}
    digests = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in sorted({**own, **sources.files}.items())
    }
    parts = [digests, tools.compiler(), *_command(sources, core, Path("/"))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _command(sources: Sources, core: Core, folder: Path) -> list[str]:
    """All at once: a model's sources are a handful of files."""
    own = [name for name in sorted(sources.files) if name.endswith(".c")]
    memory = {
        "FLASH_START": BOARD.flash_start,
        "FLASH_SIZE": BOARD.flash_bytes,
        "RAM_START": BOARD.ram_start,
        "RAM_SIZE": BOARD.ram_bytes,
        "STACK_SIZE": BOARD.stack_bytes,
    }
    return [
        *(tools.COMPILER, *core.flags, *_FLAGS, f"-ffile-prefix-map={folder}=."),
        f"-DINPUT_BYTES={_initializer(sources.inputs)}",
        f"-DOUTPUT_BYTES={_initializer(sources.outputs)}",
        *(f"-Wl,--defsym,{name}={value:#x}" for name, value in memory.items()),
        *("-T", _SCRIPT, *_HARNESS, *own, "-lm", "-o", "firmware.elf"),
    ]


def _initializer(specs: Sequence[TensorSpec]) -> str:
    return "{" + ",".join(str(tensor_bytes(spec)) for spec in specs) + "}"


def _compile(sources: Sources, core: Core, folder: Path) -> Path:
    for name in (*_HARNESS, *_HEADERS, _SCRIPT):
        shutil.copyfile(_FIRMWARE / name, folder / name)
    for name, content in sources.files.items():
        if not _NAME.fullmatch(name) or (folder / name).exists():
            raise UnmeasuredError(f"the C sources have a file of the name {clean(name)!r}")
        (folder / name).write_bytes(content)
    done = _run(_command(sources, core, folder), folder)
    if done.returncode:
        raise _explain(done.stderr)
    return folder / "firmware.elf"


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise UnmeasuredError(f"{command[0]} did not end within {_LIMIT_SECONDS} s") from None
    except OSError as error:
        raise UnmeasuredError(f"{command[0]} does not start: {error.strerror or error}") from None


def _explain(said: str) -> PromiseError | UnmeasuredError:
    for region, more in _OVERFLOW.findall(said):
        name, has = ("flash", BOARD.flash_bytes) if region == "FLASH" else ("RAM", BOARD.ram_bytes)
        return PromiseError(
            f"the model needs {format_bytes(has + int(more))} of {name}, and the emulated board "
            f"has {format_bytes(has)}",
            hint="take a smaller model",
        )
    every = [line for line in said.splitlines() if line.strip()]
    lines = [line for line in every if "error" in line] or every[-1:]
    why = clean(lines[0], most=300) if lines else "it says nothing"
    return UnmeasuredError(
        f"{tools.COMPILER} does not build the model's C sources: {why}",
        hint="report this with the model, it is a fault of edgekit or of the compiler",
    )


def _measured(elf: Path) -> Firmware:
    """Flash and RAM are symbols that the linker script defines."""
    done = _run([tools.SYMBOLS, str(elf)], elf.parent)
    rows = [line.split() for line in done.stdout.splitlines()]
    values = {row[2]: int(row[0], 16) for row in rows if len(row) == 3}
    try:
        return Firmware(elf, values["_flash_used"], values["_ram_used"])
    except KeyError as error:
        raise UnmeasuredError(f"{tools.SYMBOLS} does not find {error} in {elf}") from None
