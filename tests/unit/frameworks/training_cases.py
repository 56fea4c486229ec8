"""What the training tests train: tiny nets in Keras 3 and tf_keras, seeded data, bars that look."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgekit.core.data import TrainingData
from edgekit.core.training import TrainingOptions
from edgekit.frameworks.training import TrainingResult, evaluate, train

__all__ = [
    "LIBRARIES",
    "OPTIONS",
    "Bars",
    "builder",
    "digest",
    "evaluate_once",
    "halves",
    "library",
    "trained",
]

Library = Literal["keras", "tf_keras"]
Head = Literal["softmax", "logits", "sigmoid", "values", "same"]
LIBRARIES: tuple[Library, ...] = ("keras", "tf_keras")
OPTIONS = TrainingOptions(epochs=4, batch_size=16, learning_rate=3e-2, schedule="cosine")
_UNITS = {"softmax": 2, "logits": 2, "sigmoid": 1, "values": 3}


def library(name: Library) -> Any:
    """The module `keras` or `tf_keras`."""
    from edgekit.frameworks.keras import import_keras, import_tf_keras

    return import_keras("a test") if name == "keras" else import_tf_keras("a test")


def builder(
    name: Library = "keras", head: Head = "softmax", *, dropout: float = 0.5, scale: int = 1
) -> Callable[[], Any]:
    """Builds a net with BatchNorm and dropout, whose states must survive an interruption too."""

    def build() -> Any:
        layers = (keras := library(name)).layers
        image = keras.Input((4, 4, 1), name="image")
        if head == "same":
            middle = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv1")(image)
            return keras.Model(image, layers.Conv2D(1, 3, padding="same", name="out")(middle))
        x = layers.Conv2D(4 * scale, 3, use_bias=False, name="conv1")(image)
        x = layers.BatchNormalization(name="norm1")(x)
        x = layers.ReLU(name="relu1")(x)
        x = layers.Flatten(name="flatten")(x)
        if dropout:
            x = layers.Dropout(dropout, name="dropout")(x)
        activation = head if head in ("softmax", "sigmoid") else None
        return keras.Model(image, layers.Dense(_UNITS[head], activation, name="dense1")(x))

    return build


def halves(count: int = 70, *, seed: int = 0, labels: str = "classes") -> TrainingData:
    """Two classes that a small net learns at once: bright left half or bright right half."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    x = rng.normal(0, 0.3, (count, 4, 4, 1)).astype(np.float32)
    x[y == 0, :, :2] += 1
    x[y == 1, :, 2:] += 1
    made: Any = {"classes": y, "none": None, "values": np.stack([y, 1 - y, 2.0 * y], axis=1)}
    labels_of = made[labels]
    return TrainingData(
        (x[20:],),
        None if labels_of is None else labels_of[20:],
        (x[:20],),
        None if labels_of is None else labels_of[:20],
        2 if labels == "classes" else None,
    )


class Bars:
    """Records the texts of the progress bars; raises at step `stop_at` of the training."""

    def __init__(self, *, stop_at: int = 0) -> None:
        self.texts: list[str] = []
        self.totals: list[int] = []
        self.done: list[int] = []
        self.stop_at = stop_at

    @contextmanager
    def __call__(self, text: str, total: int) -> Iterator[Bars]:
        self.texts.append(text)
        self.totals.append(total)
        self.done.append(0)
        yield self

    def advance(self, count: int = 1, text: str = "") -> None:
        self.done[-1] += count
        if text:
            self.texts.append(text)
        if self.stop_at and self.done[-1] == self.stop_at:
            raise KeyboardInterrupt


def trained(
    folder: Path,
    build: Callable[[], Any] | None = None,
    data: TrainingData | None = None,
    *,
    seed: int = 7,
    bars: Bars | None = None,
    more: dict[str, Any] | None = None,
    **options: Any,
) -> TrainingResult:
    """One training with `OPTIONS`, and those of `options` that differ; `more` goes to `train`."""
    return train(
        build or builder(),
        data if data is not None else halves(),
        replace(OPTIONS, **options),
        folder=folder,
        seed=seed,
        progress=bars or Bars(),
        **(more or {}),
    )


def digest(model: Any) -> str:
    """Of all weights, bit by bit."""
    arrays = (np.ascontiguousarray(array) for array in model.get_weights())
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def evaluate_once(build: Callable[[], Any], data: TrainingData) -> float:
    """The loss of an untrained net."""
    library("keras").utils.set_random_seed(7)
    library("tf_keras").utils.set_random_seed(7)
    return evaluate(build(), data, OPTIONS)[0]
