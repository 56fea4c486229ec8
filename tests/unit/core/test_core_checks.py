"""The rows of `edgekit.toml`: what they say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.checks import load_checks, select
from edgekit.core.gate import CheckRow, MaxRegression
from edgekit.core.limits import Limits
from edgekit.errors import UsageError

ROW = """
[[check]]
name     = "kws-int8"
model    = "models/kws.keras"
recipe   = "qat-int8"
target   = "cpu-litert"
data     = "npz:data/kws.npz"
max_size = "60 kB"
max-accuracy-drop = "1 pt"
min_agreement     = "97 %"
worst_class_drop  = "3 pt"
max_latency_ratio = 0.6
max_regression    = { size = "1 %", latency = "5 %", accuracy = "0.5 pt", memory = "5 %" }
min_delegated     = "100 %"
"""
LEAST = '[[check]]\nname = "a"\nmodel = "m"\ntarget = "t"\n'


def load(folder: Path, text: str) -> tuple[CheckRow, ...]:
    (folder / "edgekit.toml").write_text(text)
    return load_checks(folder)


def test_the_row_of_the_manual(tmp_path: Path) -> None:
    (row,) = load(tmp_path, ROW + '[devices.pi]\non = "ssh://pi@pi"\n')
    assert (row.name, row.model, row.recipe) == ("kws-int8", "models/kws.keras", "qat-int8")
    assert row.required
    assert row.where == f"{tmp_path / 'edgekit.toml'}: check 'kws-int8'"
    assert row.limits.source == row.where
    assert row.limits.limits == Limits(
        max_size=60_000,
        max_accuracy_drop=0.01,
        min_agreement=0.97,
        worst_class_drop=0.03,
        max_latency_ratio=0.6,
        min_delegated=1.0,
    )
    assert row.max_regression == MaxRegression(size=0.01, latency=0.05, accuracy=0.005, memory=0.05)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "has no [[check]]", "begins with [[check]]"),
        ("check = 3", "has no [[check]]", ""),
        ("check = [3]", "check 1: must be a table", ""),
        ("[[chekc]]\n", "unknown table 'chekc'", "'check'"),
        (LEAST.replace('model = "m"\n', ""), "check 'a': the key 'model' is missing", ""),
        (LEAST.replace('name = "a"\n', ""), "check 1: the key 'name' is missing", ""),
        (LEAST + 'max_sise = "1 kB"', "check 'a': unknown key 'max_sise'", "'max_size'"),
        (LEAST + 'max_size = "1 kb"', "check 'a': max_size: '1 kb' has the unit 'kb'", ""),
        (LEAST + "max_size = 60000", "check 'a': max_size: 60000 has no unit", ""),
        (LEAST + 'min_agreement = "101 %"', "check 'a': min_agreement cannot be over", ""),
        (LEAST + "max_regression = { sise = '1 %' }", "max_regression: unknown key 'sise'", "size"),
        (LEAST + "max_regression = { accuracy = '1 %' }", "accuracy: '1 %' has the unit", ""),
        (LEAST + 'required = "no"', "required: must be true or false", ""),
        (LEAST + "seed = -1", "seed must be from 0", ""),
        (LEAST + "threads = 0", "threads must be from 1 to 64, not 0", ""),
        (LEAST + 'task = "classification"', "task says something of data", ""),
        (LEAST + 'recipe = "r"\nreference = "m2"', "recipe and reference exclude", ""),
        (LEAST.replace('"a"', '"../a"'), "'../a' cannot be the name", "letters"),
        (LEAST + LEAST.replace('"a"', '"A"'), "check 'A': another row has the name 'a'", ""),
        (LEAST.replace('"a"', '"a\\u001b[2J"'), "cannot be the name", ""),
    ],
)
def test_a_wrong_row_is_refused(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert message in caught.value.message
    assert caught.value.message.startswith(str(tmp_path / "edgekit.toml"))
    assert "\x1b" not in caught.value.message
    assert hint in caught.value.hint


def test_no_project_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_checks(tmp_path)


def test_rows_are_chosen_by_name_in_their_order(tmp_path: Path) -> None:
    rows = load(tmp_path, "".join(LEAST.replace('"a"', f'"{name}"') for name in "abc"))
    assert [row.name for row in select(rows, ("c", "a"))] == ["a", "c"]
    assert select(rows, ()) == rows
    with pytest.raises(UsageError, match="NAME 'd': no") as caught:
        select(rows, ("d",))
    assert caught.value.hint == "known: a, b, c"
