"""Train a smaller model to give the outputs of a larger one, or of several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgekit.core import catalog
from edgekit.core.technique import Trait
from edgekit.core.training import ORIGIN, TrainingOptions

__all__ = ["ZOO", "Parameters"]

ZOO = "zoo:"
"""How the name of a zoo model begins, where a file could stand too."""


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingOptions):
    """Which model learns, and from which; the student takes the source's place.

    The loss is `alpha` of that on the data's own labels and the rest towards the teacher: the
    divergence of the outputs softened by `temperature`, times its square (Hinton et al.,
    arXiv:1503.02531). Several teachers are an ensemble: the mean of their softened probabilities.
    A teacher may have any format that a runner opens; its outputs are computed, not its gradients.
    From an .onnx source the student is a Keras model all the same; it takes the inputs as the
    source does (an image with its channels first is turned inside).

    The student is exactly one of:
        1. `student = "zoo:NAME"`: built for the source's input and classes, untrained;
        2. `student = "FILE"`: a Keras file; its weights are the start;
        3. `width = 0.5`: the source rebuilt with that share of its channels, rounded to multiples
           of `round_to` (8 suits the vector units of most CPUs).

    `features` are pairs "STUDENT_LAYER:TEACHER_LAYER" whose outputs are drawn together as well
    (Romero et al., arXiv:1412.6550); the first teacher must then be a Keras model.

    With `baseline` the same student is trained a second time without a teacher, from the same
    initial weights, with the same options and seed, and the two are compared on the select split.
    The distilled one is the result in any case; the report says which was better. That the source
    had pruned or clustered weights does not carry over: the student is another net.
    """

    keeps: ClassVar[frozenset[Trait]] = frozenset()

    keeps_layers: ClassVar[bool] = False

    epochs: int = 10
    teacher: tuple[str, ...] = (ORIGIN,)
    student: str = ""
    width: float = 0.0
    round_to: int = 1
    features: tuple[str, ...] = ()
    baseline: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.teacher:
            raise ValueError("teacher must name at least one model, 'source' or a file")
        if bool(self.student) == (self.width != 0):
            what = "both are" if self.student else "neither is"
            raise ValueError(f"give exactly one of student and width: {what} there")
        if not self.student and not 0 < self.width < 1:
            raise ValueError(f"width must be between 0 and 1, not {self.width}")
        if self.round_to < 1:
            raise ValueError(f"round_to must be at least 1, not {self.round_to}")
        if self.student and self.round_to != 1:
            raise ValueError("round_to is for width: a student that is named has its own channels")
        for pair in self.features:
            if not all(pair.partition(":")):
                raise ValueError(f"features must be 'STUDENT_LAYER:TEACHER_LAYER', not '{pair}'")
        if self.alpha == 1 and not self.features:
            raise ValueError("alpha must be below 1: at 1 nothing is learned from the teacher")

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The layers whose outputs are drawn together: (student's, teacher's)."""
        split = (pair.partition(":") for pair in self.features)
        return tuple((student, teacher) for student, _, teacher in split)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files whose content changes the result: the user's, and a zoo model's code."""
        if not self.student:
            return super().files
        if self.student.startswith(ZOO):
            name = self.student.removeprefix(ZOO)
            known = name in catalog.names("zoo")  # Where it is not, `check` says so.
            module = catalog.load("zoo", name) if known else catalog
            return (*super().files, Path(str(module.__file__)))
        return (*super().files, Path(self.student))
