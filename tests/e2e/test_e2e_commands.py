"""The smaller commands, on small real files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support import edgekit

INT8 = ("--recipe", "int8", "--target", "cpu-litert")


def test_explain_prints_the_plan_and_its_needs(tiny_float: Path) -> None:
    outcome = edgekit("explain", tiny_float, *INT8)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == f"{tiny_float} · int8 · cpu-litert"
    assert lines[1] == "1. quantize (tflite -> tflite)   needs data to calibrate on"
    assert "limit: max_accuracy_drop 0.01 (recipes/int8.toml)" in lines
    plan = json.loads(edgekit("explain", "zoo:digits-cnn", *INT8, "--json").out)
    assert [step["name"] for step in plan["steps"]] == [
        "train zoo:digits-cnn", "keras-to-tflite", "quantize",
    ]  # fmt: skip


def test_explain_refuses_what_compress_refuses(tiny_float: Path) -> None:
    outcome = edgekit("explain", tiny_float, "--recipe", "int9", "--target", "cpu-litert")
    assert (outcome.code, outcome.out) == (2, "")


def test_list_has_every_family() -> None:
    outcome = edgekit("list")
    assert outcome.code == 0
    for name in ("int8", "cpu-litert", "quantize", "tflite", "litert", "digits", "lenet5"):
        assert f"  {name}" in outcome.out
    assert json.loads(edgekit("list", "targets", "--json").out)["targets"]["cpu-litert"]
    assert edgekit("list", "planets").code == 2


def test_inspect_says_where_the_bytes_are(tiny_float: Path) -> None:
    outcome = edgekit("inspect", tiny_float)
    assert outcome.code == 0
    for word in ("parameters", "MACs", "inputs", "outputs", "ops (", "bytes", "weights ("):
        assert word in outcome.out
    found = json.loads(edgekit("inspect", tiny_float, "--json").out)
    assert sum(found["bytes_by"].values()) == found["size_bytes"] == tiny_float.stat().st_size
    assert found["signature"]["inputs"][0]["shape"]


def test_bench_measures_in_fresh_processes(tiny_float: Path) -> None:
    outcome = edgekit("bench", tiny_float, "--json")
    assert outcome.code == 0, outcome
    found = json.loads(outcome.out)
    assert found["latency"]["kind"] == "measured"
    assert all(isinstance(ns, int) for ns in found["latency"]["samples_ns"])
    assert found["memory"]["peak_bytes"] > 1_000_000
    assert edgekit("bench", tiny_float).out.splitlines()[1].startswith("  size")


@pytest.mark.tensorflow
def test_bench_of_a_format_without_a_target_says_so(tiny_keras: Path) -> None:
    outcome = edgekit("bench", tiny_keras)
    assert outcome.code == 2
    assert "no target runs keras files by default" in outcome.err


def test_doctor_runs_a_model_on_each_target() -> None:
    outcome = edgekit("doctor")
    assert outcome.code == 0
    assert re.search(r"^  cpu-litert +works", outcome.out, re.MULTILINE)
    found = json.loads(edgekit("doctor", "--target", "cpu-litert", "--json").out)
    assert [target["problem"] for target in found["targets"]] == [""]
    assert edgekit("doctor", "--target", "cpu-litter").code == 2


@pytest.mark.tensorflow
def test_convert_proves_equal_outputs(tmp_path: Path, tiny_keras: Path) -> None:
    source, out = tiny_keras, tmp_path / "m.tflite"
    outcome = edgekit("convert", source, "--to", "tflite", "--out", out)
    assert outcome.code == 0, outcome
    assert "proven equal" in outcome.out
    assert "random inputs" in outcome.out
    assert out.stat().st_size > 1000
    again = edgekit("convert", source, "--to", "tflite", "--out", out)
    assert (again.code, "--force" in again.err) == (2, True)


@pytest.mark.tensorflow
def test_convert_says_what_leads_where(tmp_path: Path, tiny_float: Path, tiny_keras: Path) -> None:
    outcome = edgekit("convert", tiny_float, "--to", "keras", "--out", tmp_path / "m.keras")
    assert outcome.err == (
        "error: nothing converts tflite to keras\nhint: tflite converts to no other format yet\n"
    )
    source = tiny_keras
    outcome = edgekit("convert", source, "--to", "tflite", "--out", tmp_path / "m.bin")
    assert outcome.err == (
        f"error: --out '{tmp_path}/m.bin': a tflite file ends in .tflite\n"
        f"hint: --out {tmp_path}/m.tflite\n"
    )
    assert edgekit("convert", source, "--to", "tflita", "--out", tmp_path / "m").code == 2


def test_compare_sets_two_formats_side_by_side(tmp_path: Path, tiny_float: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((8, 8, 8, 1), np.float32), y=np.arange(8) % 4)
    done = edgekit("compare", tiny_float, tiny_float, "--data", f"npz:{tmp_path}/d.npz", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["result"]["agreement"] == 1
    assert report["command"].startswith("edgekit compare ")
    assert edgekit("compare", tiny_float, tiny_float, "--quiet").code == 0
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "report.json").write_text('{"result": {"format": "tflite"}}')
    done = edgekit("compare", tiny_float, folder)
    assert (done.code, done.out) == (2, "")
    assert "its model.tflite is missing" in done.err
    (folder / "model.tflite").write_bytes(tiny_float.read_bytes())
    assert edgekit("compare", tiny_float, folder).code == 0
    (folder / "report.json").write_text("[]")
    assert "is no report of edgekit's" in edgekit("compare", tiny_float, folder).err


def test_an_output_and_an_input_that_do_not_exist(tmp_path: Path, tiny_float: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((8, 8, 8, 1), np.float32), y=np.arange(8) % 4)
    data = ("--data", f"npz:{tmp_path}/d.npz")
    done = edgekit("validate", tiny_float, *data, "--output", "nothing")
    assert done.code == 2
    assert "--output 'nothing': the model has no such output" in done.err
    done = edgekit("validate", tiny_float, *data, "--input", "x=1x8x8x1")
    assert done.code == 2
    assert "the shapes of a tflite file cannot be changed" in done.err
    done = edgekit("bench", tiny_float, "--output", "x")
    assert "--output says something of data" in done.err
