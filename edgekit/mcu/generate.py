"""Generates the C sources of an int8 .tflite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.artifact import TensorSpec

__all__ = ["Sources", "generate"]


@dataclass(frozen=True)
class Sources:
    """C files by name, and what they need: RAM for activations, flash for constants, in bytes.

    `inputs` and `outputs` are in the order of ek_input() and ek_output(); `ops` are the kinds in
    the order in which they run.
    """

    files: Mapping[str, bytes]
    arena_bytes: int
    constant_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ops: tuple[str, ...]


def generate(path: Path) -> Sources:
    """Skeleton."""
    raise NotImplementedError
