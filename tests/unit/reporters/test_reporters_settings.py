"""A step's parameters in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import pytest
from training_steps import curve, training_step

from edgekit.core.report import Report
from edgekit.core.training import TrainingOptions
from edgekit.reporters import html, json, markdown
from edgekit.reporters._settings import setting, settings, without_folders

Make = Callable[..., Report]


@dataclass(frozen=True)
class _Inner:
    ratio: float


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "true"),
        ("", "''"),
        ((), "[]"),
        ({}, "{}"),
        ({"a": {"b": (1, None)}}, "{a={b=[1, none]}}"),
        (MappingProxyType({"conv*": 0.5}), "{conv*=0.5}"),
        (Path("/home/me/x.npz"), "x.npz"),
        ("python:/home/me/hooks.py", "python:hooks.py"),
        ("/home/me/teacher.keras", "teacher.keras"),
        (r"C:\me\teacher.keras", "teacher.keras"),
        ("/conv1/Conv", "/conv1/Conv"),
        ("model/conv1*", "model/conv1*"),
        (frozenset({"b", "a"}), "[a, b]"),
        (_Inner(0.5), "{ratio=0.5}"),
        ("a\nb", "a\ufffdb"),
        (1e-05, "1e-05"),
    ],
)
def test_any_value_is_one_line(value: object, text: str) -> None:
    assert setting(value) == text


def test_step_that_trains_shows_what_is_not_as_usual() -> None:
    found = settings({"sparsity": 0.9, "skip": (), **asdict(TrainingOptions(epochs=9))})
    assert found.line == "sparsity=0.9, epochs=9"
    assert found.left_out == len(found.every) - 2


def test_lists_from_a_cached_record_are_as_usual_too() -> None:
    kept = {**asdict(TrainingOptions()), "augment": [], "class_weights": [1.0, 2.0]}
    assert settings(kept).line == "class_weights=[1.0, 2.0]"


def test_step_that_does_not_train_shows_everything() -> None:
    found = settings({"scheme": "int8", "skip": (), "file": None})
    assert found.line == "scheme=int8, skip=[], file=none"
    assert not found.is_cut
    assert settings({}).line == "none"


def test_nested_values_have_a_row_each() -> None:
    found = settings({"layers": {"conv*": 0.5, "inner": {"x": 1}}, "empty": {}})
    assert found.every == (("layers.conv*", "0.5"), ("layers.inner.x", "1"), ("empty", "{}"))


def test_left_out_parameters_are_counted_and_unfold_in_the_page(trained_report: Report) -> None:
    usual = len(asdict(TrainingOptions())) - 1  # all but the epochs
    assert f"epochs=4 ({usual + 1} more in report.json)" in markdown.render(trained_report)
    text = html.render(trained_report)
    assert f"<summary>All {usual + 5} parameters of step 1, prune</summary>" in text
    assert '<th scope="row" class="k">layers.conv*</th>' in text
    assert text.count("<details>") == 1


def test_very_long_line_is_cut_and_unfolds(trained: Make) -> None:
    step = training_step(curve(), layers={f"layer_{i}": 0.5 for i in range(60)})
    assert settings(step.parameters).is_cut
    assert '<th scope="row" class="k">layers.layer_59</th>' in html.render(trained(step))


def test_folders_of_the_machine_are_in_no_output(trained: Make) -> None:
    step = training_step(
        curve(),
        teacher=("source", "/home/me/big.keras"),
        hooks="python:/home/me/h.py",
        file=PurePosixPath("/home/me/data.csv"),
    )
    for reporter in (json, markdown, html):
        assert "/home/me" not in reporter.render(trained(step))


def test_what_is_no_path_is_left_as_it_is() -> None:
    kept = {"a": [1, None], "b": "x"}
    assert without_folders(kept) == kept
