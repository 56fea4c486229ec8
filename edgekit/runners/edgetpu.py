"""Coral Edge TPU: looked at on its target's device; nothing runs in this process."""

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
UNREAL = "the Edge TPU is not executed here, and nothing else computes what it does"


@dataclass(frozen=True)
class Options:
    """`threads` is one: an Edge TPU has no others."""

    threads: int = 1

    def __post_init__(self) -> None:
        if self.threads != 1:
            raise ValueError(f"threads must be 1, not {self.threads}: an Edge TPU has no others")


def open(path: Path, signature: Signature, options: object) -> NoReturn:  # noqa: A001 (what core.runner.Runner calls it)
    """Opens nothing in this process.

    Raises:
        UnmeasuredError: always.
    """
    refuse(path, "a model for an Edge TPU is opened by")
