"""How a training step trains: its options, its figures by epoch, the user's own hooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from edgekit.core.data import SplitName

__all__ = [
    "BEFORE_LOSS",
    "BEFORE_METRIC",
    "ORIGIN",
    "Augmentation",
    "Curve",
    "Epoch",
    "TrainingOptions",
]

Augmentation = Literal["flip", "crop", "mixup", "noise", "shift"]
Precision = Literal["float32", "mixed-float16", "mixed-bfloat16"]
Strategy = Literal["none", "mirrored", "multi-worker"]

BEFORE_LOSS, BEFORE_METRIC = "select_loss_before", "select_metric_before"
"""Figures in `Curve.details`."""

ORIGIN = "source"
"""What `teacher` calls the model that the run began with."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What every technique that trains can be told; a technique's `Parameters` inherit it.

    Attributes:
        epochs: passes over the train split.
        min_steps: small data is passed over more often than `epochs` says, until this many steps of
            the optimizer are made.
        batch_size: samples a step, over all replicas together.
        learning_rate: of the optimizer, before the schedule.
        schedule: `cosine` falls to 0 over all steps (Loshchilov & Hutter, arXiv:1608.03983),
            `linear` likewise in a line, `constant` stays.
        optimizer: adam (Kingma & Ba, arXiv:1412.6980), adamw, or sgd with Nesterov momentum 0.9.
        patience: epochs without a lower loss on the select split after which it stops; 0 never.
        label_smoothing: share of a label that goes to the other classes (arXiv:1512.00567).
        class_weights: `balanced`, or one weight a class; empty for none.
        augment: flip, crop, mixup for images; noise, shift, mixup for series.
        precision: of the computations; weights stay float32.
        strategy: `mirrored` over the GPUs of this machine, `multi-worker` as TF_CONFIG says.
        teacher: models to learn from: `source`, or files of any format that a runner opens.
        temperature, alpha: of distillation (Hinton et al., arXiv:1503.02531); alpha is the share of
            the loss on the data's own labels.
        hooks: `python:FILE.py` with the user's own loss, optimizer, metrics, callbacks, augment or
            train_epoch.
    """

    epochs: int = 3
    min_steps: int = 0
    batch_size: int = 64
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    patience: int = 0
    label_smoothing: float = 0.0
    class_weights: Literal["balanced"] | tuple[float, ...] = ()
    augment: tuple[Augmentation, ...] = ()
    precision: Precision = "float32"
    strategy: Strategy = "none"
    teacher: tuple[str, ...] = ()
    temperature: float = 4.0
    alpha: float = 0.1
    hooks: str = ""

    def __post_init__(self) -> None:
        _at_least(self, 1, "epochs", "batch_size")
        _at_least(self, 0, "min_steps", "patience")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), not {self.label_smoothing}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be from 0 to 1, not {self.alpha}")
        if self.class_weights != "balanced" and any(weight < 0 for weight in self.class_weights):
            raise ValueError("class_weights must not be negative")
        self._check_names()

    def _check_names(self) -> None:
        if len(set(self.augment)) < len(self.augment):
            raise ValueError("augment names something twice")
        if "" in self.teacher:
            raise ValueError("teacher has an empty name")
        if self.hooks and not self.hooks.startswith("python:"):
            raise ValueError(f"hooks must be python:FILE.py, not '{self.hooks}'")

    @property
    def needs(self) -> Mapping[SplitName, int]:
        """A batch to train on, and samples to decide by."""
        return {"train": self.batch_size, "select": 1}

    @property
    def plain(self) -> TrainingOptions:
        """These options alone, without what a technique adds."""
        return TrainingOptions(
            **{item.name: getattr(self, item.name) for item in fields(TrainingOptions)}
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The user's files whose content changes the result."""
        hooks = (Path(self.hooks.removeprefix("python:")),) if self.hooks else ()
        return (*hooks, *(Path(name) for name in self.teacher if name != ORIGIN))


def _at_least(options: TrainingOptions, least: int, *names: str) -> None:
    for name in names:
        if getattr(options, name) < least:
            raise ValueError(f"{name} must be at least {least}, not {getattr(options, name)}")


@dataclass(frozen=True)
class Epoch:
    """Mean figures over one epoch of training, and on the whole `select` split after it.

    `metric` is the accuracy of a classifier, and None where there is no right and wrong.
    `others` are the user's own metrics on the select split.
    """

    loss: float
    metric: float | None
    select_loss: float
    select_metric: float | None
    seconds: float
    others: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """One training: what it was for, its figures by epoch, and the epoch whose weights were kept.

    `best_epoch` counts from 1. `metric` names what `Epoch.metric` is, '' where there is none.
    `details` may have `BEFORE_LOSS` and `BEFORE_METRIC`: the select split before the first epoch.
    """

    title: str
    metric: str
    epochs: tuple[Epoch, ...]
    best_epoch: int
    details: Mapping[str, Any] = field(default_factory=dict)
