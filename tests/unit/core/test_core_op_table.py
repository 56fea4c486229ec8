"""Op tables: what ships is read, and what cannot be one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core import catalog
from edgekit.core.op_table import load_op_table, op_table_names
from edgekit.core.recipe import toml_names
from edgekit.core.target import load_target
from edgekit.errors import UsageError


@pytest.mark.parametrize("name", op_table_names())
def test_what_ships_is_read(name: str) -> None:
    ops, reference = load_op_table(name), load_op_table(name, reference=True)
    assert ops["CONV_2D"] >= 5
    assert set(reference) < set(ops)
    assert all(version <= ops[op] for op, version in reference.items())


def test_what_users_run_into() -> None:
    """Dynamic-range models of today's converter, and CEIL in the reference kernels."""
    assert load_op_table("tflite-runtime-2.14.0")["FULLY_CONNECTED"] < 12
    assert load_op_table("ai-edge-litert-2.3.0")["FULLY_CONNECTED"] >= 12
    assert "CEIL" not in load_op_table("tflite-runtime-2.14.0", reference=True)


def test_a_table_is_no_target() -> None:
    assert not set(op_table_names()) & set(toml_names("targets"))


@pytest.mark.parametrize("target", toml_names("targets"))
def test_the_table_of_a_target_is_there(target: str) -> None:
    name = load_target(target).op_table
    assert not name or load_op_table(name)


@pytest.mark.parametrize("name", ["tflite-runtime-2.14", "../cpu-litert", ""])
def test_unknown(name: str) -> None:
    with pytest.raises(UsageError, match="unknown op table") as error:
        load_op_table(name)
    assert "tflite-runtime-2.14.0" in error.value.hint


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[ops]\nADD = 1", "the key 'summary' is missing"),
        ('summary = "x"\n[ops]', "ops must name one op at least"),
        ('summary = "x"\n[ops]\nadd = 1', "ops: 'add' is not the name of an op"),
        ('summary = "x"\n[ops]\nADD = 0', "ops: ADD must be a version from 1 to 1000, not 0"),
        ('summary = "x"\n[ops]\nADD = "1"', "must be a whole number"),
        ('summary = "x"\nother = 1\n[ops]\nADD = 1', "unknown key 'other'"),
        ('summary = "x"\n[ops]\nADD = 1\n[reference]\nADD = 1', "reference: ADD must be a version"),
        ('summary = "x"\n[ops]\nADD = 1\n[reference]\nSUB = 0', "reference: SUB must be a version"),
    ],
)
def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str) -> None:
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "x.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(catalog, "shipped", lambda folder: tmp_path)
    with pytest.raises(UsageError) as error:
        load_op_table("x")
    assert error.value.message.startswith("targets/ops/x.toml: ")
    assert sentence in error.value.message
