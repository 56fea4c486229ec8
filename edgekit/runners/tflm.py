"""TensorFlow Lite Micro's interpreter, in an environment of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edgekit.core.artifact import Signature
from edgekit.errors import UnmeasuredError
from edgekit.runners._device_only import FRAMEWORKS, PREDICTS, refuse, unavailable, versions
from edgekit.units import Bytes

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = [
    "FORMATS",
    "FRAMEWORKS",
    "MODULES",
    "PREDICTS",
    "REFERENCE",
    "UNREAL",
    "Options",
    "open",
    "products",
    "unavailable",
    "versions",
]

FORMATS = ("tflite",)
MODULES: tuple[str, ...] = ("tflite_micro",)
UNREAL = ""
REFERENCE: Mapping[str, str] = {}
"""Its kernels have integers that are the same everywhere, and there are no others."""


@dataclass(frozen=True)
class Options:
    """`arena`: the bytes that all tensors share; without it the model gets what it needs."""

    threads: int = 1
    arena: Bytes | None = None

    def __post_init__(self) -> None:
        if self.threads != 1:
            raise ValueError(f"threads must be 1, not {self.threads}: it runs in no other")
        if self.arena is not None and not 1 <= self.arena <= 2**30:
            raise ValueError(f"arena must be from 1 byte to 1 GB, not {self.arena} bytes")


def open(path: Path, signature: Signature, options: object) -> NoReturn:  # noqa: A001 (what core.runner.Runner calls it)
    """Opens nothing in this process.

    Raises:
        UnmeasuredError: always.
    """
    refuse(path, "TensorFlow Lite Micro runs on")


def products(
    options: Options,
    path: Path,
    *,
    inputs: tuple[Array, ...],
    outputs: tuple[Array, ...],
    ask: Callable[[], tuple[tuple[Array, ...], int | None]],
) -> Mapping[str, bytes]:
    """The folder `tflm/` of a bundle: C++ for a project with TensorFlow Lite Micro, and its test.

    The golden outputs are those of TensorFlow Lite Micro, not of LiteRT's reference kernels.

    Raises:
        UsageError: an op that TensorFlow Lite Micro lacks.
        UnmeasuredError: it does not run here, so that nobody knows how large its arena is.
    """
    from edgekit.mcu.tflm_sources import tflm_sources

    own, memory = ask()
    if memory is None:
        raise UnmeasuredError(f"{path}: TensorFlow Lite Micro did not say what arena it needs")
    made = tflm_sources(path, arena_bytes=options.arena or memory, golden=(inputs, own))
    return {f"tflm/{name}": content for name, content in made.items()}
