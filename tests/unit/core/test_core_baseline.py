"""Baselines: what is written is read again, and nothing else is taken for one."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.baseline import (
    SCHEMA,
    Baseline,
    BaselineModel,
    BaselineScore,
    NewerSchemaError,
    dump_baseline,
    parse_baseline,
)
from edgekit.errors import UsageError

BASELINE = Baseline(
    schema=SCHEMA,
    name="kws",
    accepted_utc="2026-11-22T12:00:00Z",
    edgekit_version="0.1.0",
    model=BaselineModel("ab" * 32, "tflite", "kws.tflite"),
    target="cpu-litert",
    runner="litert",
    options={"threads": 1, "kernels": "xnnpack"},
    size_bytes=1000,
    size_compressed_bytes=900,
    score=BaselineScore("accuracy", 0.97, 450, "cd" * 32),
    latency_median_ns=2123,
    memory_peak_bytes=42_000_000,
    delegated=0.875,
    machine={"cpu": "a CPU", "cores": 2},
)


def changed(**values: Any) -> bytes:
    """The file with other values; the key 'model.file' reaches into the model."""
    table = json.loads(dump_baseline(BASELINE))
    for key, value in values.items():
        place, _, last = key.rpartition("__")
        (table[place] if place else table)[last] = value
    return json.dumps(table).encode()


def test_it_is_read_as_it_was_written() -> None:
    assert parse_baseline(dump_baseline(BASELINE), where="b.json", name="kws") == BASELINE
    bare = dataclasses.replace(BASELINE, score=None, delegated=None, latency_median_ns=None)
    assert parse_baseline(dump_baseline(bare), where="b.json", name="kws") == bare


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"[1]", "is no baseline"),
        (b"{}", "is no baseline"),
        (dump_baseline(BASELINE)[:200], "not valid JSON"),
        (changed(schema="edgekit-report/1"), "is no baseline"),
        (changed(schema=7), "is no baseline"),
        (changed(name="other"), "is the baseline of another row, 'other'"),
        (changed(sise=3), "unknown key 'sise'"),
        (changed(size_bytes=-3), "size_bytes must be above 0, not -3"),
        (changed(size_bytes="3"), "size_bytes: must be a whole number"),
        (changed(latency_median_ns=0), "latency_median_ns must be above 0"),
        (changed(delegated=1.5), "delegated must be from 0 to 1, not 1.5"),
        (changed(model__digest="ab"), "digest is no SHA-256"),
        (changed(model__file="../../etc/passwd"), "file leads out of its folder"),
        (changed(model__file="/etc/passwd"), "file leads out of its folder"),
        (changed(model__file="a\\..\\b"), "file leads out of its folder"),
        (changed(model__place="cache:../secret"), "place leads out of its folder"),
    ],
)
def test_a_damaged_one_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_baseline(data, where="baselines/kws.json", name="kws")
    assert caught.value.message.startswith("baselines/kws.json: ")
    assert message in caught.value.message
    assert not isinstance(caught.value, NewerSchemaError)
    assert caught.value.hint


def test_what_a_newer_edgekit_wrote_is_refused_as_such() -> None:
    with pytest.raises(NewerSchemaError) as caught:
        parse_baseline(changed(schema="edgekit-baseline/2"), where="b.json", name="kws")
    assert caught.value.message == (
        "b.json: has the schema edgekit-baseline/2, and this edgekit knows edgekit-baseline/1"
    )
    assert "update edgekit" in caught.value.hint


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
        max_leaves=6,
    ).map(
        lambda value: json.dumps({**json.loads(dump_baseline(BASELINE)), "model": value}).encode()
    )
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(UsageError):
        parse_baseline(data, where="b.json", name="kws")
