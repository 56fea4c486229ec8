"""Training options: their ranges, what data they need, which files change the result."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.schema import build
from edgekit.core.training import ORIGIN, Curve, Epoch, TrainingOptions
from edgekit.errors import UsageError


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "epochs must be at least 1, not 0"),
        ("batch_size", 0, "batch_size must be at least 1, not 0"),
        ("min_steps", -1, "min_steps must be at least 0, not -1"),
        ("patience", -1, "patience must be at least 0, not -1"),
        ("learning_rate", 0.0, "learning_rate must be above 0, not 0.0"),
        ("learning_rate", math.nan, "learning_rate must be above 0, not nan"),
        ("temperature", -4.0, "temperature must be above 0, not -4.0"),
        ("label_smoothing", 1.0, "label_smoothing must be in [0, 1), not 1.0"),
        ("label_smoothing", -0.1, "label_smoothing must be in [0, 1), not -0.1"),
        ("alpha", 1.5, "alpha must be from 0 to 1, not 1.5"),
        ("class_weights", (1.0, -1.0), "class_weights must not be negative"),
        ("augment", ("flip", "crop", "flip"), "augment names something twice"),
        ("teacher", ("source", ""), "teacher has an empty name"),
        ("hooks", "mine.py", "hooks must be python:FILE.py, not 'mine.py'"),
    ],
)
def test_options_have_a_range(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TrainingOptions(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 1),
        ("patience", 0),
        ("label_smoothing", 0.0),
        ("alpha", 0.0),
        ("alpha", 1.0),
        ("class_weights", "balanced"),
        ("class_weights", (0.0, 1.0)),
        ("hooks", "python:mine.py"),
    ],
)
def test_the_ends_of_the_ranges_are_inside(name: str, value: Any) -> None:
    assert getattr(TrainingOptions(**{name: value}), name) == value


def test_a_recipe_says_the_same_with_its_place() -> None:
    with pytest.raises(UsageError) as caught:
        build(TrainingOptions, {"epochs": 0}, where="r.toml: technique 1 'fine-tune'")
    assert caught.value.message == (
        "r.toml: technique 1 'fine-tune': epochs must be at least 1, not 0"
    )


def test_a_recipe_can_say_everything() -> None:
    table = {
        "epochs": 2,
        "batch-size": 8,
        "learning-rate": 1,
        "class-weights": [1, 2],
        "augment": ["flip", "mixup"],
        "teacher": "source",
        "hooks": "python:mine.py",
        "precision": "mixed-bfloat16",
        "strategy": "mirrored",
    }
    built = build(TrainingOptions, table, where="r.toml")
    assert built == TrainingOptions(
        epochs=2,
        batch_size=8,
        learning_rate=1.0,
        class_weights=(1.0, 2.0),
        augment=("flip", "mixup"),
        teacher=("source",),
        hooks="python:mine.py",
        precision="mixed-bfloat16",
        strategy="mirrored",
    )


def test_training_needs_a_batch_and_something_to_decide_by() -> None:
    assert TrainingOptions(batch_size=20).needs == {"train": 20, "select": 1}


def test_the_users_files_are_the_hooks_and_the_teachers_but_not_the_source() -> None:
    options = TrainingOptions(hooks="python:my/hooks.py", teacher=(ORIGIN, "big.tflite"))
    assert options.files == (Path("my/hooks.py"), Path("big.tflite"))
    assert TrainingOptions().files == ()


def test_options_are_frozen_and_go_by_name() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainingOptions().epochs = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        TrainingOptions(2)  # type: ignore[misc]


def test_a_curve_becomes_plain_values_and_comes_back() -> None:
    epoch = Epoch(1.0, 0.5, 1.5, None, 0.1, {"f1": 0.25})
    curve = Curve("tune", "accuracy", (epoch,), 1)
    table = dataclasses.asdict(curve)
    assert Curve(**{**table, "epochs": tuple(Epoch(**row) for row in table["epochs"])}) == curve
