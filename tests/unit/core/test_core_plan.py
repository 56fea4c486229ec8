"""The planner is pure: recipe x target x source format -> steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edgekit.core.limits import Limits, SourcedLimits
from edgekit.core.plan import Abilities, make_plan
from edgekit.core.recipe import Recipe, RecipeStep
from edgekit.core.target import Target
from edgekit.errors import UsageError

ABILITIES = Abilities(
    techniques={
        "train": {"keras": "keras"},
        "quantize": {"tflite": "tflite", "onnx": "onnx"},
        "anywhere": {"keras": "keras", "tflite": "tflite", "onnx": "onnx"},
        "trained-integers": {"keras": "tflite"},
        "tidy": {"onnx": "onnx"},
        "tidied": {"onnx": "onnx"},
    },
    conversions=frozenset({("keras", "tflite"), ("keras", "onnx")}),
    preparations={
        ("tidied", "onnx"): RecipeStep("tidy", None),
        ("anywhere", "onnx"): RecipeStep("tidy", None),
    },
)


@dataclass(frozen=True)
class Zeros:
    """What `prune` says of itself."""

    makes: ClassVar[frozenset[str]] = frozenset({"sparsity"})
    keeps: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class Dense:
    """Training that knows nothing of zeros, on two splits and a file of the user's."""

    keeps: ClassVar[frozenset[str]] = frozenset({"clusters"})
    needs: ClassVar[dict[str, int]] = {"train": 64, "select": 1}
    files: ClassVar[tuple[Path, ...]] = (Path("mine.py"),)


@dataclass(frozen=True)
class Integers:
    makes: ClassVar[frozenset[str]] = frozenset({"integers"})
    keeps: ClassVar[frozenset[str]] = frozenset({"sparsity"})


def plan(source: str, target: str, *techniques: Any) -> list[tuple[str, str, str]]:
    """Techniques are names, or pairs of a name and parameters."""
    limits = SourcedLimits(Limits(), "recipes/r.toml")
    pairs = [item if isinstance(item, tuple) else (item, None) for item in techniques]
    recipe = Recipe("r", "", tuple(RecipeStep(*pair) for pair in pairs), limits)
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


def test_what_prepares_a_technique_is_inserted_once_and_where_it_is_needed() -> None:
    tidy = ("tidy", "onnx", "onnx")
    assert plan("onnx", "onnx", "anywhere", "tidied") == [
        tidy,
        ("anywhere", "onnx", "onnx"),
        ("tidied", "onnx", "onnx"),
    ]
    assert plan("keras", "onnx", "tidied")[-2:] == [
        tidy,
        ("tidied", "onnx", "onnx"),
    ]
    named = plan("onnx", "onnx", "tidy", "anywhere")
    assert named == [tidy, ("anywhere", "onnx", "onnx")]
    assert plan("onnx", "onnx") == []
    assert tidy not in plan("keras", "tflite", "anywhere")


def test_needs_may_depend_on_the_format() -> None:
    class Parameters:
        def needs_on(self, format: str) -> dict[str, int]:
            return {} if format == "onnx" else {"train": 1}

    limits = SourcedLimits(Limits(), "recipes/r.toml")
    recipe = Recipe("r", "", (RecipeStep("anywhere", Parameters()),), limits)
    for source, needs in (("onnx", frozenset()), ("tflite", frozenset({"train"}))):
        device = Target("t", "", source, "null", None, limits)
        assert make_plan(recipe, device, source, abilities=ABILITIES).needs == needs


def test_a_technique_may_produce_another_format() -> None:
    assert plan("keras", "tflite", "train", "trained-integers", "quantize") == [
        ("train", "keras", "keras"),
        ("trained-integers", "keras", "tflite"),
        ("quantize", "tflite", "tflite"),
    ]


def test_a_step_that_keeps_what_was_made_may_follow_and_one_that_says_nothing_keeps_all() -> None:
    steps = plan("keras", "tflite", ("anywhere", Zeros()), "train", ("quantize", Integers()))
    assert [name for name, _, _ in steps] == ["anywhere", "train", "keras-to-tflite", "quantize"]


@pytest.mark.parametrize(
    ("first", "then", "message", "hint"),
    [
        (
            ("anywhere", Zeros()),
            ("train", Dense()),
            "recipes/r.toml: technique 2: 'train' would undo the sparsity that 'anywhere' makes "
            "before it",
            "name 'train' before 'anywhere'",
        ),
        (
            ("anywhere", Zeros()),
            ("anywhere", Zeros()),
            "recipes/r.toml: technique 2: 'anywhere' would undo the sparsity that 'anywhere' makes "
            "before it",
            "one of the two is enough: leave the other out",
        ),
        (
            ("quantize", Integers()),
            ("anywhere", Zeros()),
            "recipes/r.toml: technique 2: 'anywhere' would undo the integers that 'quantize' makes "
            "before it",
            "name 'anywhere' before 'quantize'",
        ),
    ],
)
def test_a_step_that_undoes_an_earlier_one_is_refused(
    first: Any, then: Any, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan("keras", "tflite", first, then)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_what_is_undone_may_lie_several_steps_back() -> None:
    steps = [("anywhere", Zeros()), ("anywhere", Integers()), ("train", Dense())]
    with pytest.raises(UsageError, match="technique 3: 'train' would undo the sparsity"):
        plan("keras", "tflite", *steps)


def test_a_plan_says_what_data_it_needs_and_which_files_it_reads() -> None:
    limits = SourcedLimits(Limits(), "r.toml")
    recipe = Recipe("r", "", (RecipeStep("train", Dense()), RecipeStep("quantize", None)), limits)
    device = Target("t", "", "tflite", "null", None, limits)
    made = make_plan(recipe, device, "keras", abilities=ABILITIES)
    assert made.needs == {"train", "select"}
    assert [dict(step.needs) for step in made.steps] == [{"train": 64, "select": 1}, {}, {}]
    assert [step.files for step in made.steps] == [(Path("mine.py"),), (), ()]
    assert [step.settings for step in made.steps] == [{}, {}, {}]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (
            ("tflite", "tflite", "train"),
            "recipes/r.toml: technique 1: 'train' cannot work on a tflite model",
            "it works on keras",
        ),
        (
            ("keras", "tflite", "trained-integers", "train"),
            "recipes/r.toml: technique 2: 'train' cannot work on a tflite model",
            "it works on keras: name it before 'trained-integers'",
        ),
        (
            ("keras", "tflite", "quantize", "train"),
            "recipes/r.toml: technique 2: 'train' cannot work on a tflite model",
            "it works on keras: name it before 'quantize'",
        ),
        (
            ("keras", "tflite", "unheard-of"),
            "recipes/r.toml: technique 1: 'unheard-of' cannot work on a tflite model",
            "it works on no format yet",
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
