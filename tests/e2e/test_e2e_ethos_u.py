"""Ethos-U targets from the command line: what Vela made, what it left, and what is estimated."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path

import pytest
from support import edgekit

from edgekit.core.target import load_target
from edgekit.devices import vela

UNIT = Path(__file__).parents[1] / "unit" / "devices"
USERS = os.environ.get("EDGEKIT_CACHE")


@pytest.fixture
def really(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vela's real environment: the user's own; without it the test is skipped."""
    monkeypatch.delenv("EDGEKIT_CACHE")
    if USERS:
        monkeypatch.setenv("EDGEKIT_CACHE", USERS)
    spec = load_target("ethos-u55-128").device
    assert spec is not None
    if problem := vela.unavailable(spec.options):
        pytest.skip(problem)


@pytest.fixture
def convolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(UNIT))
    from local_scripts import int8_convolution

    path = tmp_path / "convolution.tflite"
    path.write_bytes(int8_convolution())
    return path


@pytest.mark.usefixtures("really")
def test_an_int8_model_is_compiled_and_estimated(convolution: Path) -> None:
    found = edgekit("validate", convolution, "--targets", "cpu-litert,ethos-u55-128", "--json")
    assert found.code == 0, found.err
    row = json.loads(found.out)["rows"][1]
    assert row["placement"] == {"Ethos-U55": 1}
    assert row["where"].endswith("; not executed")
    assert row["runtime"].startswith("reference kernels (the NPU is not executed)")
    assert row["latency_note"].startswith("estimated: Vela 5.2.0, Ethos_U55_High_End_Embedded")
    assert {figure["kind"] for figure in row["figures"]} <= {"estimated", "measured"}
    assert row["memory"]["kind"] == "estimated"


@pytest.mark.usefixtures("really")
def test_a_float_model_breaks_the_limit_and_says_what_to_do(tiny_float: Path) -> None:
    found = edgekit("bench", tiny_float, "--target", "ethos-u55-128")
    assert found.code == 1
    assert "quantize it with the recipe int8" in found.out
    assert "min_delegated: 0, limit 1" in found.out
    found = edgekit("inspect", tiny_float, "--target", "ethos-u55-128")
    assert "6 of 6 ops" in found.out
    assert "quantize it with the recipe int8" in found.out


@pytest.mark.usefixtures("really")
def test_the_bundle_says_what_it_is_for(convolution: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.ekb"
    found = edgekit("bundle", convolution, "--target", "ethos-u55-128", "--out", out)
    assert found.code == 0, found.err
    with zipfile.ZipFile(out) as file:
        manifest = json.loads(file.read("manifest.json"))
        names = file.namelist()
    assert manifest["target"]["machines"] == ["cortex-m"]
    assert any(name.endswith("model_vela.tflite") for name in names)


def test_without_vela_it_says_what_makes_it(convolution: Path) -> None:
    found = edgekit("bench", convolution, "--target", "ethos-u55-128")
    assert found.code == 3
    assert "`edgekit doctor --target ethos-u55-128 --install` makes it" in found.err


@pytest.mark.parametrize(
    ("text", "said", "code"),
    [
        ('accelerator = "ethos-u55-129"', "did you mean", 2),
        ('config = "nothing.ini"', "config 'nothing.ini': no such file", 3),
    ],
)
def test_a_target_file_that_is_wrong(
    convolution: Path, tmp_path: Path, text: str, said: str, code: int
) -> None:
    target = tmp_path / "own.toml"
    target.write_text(f'summary = "x"\ninherit = "ethos-u55-128"\n[device]\n{text}\n')
    found = edgekit("bench", convolution, "--target", target)
    assert (found.code, said in found.err) == (code, True), found.err
    assert found.err.count("error: ") == 1


def test_the_edge_tpu_is_looked_at_by_its_rules(
    convolution: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    found = edgekit("inspect", convolution, "--target", "coral-edgetpu")
    assert "Edge TPU (by rules) 1" in found.out
    found = edgekit("bench", convolution, "--target", "coral-edgetpu")
    assert found.code == 3
    assert "the Edge TPU is not executed here" in found.out
