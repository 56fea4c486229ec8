"""The seam to a model file format: recognise it, check it, say what is inside."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edgekit.core.artifact import InputScaling
from edgekit.core.description import Description

__all__ = ["Format"]


class Format(Protocol):
    """What a module in `edgekit/formats/` has. Files are hostile until `check` has passed."""

    SUFFIXES: tuple[str, ...]
    """File name endings; the first is the one that edgekit writes ('' is a folder)."""

    def sniff(self, path: Path) -> bool:
        """Recognises the format by content; reads little and imports nothing heavy."""

    def check(self, path: Path) -> None:
        """Checks the whole file, as far as that goes without the framework.

        Raises:
            UsageError: one sentence that names the file and what is wrong with it.
        """

    def digest(self, path: Path) -> str:
        """SHA-256 (hex) of the content; equal for two saves of one model."""

    def parts(self, path: Path) -> tuple[Path, ...]:
        """The other files of a model, beside it; where it is moved or copied they go along."""

    def describe(self, path: Path) -> Description:
        """Reads signature, ops, weights, and where the bytes are.

        Raises:
            UsageError: the model cannot be read; an unknown op or custom layer is named.
        """

    def read_scaling(self, path: Path) -> InputScaling | None:
        """The input scaling that edgekit stored in the file, or None."""

    def write_scaling(self, path: Path, scaling: InputScaling) -> None:
        """Stores the input scaling in a file that edgekit made, so that it travels with it."""
