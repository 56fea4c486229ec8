"""A dataset, its splits, and what a task makes of a model's outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from edgekit.core.notes import Note

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

__all__ = [
    "SPLITS",
    "Dataset",
    "Judgement",
    "Pool",
    "Rows",
    "Score",
    "SplitName",
    "Task",
    "TrainingData",
]

SplitName = Literal["train", "calibrate", "select", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "calibrate", "select", "test")


class Rows(Protocol):
    """Samples along axis 0, read a slice or an index list at a time: an array or a lazy reader."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of samples, then the shape of one."""

    @property
    def dtype(self) -> Any:
        """The numpy dtype of what `__getitem__` returns."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Array: ...


@dataclass(frozen=True, eq=False)
class Pool:
    """Raw samples and their labels: one `Rows` for each model input, one label for each sample.

    `y` is None where there are no labels (a reconstruction is judged against its own input).
    """

    x: tuple[Rows, ...]
    y: Rows | None

    def __len__(self) -> int:
        return len(self.x[0])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Raw data from one place: a training pool, and a test pool where the source has its own.

    Where `test` is None the engine splits it off `train` by seed. `digest` covers every value, so
    that a cached step is never reused for other data. `input_names` is empty where the inputs go by
    position. `notes` name what was dropped or changed while reading. `front_end` is the "input" of
    a bundle's preprocess.json, empty where a sample is an array already.
    """

    name: str
    train: Pool
    test: Pool | None
    digest: str
    class_names: tuple[str, ...] = ()
    input_names: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    front_end: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Model-ready float samples and labels; `select` decides, it is never trained on.

    `x` has one `Rows` for each model input, in the model's order; slices and index lists give
    float arrays. `y` is None where there are no labels: a model that reconstructs its input.
    `classes` is the largest whole-number label + 1, None for labels of another kind.
    """

    x_train: tuple[Rows, ...]
    y_train: Rows | None
    x_select: tuple[Rows, ...]
    y_select: Rows | None
    classes: int | None = None


@dataclass(frozen=True)
class Score:
    """A metric of one model on one set of samples, with its 95 % interval.

    `higher_is_better` orders values; `is_share` says that the value is a share of 1, so that its
    changes are percentage points. `details` are further figures by name; `by_class` is the metric
    for each class.
    """

    metric: str
    value: float
    ci95: tuple[float, float]
    n: int
    higher_is_better: bool = True
    is_share: bool = True
    details: Mapping[str, float] = field(default_factory=dict)
    by_class: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """A result against its reference on the same samples.

    `agreement` is the share of samples on which both models say the same; `right_to_wrong` and
    `wrong_to_right` are flips. They are None for a task that has no right and wrong.
    `smallest_visible_drop` is the smallest drop that these samples can tell from none,
    1.96 * sqrt(d / n) with d the share of samples on which exactly one of the two is right.
    """

    reference: Score
    result: Score
    agreement: float | None
    right_to_wrong: int | None
    wrong_to_right: int | None
    smallest_visible_drop: float | None
    p_worse: float | None = None


class Task(Protocol):
    """Turns model outputs and labels into scores; keeps a few bytes a sample, never the outputs."""

    def update(
        self,
        outputs: Mapping[str, tuple[Array, ...]],
        inputs: tuple[Array, ...],
        labels: Array | None,
    ) -> None:
        """Takes the real-valued outputs of one batch, for each model by its role's name."""

    def score(self, role: str) -> Score:
        """Scores one model over everything that was taken."""

    def compare(self, reference: str, result: str) -> Judgement:
        """Scores two models and how they differ on the same samples."""


Batches = Iterator[tuple[tuple["Array", ...], "Array | None"]]
