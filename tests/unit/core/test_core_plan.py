"""The planner is pure: recipe x target x source format -> steps."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.core.limits import Limits, SourcedLimits
from edgekit.core.plan import Abilities, make_plan
from edgekit.core.recipe import Recipe, RecipeStep
from edgekit.core.target import Target
from edgekit.errors import UsageError

ABILITIES = Abilities(
    techniques={
        "train": frozenset({"keras"}),
        "quantize": frozenset({"tflite", "onnx"}),
        "anywhere": frozenset({"keras", "tflite"}),
    },
    conversions=frozenset({("keras", "tflite"), ("keras", "onnx")}),
)


def plan(source: str, target: str, *techniques: str) -> list[tuple[str, str, str]]:
    limits = SourcedLimits(Limits(), "recipes/r.toml")
    recipe = Recipe("r", "", tuple(RecipeStep(name, None) for name in techniques), limits)
    device = Target("t", "", target, "null", None, limits)
    made = make_plan(recipe, device, source, abilities=ABILITIES)
    return [(step.name, step.accepts, step.produces) for step in made.steps]


def test_uses_the_implementation_of_the_current_format() -> None:
    assert plan("keras", "tflite", "anywhere") == [
        ("anywhere", "keras", "keras"),
        ("keras-to-tflite", "keras", "tflite"),
    ]


def test_converts_towards_the_target_where_a_technique_needs_it() -> None:
    steps = [("keras-to-onnx", "keras", "onnx"), ("quantize", "onnx", "onnx")]
    assert plan("keras", "onnx", "quantize") == steps
    assert plan("keras", "tflite", "train", "quantize") == [
        ("train", "keras", "keras"),
        ("keras-to-tflite", "keras", "tflite"),
        ("quantize", "tflite", "tflite"),
    ]


def test_needs_no_step_where_the_source_is_already_what_the_target_takes() -> None:
    assert plan("tflite", "tflite") == []


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (
            ("tflite", "tflite", "train"),
            "recipes/r.toml: technique 1: 'train' cannot work on a tflite model",
            "it works on keras",
        ),
        (
            ("tflite", "onnx", "quantize"),
            "target 't' takes onnx, and nothing converts tflite to onnx",
            "nothing converts tflite files",
        ),
        (
            ("onnx", "tflite"),
            "target 't' takes tflite, and nothing converts onnx to tflite",
            "nothing converts onnx files",
        ),
        (
            ("keras", "vhdl"),
            "target 't' takes vhdl, and nothing converts keras to vhdl",
            "keras converts to onnx, tflite",
        ),
    ],
)
def test_says_before_any_work_what_cannot_be(arguments: Any, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(*arguments)
    assert (caught.value.message, caught.value.hint) == (message, hint)
