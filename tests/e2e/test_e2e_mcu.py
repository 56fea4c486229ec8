"""From a model to firmware that ran in an emulated Cortex-M, as a user would do it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mcu_sources import needs_emulator
from support import edgekit

pytestmark = [needs_emulator, pytest.mark.tensorflow]

RECIPE = """
summary = "Eight-bit integers, without a promise on time, which no emulator has"
[[technique]]
name = "quantize"
scheme = "int8"
"""
SMALL = """
summary = "A chip with hardly any memory"
inherit = "mcu-cortex-m4"
[device]
{name} = "{size}"
"""


@pytest.fixture(scope="module")
def compressed(
    tmp_path_factory: pytest.TempPathFactory, shared_cache: Path, tiny_keras: Path
) -> Path:
    """What `compress` leaves of the zoo's smallest model, untrained, for a Cortex-M4."""
    folder = tmp_path_factory.mktemp("mcu")
    recipe, out = folder / "recipe.toml", folder / "out"
    recipe.write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE", str(shared_cache))
        made = edgekit(
            *("compress", tiny_keras, "--recipe", recipe, "--target", "mcu-cortex-m4"),
            *("--data", "digits", "--out", out),
        )
    assert made.code == 0, made.out + made.err
    return out


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())["result"]
    return found


def test_a_report_has_the_figures_of_the_firmware_and_no_time(compressed: Path) -> None:
    measured = result(compressed)
    figures = {row["name"]: row for row in measured["figures"]}
    assert {row["kind"] for row in figures.values()} == {"measured"}
    assert 14_000 < figures["flash"]["value"] < 64_000
    assert 1000 < figures["RAM"]["value"] < 16_000
    assert 0 < figures["arena"]["value"] <= figures["RAM"]["value"]
    assert 0 < figures["stack"]["value"] < 4000
    assert 91_776 < figures["instructions per inference"]["value"] < 10_000_000
    assert measured["latency"]["kind"] == "unmeasured"
    assert "no timing" in measured["latency"]["reason"]
    assert measured["memory"]["peak_bytes"] == figures["RAM"]["value"] + figures["stack"]["value"]
    assert {op["where"] for op in measured["placement"]["ops"]} == {"Cortex-M4"}


def test_every_answer_is_that_of_the_reference_kernels(compressed: Path) -> None:
    found = edgekit(
        *("validate", compressed / "model.ekb", "--targets", "cpu-litert,mcu-cortex-m4"),
        *("--data", "digits", "--json"),
    )
    assert found.out, found.err
    _, row = json.loads(found.out)["rows"]
    assert row["problem"] == ""
    assert (row["max_lsb"], row["reference_lsb"]) == (0, 0)
    assert row["samples"] > 400
    assert row["placement"] == {"Cortex-M4": 8}
    assert row["median_ns"] is None
    again = {figure["name"]: figure["value"] for figure in row["figures"]}
    first = {figure["name"]: figure["value"] for figure in result(compressed)["figures"]}
    assert again["flash"] == first["flash"]
    assert again["RAM"] == first["RAM"]


def test_the_same_sample_takes_the_same_instructions(compressed: Path) -> None:
    counts = []
    for _ in range(2):
        found = edgekit(
            *("bench", compressed / "model.tflite", "--target", "mcu-cortex-m4", "--json")
        )
        assert found.out, found.err
        rows = json.loads(found.out)["figures"]
        counts.append(next(row["value"] for row in rows if row["unit"] == "instructions"))
    assert counts[0] == counts[1] > 91_776


def test_inspect_says_what_the_target_takes(compressed: Path) -> None:
    found = edgekit("inspect", compressed / "model.tflite", "--target", "mcu-cortex-m4")
    assert found.code == 0, found.out + found.err
    assert "placement   Cortex-M4 8" in found.out


@pytest.mark.parametrize(("name", "size"), [("flash", "8 KiB"), ("ram", "1 KiB")])
def test_a_chip_that_is_too_small_says_how_much_is_needed(
    name: str, size: str, compressed: Path, tmp_path: Path
) -> None:
    target = tmp_path / "small.toml"
    target.write_text(SMALL.format(name=name, size=size))
    model = compressed / "model.tflite"
    said = edgekit("inspect", model, "--target", target)
    assert said.code == 1
    what = "flash" if name == "flash" else "RAM"
    assert f"kB of {what}" in said.out
    assert "and the target has" in said.out
    ran = edgekit("bench", model, "--target", target)
    assert ran.code in (1, 3)
    assert f"kB of {what}" in ran.out + ran.err


def test_a_float_model_is_refused_before_any_work(tiny_float: Path) -> None:
    found = edgekit("inspect", tiny_float, "--target", "mcu-cortex-m4")
    assert found.code == 1
    assert "works on float32; the target takes int8, int32" in found.out
    ran = edgekit("bench", tiny_float, "--target", "mcu-cortex-m4")
    assert ran.code in (1, 2, 3)
    assert "has float32, where generated C" in ran.out + ran.err


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_a_bundle_brings_c_that_proves_itself(compressed: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(compressed / "model.ekb", tmp_path / "mine", "zip")
    folder = tmp_path / "mine" / "c"
    for words in (["test"], ["CROSS=arm-none-eabi-", "CPU=cortex-m4", "run"]):
        done = subprocess.run(["make", "-s", "-C", folder, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "golden samples are right" in done.stdout + done.stderr
