"""Arm Ethos-U by Vela, on its target's device; nothing runs in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from edgekit.core.artifact import Signature
from edgekit.runners._device_only import FRAMEWORKS, PREDICTS, refuse, unavailable, versions

__all__ = [
    "FORMATS",
    "FRAMEWORKS",
    "MODULES",
    "PREDICTS",
    "UNREAL",
    "Options",
    "open",
    "unavailable",
    "versions",
]

FORMATS = ("tflite",)
MODULES: tuple[str, ...] = ()
UNREAL = ""


@dataclass(frozen=True)
class Options:
    """How many threads the kernels take that stand for the NPU."""

    threads: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 64:
            raise ValueError(f"threads must be from 1 to 64, not {self.threads}")


def open(path: Path, signature: Signature, options: object) -> NoReturn:  # noqa: A001 (what core.runner.Runner calls it)
    """Opens nothing in this process.

    Raises:
        UnmeasuredError: always.
    """
    refuse(path, "a model for an Ethos-U is opened by")
