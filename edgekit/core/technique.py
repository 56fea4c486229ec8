"""What a recipe names: parameters as a frozen dataclass, one implementation a model format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgekit.core.artifact import Artifact
from edgekit.core.data import SplitName
from edgekit.core.description import Description

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["Pass", "Technique", "Work"]


class Technique(Protocol):
    """A frozen dataclass whose fields are the TOML keys; a module's `Parameters`."""

    @property
    def needs(self) -> frozenset[SplitName]:
        """The data splits without which this technique cannot work."""


class Work(Protocol):
    """All that a pass may touch. The test split is not among what it can ask for."""

    folder: Path
    """An empty folder of this step's own, for scratch files."""
    output: Path
    """Where the pass writes its result (a file or a folder); the engine renames it into place."""
    seed: int

    def samples(self, split: SplitName, count: int | None = None) -> Iterator[tuple[Array, ...]]:
        """Model-ready float inputs (scaled, one tuple of arrays a sample with a batch axis of 1).

        Raises:
            UsageError: no data was given, or the pass did not declare this split in `needs`.
        """

    def probes(self, count: int) -> tuple[Array, ...]:
        """Inputs to compare two models on, (count, ...): real ones where there is data, else seeded
        random ones, which is noted."""

    def describe(self, artifact: Artifact) -> Description:
        """What an artifact holds."""

    def predict(self, artifact: Artifact, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Runs a model of any format on model-ready float inputs; returns real-valued outputs."""

    def ancestor(self, format: str) -> Artifact | None:
        """The nearest artifact of that format from which the current one was made."""

    def note(self, what: str, item: str, reason: str) -> None:
        """Puts on record what was skipped, dropped or done in another way."""

    def evidence(self, what: str, item: str, found: str) -> None:
        """Puts on record what was checked and what was found."""

    def progress(self, text: str, total: int) -> AbstractContextManager[Any]:
        """Shows a progress bar; its value has `advance(count=1)`."""


class Pass(Protocol):
    """What a module that turns artifacts into artifacts has: declare, check, act, check.

    A module in `techniques/NAME/FORMAT.py` works on that format, and keeps it unless it has
    `PRODUCES`. A module in `conversions/SOURCE_to_TARGET.py` also has `Parameters`.
    """

    def check(self, parameters: Any, source: Description) -> None:
        """Before any work: raises UsageError where this technique cannot apply to this model."""

    def apply(self, parameters: Any, source: Artifact, work: Work) -> None:
        """Writes `work.output`."""

    def verify(self, parameters: Any, source: Artifact, result: Artifact, work: Work) -> None:
        """After the work: raises PromiseError where the result is not what was declared."""

    def versions(self) -> Mapping[str, str]:
        """The packages whose versions change the result; part of the cache key."""
