"""Vela's warnings and tables, read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vela_fakes import HEADER, REFUSED, SUMMARY

from edgekit.devices._vela_report import (
    Refusal,
    failure,
    read_cpu_rows,
    read_refusals,
    read_summary,
)
from edgekit.errors import UnmeasuredError

FLOAT = (
    "Warning (supported operators) operator: QUANTIZE, ofm: 'tfl.quantize'\n"
    "Reason: Operation has tensor with unsupported DataType Float32 (x(1);y)\n"
    'Feature-map dataTypes must be one of {"INT16", "INT8"}\n\n'
)


def summary(folder: Path, **changed: str) -> Path:
    row = {**SUMMARY, **changed}
    path = folder / "summary.csv"
    path.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    return path


def test_refusals_have_their_reason_and_what_vela_would_take() -> None:
    first, second = read_refusals(FLOAT + REFUSED)
    assert (first.kind, first.output) == ("QUANTIZE", "tfl.quantize")
    assert first.reason == "Operation has tensor with unsupported DataType Float32"
    assert first.constraint == 'Feature-map dataTypes must be one of {"INT16", "INT8"}'
    assert second == Refusal("TANH", "y", "Unsupported opType", "")


def test_a_warning_without_a_reason_has_none() -> None:
    assert read_refusals("Warning (supported operators) operator: A, ofm: 'y'") == (
        Refusal("A", "y", "", ""),
    )


@given(st.text())
def test_any_log_is_read(text: str) -> None:
    read_refusals(text)
    failure(text)
    read_refusals("Warning (supported operators) operator: A, ofm: ''\n" + text)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("fine\nWarning: x\nop Error: in a row", ""),
        ("RuntimeError: Compilation failed: Error: LSTM 'a' is wrong.", "LSTM 'a' is wrong."),
        ("ethosu.vela.errors.CliOptionError: 'Error: Incorrect'", "Incorrect"),
        ("Error: 1\nError: 2\nmore", "2"),
        ("Error: ", "an error without words"),
    ],
)
def test_an_error_that_was_printed(log: str, said: str) -> None:
    assert failure(log) == said


def test_the_summary_in_whole_units(tmp_path: Path) -> None:
    found = read_summary(summary(tmp_path, on_chip_flash_memory_used="0.25"))
    assert (found.time_ns, found.sram_bytes, found.flash_bytes) == (1792, 768, 768)
    assert (found.cycles, found.macs, found.dram_bytes) == (896, 18432, 0)
    assert (found.system, found.clock_hz) == ("Ethos_U55_High_End_Embedded", 500_000_000)


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e300", "x", ""])
def test_a_strange_number_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(UnmeasuredError, match=r"summary\.csv has .* as cycles_total"):
        read_summary(summary(tmp_path, cycles_total=value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a,b\n1\n", "has rows of different lengths"),
        ("a\n", "has 0 rows instead of one"),
        ("a\n1\n2\n", "has 2 rows instead of one"),
        ("a\n1\n", "lacks the column core_clock"),
        ('a\n"1', "is no table"),
    ],
)
def test_another_summary_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "summary.csv"
    path.write_text(text)
    with pytest.raises(UnmeasuredError, match=said) as caught:
        read_summary(path)
    assert "another version of Vela" in caught.value.hint


def test_a_table_that_is_not_there_or_too_big_or_binary(tmp_path: Path) -> None:
    path = tmp_path / "layers.csv"
    with pytest.raises(UnmeasuredError, match="cannot be read: No such file"):
        read_cpu_rows(path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(UnmeasuredError, match="is no table"):
        read_cpu_rows(path)
    with path.open("wb") as file:
        file.truncate(4_000_001)
    with pytest.raises(UnmeasuredError, match="is larger than 4 MB"):
        read_cpu_rows(path)


def test_rows_on_the_cpu(tmp_path: Path) -> None:
    path = tmp_path / "layers.csv"
    path.write_text(HEADER + "A,B,NPU,1,a\nA,B,CPU,0,b\nA,B,CPU,0,c\n")
    assert read_cpu_rows(path) == 2
    path.write_text(HEADER + "A,B,GPU,1,a\n")
    with pytest.raises(UnmeasuredError, match="has 'GPU' as a target"):
        read_cpu_rows(path)
    path.write_text("Target,Name\n")
    with pytest.raises(UnmeasuredError, match="lacks the column Original Operator"):
        read_cpu_rows(path)
