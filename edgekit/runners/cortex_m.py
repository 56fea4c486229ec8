"""C for a Cortex-M microcontroller, which runs on a target's device only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edgekit.core.artifact import Signature
from edgekit.runners._device_only import FRAMEWORKS, PREDICTS, refuse, unavailable, versions

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
MODULES: tuple[str, ...] = ()
UNREAL = ""
REFERENCE: Mapping[str, str] = {}
"""Its integers are those of the reference kernels, and there are no others."""


@dataclass(frozen=True)
class Options:
    """None: a microcontroller has one core, which does one thing."""

    threads: int = 1

    def __post_init__(self) -> None:
        if self.threads != 1:
            raise ValueError(f"threads must be 1, not {self.threads}: the core has no more")


def open(path: Path, signature: Signature, options: object) -> NoReturn:  # noqa: A001 (what core.runner.Runner calls it)
    """Opens nothing in this process.

    Raises:
        UnmeasuredError: always.
    """
    refuse(path, "C for a microcontroller runs on")


def products(
    options: Options,
    path: Path,
    *,
    inputs: tuple[Array, ...],
    outputs: tuple[Array, ...],
    ask: object,
) -> Mapping[str, bytes]:
    """The C sources with a Makefile and a test of the golden samples, in the folder `c`.

    Raises:
        UsageError: the model has what C is not generated for.
    """
    from edgekit.mcu.package import write_sources

    files = write_sources(path, inputs=inputs, outputs=outputs, name=path.stem)
    return {f"c/{name}": content for name, content in files.items()}
