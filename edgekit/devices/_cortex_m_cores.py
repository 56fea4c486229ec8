"""The cores that C can be built for, and the board of QEMU that has each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["BOARD", "CORES", "Board", "Core", "CpuName"]

CpuName = Literal["cortex-m3", "cortex-m4", "cortex-m7"]


@dataclass(frozen=True)
class Core:
    """What people call it, the board that QEMU emulates, and the compiler's options."""

    title: str
    machine: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Board:
    """Where an emulated board has its memory, and how much of it is the stack."""

    flash_start: int = 0x00000000
    flash_bytes: int = 4 << 20
    ram_start: int = 0x20000000
    ram_bytes: int = 4 << 20
    stack_bytes: int = 64 << 10


BOARD = Board()
"""All MPS2 boards are alike in this."""

CORES: dict[CpuName, Core] = {
    "cortex-m3": Core("Cortex-M3", "mps2-an385", ("-mcpu=cortex-m3", "-mthumb")),
    "cortex-m4": Core(
        "Cortex-M4",
        "mps2-an386",
        ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    ),
    "cortex-m7": Core(
        "Cortex-M7",
        "mps2-an500",
        ("-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
    ),
}
