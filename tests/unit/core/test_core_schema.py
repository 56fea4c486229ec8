"""TOML and option strings become frozen dataclasses, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.schema import build, parse_options, read_toml
from edgekit.errors import UsageError
from edgekit.units import Bytes


@dataclass(frozen=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True)
class Settings:
    scheme: Literal["int8", "float16"]
    sparsity: float = 0.5
    skip: tuple[str, ...] = ()
    max_size: Bytes | None = None
    on: bool = False
    inner: Inner = Inner()
    ratios: Mapping[str, float] = field(default_factory=dict)
    weights: Literal["balanced"] | tuple[float, ...] = ()
    layers: Mapping[str, tuple[str, ...]] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity <= 1:
            raise ValueError(f"sparsity must be between 0 and 1, not {self.sparsity:g}")


def refusal(table: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(UsageError) as caught:
        build(Settings, table, where="r.toml: technique 2")
    return caught.value.message, caught.value.hint


def test_builds_every_kind_of_field() -> None:
    table = {
        "scheme": "int8",
        "sparsity": 1,
        "skip": ["a*", "b"],
        "max-size": "2 kB",
        "on": True,
        "inner": {"depth": 3},
    }
    assert build(Settings, table, where="r.toml") == Settings(
        "int8", 1.0, ("a*", "b"), 2000, True, Inner(3)
    )


def test_a_table_of_the_users_own_names() -> None:
    table = {"scheme": "int8", "ratios": {"conv-1": 1, "dense_1": 0.25}, "layers": {"a": ["b"]}}
    built = build(Settings, table, where="r.toml")
    assert built.ratios == {"conv-1": 1.0, "dense_1": 0.25}  # layer names stay as they are
    assert all(type(value) is float for value in built.ratios.values())
    assert built.layers == {"a": ("b",)}


@pytest.mark.parametrize(
    ("given", "held"),
    [("balanced", "balanced"), ([1, 2.5], (1.0, 2.5)), ([], ())],
)
def test_a_word_or_an_array(given: Any, held: Any) -> None:
    built = build(Settings, {"scheme": "int8", "weights": given}, where="r.toml")
    assert built.weights == held


def test_a_word_or_an_array_on_the_command_line() -> None:
    assert parse_options(Settings, "scheme=int8,weights=[1,2]", where="-").weights == (1.0, 2.0)
    assert parse_options(Settings, "scheme=int8,weights=balanced", where="-").weights == "balanced"


@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        (
            {"scheme": "int8", "sparcity": 1},
            "r.toml: technique 2: unknown key 'sparcity'",
            "did you mean 'sparsity'?",
        ),
        (
            {"scheme": "int9"},
            "r.toml: technique 2: scheme: unknown value 'int9'",
            "did you mean 'int8'?",
        ),
        ({}, "r.toml: technique 2: the key 'scheme' is missing", ""),
        (
            {"scheme": "int8", "sparsity": "much"},
            "r.toml: technique 2: sparsity: must be a number, not 'much'",
            "",
        ),
        (
            {"scheme": "int8", "sparsity": 2},
            "r.toml: technique 2: sparsity must be between 0 and 1, not 2",
            "leave sparsity out for its default, 0.5",
        ),
        (
            {"scheme": "int8", "sparsity": float("inf")},
            "r.toml: technique 2: sparsity: must be a finite number, not inf",
            "",
        ),
        (
            {"scheme": "int8", "on": 1},
            "r.toml: technique 2: on: must be true or false, not 1",
            "",
        ),
        (
            {"scheme": "int8", "max_size": "2 parsec"},
            "r.toml: technique 2: max_size: '2 parsec' has the unit 'parsec'; a size is in "
            "B, kB, MB, GB, KiB, MiB, GiB, like '256 kB'",
            "",
        ),
        (
            {"scheme": "int8", "inner": {"depht": 1}},
            "r.toml: technique 2: inner: unknown key 'depht'",
            "did you mean 'depth'?",
        ),
        (
            {"scheme": "int8", "ratios": {"conv1": "half"}},
            "r.toml: technique 2: ratios.conv1: must be a number, not 'half'",
            "",
        ),
        (
            {"scheme": "int8", "ratios": 0.5},
            "r.toml: technique 2: ratios: must be a table, not 0.5",
            "",
        ),
        (
            {"scheme": "int8", "weights": "balance"},
            "r.toml: technique 2: weights: unknown value 'balance'",
            "did you mean 'balanced'?",
        ),
        (
            {"scheme": "int8", "weights": [1, "two"]},
            "r.toml: technique 2: weights: must be a number, not 'two'",
            "",
        ),
        (
            {"scheme": ["int8"]},
            "r.toml: technique 2: scheme: unknown value ['int8']",
            "did you mean 'int8'?",
        ),
        (
            {"scheme": "int8", "inner": 3},
            "r.toml: technique 2: inner: must be a table, not 3",
            "",
        ),
    ],
)
def test_refuses_with_place_value_and_nearest_name(
    table: dict[str, Any], message: str, hint: str
) -> None:
    assert refusal(table) == (message, hint)


def test_reads_options_of_the_command_line() -> None:
    text = 'scheme=int8,sparsity=0.25,skip=["a","b,c"],on=true'
    assert parse_options(Settings, text, where="--options") == Settings(
        "int8", 0.25, ("a", "b,c"), None, True
    )
    with pytest.raises(UsageError, match="--options: 'sparsity' is not key=value"):
        parse_options(Settings, "scheme=int8,sparsity", where="--options")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_usage_error(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.toml"
        path.write_bytes(content)
        try:
            assert isinstance(read_toml(path), dict)
        except UsageError as error:
            assert str(path) in error.message


def test_refuses_a_file_too_large_to_be_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "big.toml"
    path.write_text("#" * 1_000_001)
    with pytest.raises(UsageError, match="larger than 1 MB"):
        read_toml(path)
