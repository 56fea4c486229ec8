"""What a recipe names: parameters as a frozen dataclass, one implementation a model format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from edgekit.core.artifact import Artifact
    from edgekit.core.data import Array, SplitName, TrainingData
    from edgekit.core.description import Description
    from edgekit.core.training import Curve

__all__ = ["Draft", "Models", "Pass", "Technique", "Trait", "Work"]

Trait = Literal["sparsity", "clusters", "integers"]
"""What a technique can give to weights."""

Draft = Callable[[Path], None]
"""Writes to a path the model that a step will make as it is before its training: the layers are
right, and the weights are not."""


class Technique(Protocol):
    """A frozen dataclass whose fields are the TOML keys; a module's `Parameters`.

    It may also have:
        `needs_on(format)`: what it needs on a model of that format, in the place of `needs`;
        `files`: the paths of the user's files that change its result;
        `keeps_layers = False`: the model that comes out has other layers than the one that went in;
        `makes` and `keeps`: what it gives the weights, and what it leaves of what they were given
        before (`Trait`; it keeps everything where it does not say). A recipe in which a step undoes
        what an earlier one made is refused.
    """

    @property
    def needs(self) -> Mapping[SplitName, int]:
        """The data splits without which this technique cannot work, and the least sample count."""


class Models(Protocol):
    """What a check may look at: model files, and nothing else."""

    def describe(self, artifact: Artifact) -> Description:
        """What an artifact holds."""

    def open(self, model: str) -> Artifact:
        """Opens a model file that a recipe names.

        Raises:
            UsageError: no such file, or not a model.
        """


class Work(Models, Protocol):
    """All that a pass may touch. The test split is not among what it can ask for."""

    folder: Path
    """An empty folder of this step's own, for scratch files."""
    output: Path
    """Where the pass writes its result (a file or a folder); the engine renames it into place."""
    checkpoints: Path
    """A folder that is still there when an interrupted step is run again; gone once it is done."""
    seed: int
    origin: Artifact
    """The model that the run began with, before any step."""
    hooks: Mapping[str, Any]
    """Functions passed in Python by what they stand for (`loss`, `optimizer`, ...); mostly none."""

    def samples(self, split: SplitName, count: int | None = None) -> Iterator[tuple[Array, ...]]:
        """Model-ready float inputs (scaled, one tuple of arrays a sample with a batch axis of 1).

        Raises:
            UsageError: no data was given, or the pass did not declare this split in `needs`.
        """

    def training_data(self) -> TrainingData:
        """The train and select splits, model-ready, read a batch at a time.

        Raises:
            UsageError: no data was given, or the pass did not declare both splits in `needs`.
        """

    def probes(self, count: int) -> tuple[Array, ...]:
        """Inputs to compare two models on, (count, ...): real ones where there is data, else seeded
        random ones, which is noted."""

    def predict(self, artifact: Artifact, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Runs a model of any format on model-ready float inputs; returns real-valued outputs."""

    def ancestor(self, format: str) -> Artifact | None:
        """The nearest artifact of that format from which the current one was made."""

    def note(self, what: str, item: str, reason: str) -> None:
        """Puts on record what was skipped, dropped or done in another way."""

    def evidence(self, what: str, item: str, found: str) -> None:
        """Puts on record what was checked and what was found."""

    def record(self, curve: Curve) -> None:
        """Puts a training's figures by epoch on record; the report draws them."""

    def progress(self, text: str, total: int) -> AbstractContextManager[Any]:
        """Shows a progress bar; its value has `advance(count=1, text='')`."""


class Pass(Protocol):
    """What a module that turns artifacts into artifacts has: declare, check, act, check.

    A module in `techniques/NAME/FORMAT.py` works on that format, and keeps it unless it has
    `PRODUCES`. A module in `conversions/SOURCE_to_TARGET.py` also has `Parameters`.

    It may also have:
        `PREPARED_BY = "NAME"`: the technique that the planner inserts before the first step that
        says so, with its default parameters, where the recipe does not name it itself;
        `rungs(parameters) -> tuple[Rung, ...]` and `rank(parameters, source, work)
        -> tuple[tuple[str, float], ...]`, for a technique whose parameters have `ladder`: what is
        tried in which order, and the names of the ops that cost the most accuracy, the worst
        first, each with what it costs. `work` declares what the parameters' `needs` say.
    """

    def check(self, parameters: Any, source: Artifact, models: Models) -> Draft | None:
        """Before any work: raises UsageError where this technique cannot apply to this model.

        Where the recipe trains or changes weights before this step, `source` is the model as it was
        before that: its layers count, not its weights.

        A technique with `keeps_layers = False` may return the draft of what it will make: the
        checking of the steps behind it goes on with that. Without one they are asked when their
        turn comes.
        """

    def apply(self, parameters: Any, source: Artifact, work: Work) -> None:
        """Writes `work.output`."""

    def verify(self, parameters: Any, source: Artifact, result: Artifact, work: Work) -> None:
        """After the work: raises PromiseError where the result is not what was declared."""

    def versions(self) -> Mapping[str, str]:
        """The packages whose versions change the result; part of the cache key."""
