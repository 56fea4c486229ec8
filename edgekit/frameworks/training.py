"""Trains a Keras classifier: seeded, early-stopped, checkpointed after every epoch, resumable.

Same seed, data and machine give the same weights, bit by bit, with or without an interruption:
everything random in an epoch follows from (seed, epoch), and a checkpoint holds the optimizer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.data import Rows
from edgekit.core.notes import Note
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks._checkpoints import Checkpoints, Epoch, plan_digest
from edgekit.frameworks.keras import import_keras
from edgekit.lazy import version
from edgekit.units import format_seconds, format_share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Epoch", "TrainingData", "TrainingResult", "TrainingSettings", "train", "versions"]

Progress = Callable[[str, int], AbstractContextManager[Any]]

_SELECT_BATCH = 256


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast. The learning rate falls to 0 along a cosine over all epochs.

    `patience` is the number of epochs without a lower loss on `select` after which it stops.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    patience: int

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "patience"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Model-ready float samples and whole-number labels; `select` decides, it is never trained on.

    Only one batch of `x` is read at a time, so it can be a lazy reader.
    """

    x_train: Rows
    y_train: Rows
    x_select: Rows
    y_select: Rows


@dataclass(frozen=True)
class TrainingResult:
    """The trained model (best epoch on `select`, no optimizer state) and how it came about.

    `best_epoch` counts from 1; `resumed_after` is the number of epochs found in checkpoints.
    """

    path: Path
    epochs: int
    best_epoch: int
    select_accuracy: float
    history: tuple[Epoch, ...]
    resumed_after: int = 0
    notes: tuple[Note, ...] = ()


def train(
    build_model: Callable[[], Any],
    data: TrainingData,
    settings: TrainingSettings,
    *,
    folder: Path,
    seed: int,
    progress: Progress,
) -> TrainingResult:
    """Trains what `build_model` returns, or goes on from the checkpoint in `folder`.

    Raises:
        UsageError: no samples, or labels that do not fit the samples or the model.
        PromiseError: the loss is not a finite number; the last good checkpoint stays.
    """
    keras = import_keras("training a model")
    labels = _labels(data.x_train, data.y_train), _labels(data.x_select, data.y_select)
    keras.utils.set_random_seed(_draw(seed, 0, 1)[0])
    model = build_model()
    _check_labels(labels, int(model.output_shape[-1]))
    steps = max(1, len(labels[0]) // settings.batch_size)
    checkpoints = Checkpoints(folder, plan_digest(model, settings, seed, labels))
    found = checkpoints.load(keras)
    if found is None:
        _compile(keras, model, settings, steps)
    else:
        model = found
    resumed_after = len(checkpoints.history)
    while not _is_done(checkpoints, settings):
        number = len(checkpoints.history) + 1
        _seed_dropout(model, seed, number)
        started = time.monotonic()
        order = _order(len(labels[0]), seed, number)
        batches = _batches(data.x_train, labels[0], order, settings.batch_size)
        with progress(_status(checkpoints.history, settings), steps) as bar:
            trained = _train_epoch(model, batches, bar=bar, epoch=number)
            selected = _evaluate(model, data.x_select, labels[1])
        _check_finite(selected[0], f"epoch {number}, on the select split")
        checkpoints.add(model, Epoch(*trained, *selected, time.monotonic() - started))
    return _result(keras, checkpoints, resumed_after)


def versions() -> Mapping[str, str]:
    """The packages whose versions change what a training gives; '' where one is not installed."""
    return {package: version(package) for package in ("tensorflow", "keras")}


def _compile(keras: Any, model: Any, settings: TrainingSettings, steps: int) -> None:
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.epochs * steps)
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )


def _draw(seed: int, epoch: int, count: int) -> list[int]:
    """Whole numbers from (seed, epoch) alone: a resumed run draws what it would have drawn."""
    import numpy as np

    return [int(n) for n in np.random.SeedSequence((seed, epoch)).generate_state(count)]


def _seed_dropout(model: Any, seed: int, epoch: int) -> None:
    """Sets what random layers draw from; Keras does not save that state with a model."""
    states = [item for item in model.variables if item.name == "seed_generator_state"]
    for state, value in zip(states, _draw(seed, epoch, len(states)), strict=True):
        state.assign([value, 0])


def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    import numpy as np

    return np.random.default_rng((seed, epoch)).permutation(count)


def _batches(
    x: Rows, y: NDArray[np.int64], order: NDArray[np.int64], size: int
) -> Iterator[tuple[Any, Any]]:
    """Batches of one size, because another size is another graph; the order changes every epoch,
    so that no sample is left out for good."""
    import numpy as np

    for start in range(0, max(1, len(order) // size) * size, size):
        index = order[start : start + size]
        yield np.asarray(x[index], dtype=np.float32), y[index]


def _train_epoch(
    model: Any, batches: Iterator[tuple[Any, Any]], *, bar: Any, epoch: int
) -> tuple[float, float]:
    """Returns the mean loss and accuracy."""
    loss, accuracy, step = 0.0, 0.0, 0
    for step, (x, y) in enumerate(batches, start=1):
        figures = model.train_on_batch(x, y, return_dict=True)
        _check_finite(figures["loss"], f"epoch {epoch}, step {step}")
        loss += float(figures["loss"])
        accuracy += float(figures["accuracy"])
        bar.advance(1)
    return loss / step, accuracy / step


def _evaluate(model: Any, x: Rows, y: NDArray[np.int64]) -> tuple[float, float]:
    """Returns loss and accuracy over all samples, whatever their number."""
    import numpy as np

    loss, accuracy = 0.0, 0.0
    for start in range(0, len(y), _SELECT_BATCH):
        part = slice(start, min(start + _SELECT_BATCH, len(y)))
        samples = np.asarray(x[part], dtype=np.float32)
        figures = model.test_on_batch(samples, y[part], return_dict=True)
        loss += float(figures["loss"]) * len(samples)
        accuracy += float(figures["accuracy"]) * len(samples)
    return loss / len(y), accuracy / len(y)


def _check_finite(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise PromiseError(
            f"training: the loss is {loss} at {where}",
            hint="check the input scaling, or train with a lower learning rate",
        )


def _is_done(checkpoints: Checkpoints, settings: TrainingSettings) -> bool:
    done = len(checkpoints.history)
    return done >= settings.epochs or done - checkpoints.best_epoch >= settings.patience


def _status(history: list[Epoch], settings: TrainingSettings) -> str:
    """The text of a progress bar: which epoch, how well so far, and the time left at most."""
    text = f"epoch {len(history) + 1}/{settings.epochs}"
    if not history:
        return text
    left = sum(epoch.seconds for epoch in history) / len(history)
    left *= settings.epochs - len(history)
    last = history[-1]
    return (
        f"{text}  loss {last.loss:.3f}  select {format_share(last.select_accuracy)}"
        f"  at most {format_seconds(left)} left"
    )


def _labels(x: Rows, y: Rows) -> NDArray[np.int64]:
    import numpy as np

    labels = np.asarray(y[:]).reshape(-1)
    if not len(labels) or len(labels) != len(x):
        raise UsageError(
            f"data: {len(x)} samples with {len(labels)} labels to train or select on",
            hint="every sample needs a label, and both splits need samples",
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise UsageError(
            f"data: labels are {labels.dtype}, but a classifier learns whole numbers",
            hint="number the classes 0, 1, 2, ...",
        )
    return labels.astype(np.int64)


def _check_labels(labels: tuple[NDArray[np.int64], ...], classes: int) -> None:
    low, high = min(int(y.min()) for y in labels), max(int(y.max()) for y in labels)
    if low < 0 or high >= classes:
        raise UsageError(
            f"data: labels go from {low} to {high}, but the model has {classes} classes",
            hint=f"number the classes 0 to {classes - 1}",
        )


def _result(keras: Any, checkpoints: Checkpoints, resumed_after: int) -> TrainingResult:
    return TrainingResult(
        path=checkpoints.finish(keras),
        epochs=len(checkpoints.history),
        best_epoch=checkpoints.best_epoch,
        select_accuracy=checkpoints.history[checkpoints.best_epoch - 1].select_accuracy,
        history=tuple(checkpoints.history),
        resumed_after=resumed_after,
        notes=tuple(checkpoints.notes),
    )
