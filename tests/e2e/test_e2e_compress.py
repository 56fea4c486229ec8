"""The main job on real models and real data, with real accuracy."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from support import edgekit

pytestmark = pytest.mark.tensorflow

ZOO = ("zoo:digits-cnn", "--target", "cpu-litert", "--data", "digits")


def report_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "report.json").read_text())


def check_report(out: Path, repository: Path) -> dict[str, Any]:
    """The report holds to its schema and speaks of the file that lies beside it."""
    report = report_of(out)
    schema = json.loads((repository / "docs/report.schema.json").read_text())
    jsonschema.validate(report, schema)
    (model,) = (path for path in out.glob("model.*") if path.suffix != ".ekb")
    assert report["result"]["size_bytes"] == model.stat().st_size
    assert sum(report["result"]["bytes_by"].values()) == model.stat().st_size
    return report


def test_the_demo(tmp_path: Path, repository: Path) -> None:
    out = tmp_path / "demo"
    outcome = edgekit("compress", *ZOO, "--recipe", "int8", "--out", out)
    assert outcome.code == 0, outcome
    assert sorted(path.name for path in out.iterdir()) == [
        "model.ekb", "model.tflite", "report.html", "report.json", "report.md",
    ]  # fmt: skip
    assert outcome.out.startswith("digits-cnn · int8 · cpu-litert")
    assert f"wrote {out}: model.ekb model.tflite report.html report.json report.md" in outcome.out
    report = check_report(out, repository)
    reference, result = report["reference"], report["result"]
    assert report["status"] == "pass"
    assert reference["accuracy"]["value"] > 0.95
    assert result["accuracy"]["value"] > reference["accuracy"]["value"] - 0.01
    assert result["accuracy"]["n"] == 450
    assert result["size_bytes"] < 0.45 * reference["size_bytes"]
    assert {op["dtype"] for op in result["placement"]["ops"]} == {"int8"}
    assert {op["kind"] for op in result["placement"]["ops"] if op["where"] == "CPU"} == {"SOFTMAX"}
    assert result["latency"]["kind"] == result["memory"]["kind"] == "measured"
    assert {verdict["status"] for verdict in report["verdicts"]} == {"pass"}
    assert any(note["what"] == "proven equal" for note in report["evidence"])
    # Self-contained: the only addresses are the names of the XML languages of the plots.
    addresses = set(re.findall(r"https?://[^\"'<> ]+", (out / "report.html").read_text()))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_a_second_run_reuses_every_step(tmp_path: Path) -> None:
    for name in ("first", "second"):
        outcome = edgekit("compress", *ZOO, "--recipe", "int8", "--out", tmp_path / name)
        assert outcome.code == 0, outcome
    first, second = report_of(tmp_path / "first"), report_of(tmp_path / "second")
    assert all(step["cached"] for step in second["steps"])
    assert len(second["steps"]) == 3
    assert first["result"]["digest"] == second["result"]["digest"]
    assert (tmp_path / "first/model.tflite").read_bytes() == (
        tmp_path / "second/model.tflite"
    ).read_bytes()


@pytest.mark.parametrize(
    ("recipe", "most", "dtype"),
    [
        ("float32", 1.01, "float32"),
        ("float16", 0.62, "float32"),
        ("dynamic-int8", 0.42, "float32"),
        ("weight-only-int8", 0.42, "float32"),
        ("int16x8", 0.45, "int16"),
    ],
)
def test_every_recipe_keeps_its_accuracy(
    recipe: str, most: float, dtype: str, tmp_path: Path, repository: Path
) -> None:
    out = tmp_path / recipe
    outcome = edgekit("compress", *ZOO, "--recipe", recipe, "--out", out)
    assert outcome.code == 0, outcome
    report = check_report(out, repository)
    assert report["result"]["size_bytes"] <= most * report["reference"]["size_bytes"]
    assert report["result"]["inputs"][0]["dtype"] == dtype
    drop = report["reference"]["accuracy"]["value"] - report["result"]["accuracy"]["value"]
    assert drop <= 0.005


def test_the_file_alone_carries_its_input_scaling(tmp_path: Path) -> None:
    assert edgekit("compress", *ZOO, "--recipe", "int8", "--out", tmp_path / "o").code == 0
    outcome = edgekit("validate", tmp_path / "o/model.tflite", "--data", "digits", "--json")
    assert outcome.code == 0, outcome
    report = report_of(tmp_path / "o")
    assert json.loads(outcome.out)["value"] == report["result"]["accuracy"]["value"]
    # The same pixels in another range are refused, not silently misread.
    rng = np.random.default_rng(0)
    x = (rng.random((64, 8, 8, 1)) * 255).astype(np.float32)
    np.savez(tmp_path / "bright.npz", x=x, y=np.arange(64) % 10)
    refused = edgekit(
        "validate", tmp_path / "o/model.tflite", "--data", f"npz:{tmp_path}/bright.npz"
    )
    assert refused.code == 2
    assert "0 to 16" in refused.err


def test_validate_compares_across_formats(tmp_path: Path, shared_cache: Path) -> None:
    assert edgekit("compress", *ZOO, "--recipe", "int8", "--out", tmp_path / "o").code == 0
    keras_file = next(shared_cache.glob("steps/*/model.keras"))
    outcome = edgekit(
        *("validate", tmp_path / "o/model.tflite", "--reference", keras_file),
        *("--data", "digits", "--json"),
    )
    assert outcome.code == 0, outcome
    report = json.loads(outcome.out)
    assert report["result"]["agreement"] > 0.98
    assert report["result"]["accuracy"]["value"] > 0.95


def test_each_model_is_fed_with_its_own_scaling(tmp_path: Path, shared_cache: Path) -> None:
    """Two files that differ in their stored scaling alone score side by side as they do alone."""
    from edgekit.core.artifact import InputScaling
    from edgekit.frameworks import scaling, tflite

    assert edgekit("compress", *ZOO, "--recipe", "float32", "--out", tmp_path / "o").code == 0
    good, inverted = tmp_path / "o/model.tflite", tmp_path / "inverted.tflite"
    payload = scaling.dump(InputScaling((-1 / 16,), (1.0,), 0.0, 16.0))
    inverted.write_bytes(tflite.with_metadata(good.read_bytes(), scaling.KEY, payload))
    alone = {}
    for path in (good, inverted):
        outcome = edgekit("validate", path, "--data", "digits", "--json")
        alone[path] = json.loads(outcome.out)["value"]
    assert alone[good] > 0.95 > 0.5 > alone[inverted]
    for model, reference in ((inverted, good), (good, inverted)):
        outcome = edgekit("validate", model, "--reference", reference, "--data", "digits", "--json")
        report = json.loads(outcome.out)
        assert report["result"]["accuracy"]["value"] == alone[model]
        assert report["reference"]["accuracy"]["value"] == alone[reference]
        assert report["result"]["agreement"] < 0.5


def test_a_damaged_cache_entry_is_made_again(tmp_path: Path, tiny_float: Path) -> None:
    plain = (tiny_float, "--recipe", "float16", "--target", "null")
    for name in ("first", "second"):
        edgekit("compress", *plain, "--out", tmp_path / name)
        digest = report_of(tmp_path / name)["result"]["digest"]
        assert hashlib.sha256((tmp_path / name / "model.tflite").read_bytes()).hexdigest() == digest
        for cached in Path(os.environ["EDGEKIT_CACHE"]).glob("steps/*/model.tflite"):
            if hashlib.sha256(cached.read_bytes()).hexdigest() == digest:
                content = bytearray(cached.read_bytes())
                content[len(content) // 2] ^= 0xFF
                cached.write_bytes(content)
    assert not report_of(tmp_path / "second")["steps"][0]["cached"]


def test_test_samples_alone_are_enough_where_nothing_calibrates(
    tmp_path: Path, tiny_float: Path
) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((40, 8, 8, 1), dtype=np.float32)
    np.savez(tmp_path / "d.npz", x_test=x, y_test=np.arange(40) % 3)
    recipe = tmp_path / "small.toml"
    recipe.write_text('summary = "float16"\n[[technique]]\nname = "quantize"\nscheme = "float16"\n')
    outcome = edgekit(
        *("compress", tiny_float, "--recipe", recipe, "--target", "cpu-litert"),
        *("--data", f"npz:{tmp_path}/d.npz", "--out", tmp_path / "out"),
    )
    assert outcome.code == 0, outcome
    assert report_of(tmp_path / "out")["result"]["accuracy"]["n"] == 40


def test_the_source_is_never_overwritten(tmp_path: Path, tiny_float: Path) -> None:
    (tmp_path / "mine").mkdir()
    only_copy = tmp_path / "mine/model.tflite"
    only_copy.write_bytes(tiny_float.read_bytes())
    outcome = edgekit(
        *("compress", only_copy, "--recipe", "float16", "--target", "null"),
        *("--out", tmp_path / "mine", "--force"),
    )
    assert outcome.err.startswith(f"error: --out '{tmp_path}/mine' holds the model that is to be")
    assert (outcome.code, only_copy.read_bytes()) == (2, tiny_float.read_bytes())


def test_a_tflite_file_becomes_int8_with_unlabelled_samples(
    tmp_path: Path, tiny_float: Path, repository: Path
) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.random((200, 8, 8, 1), dtype=np.float32))
    # Without the latency promise of the shipped recipe: five ops are no faster in int8.
    recipe = tmp_path / "calibrated.toml"
    recipe.write_text(
        'summary = "int8"\n[promise]\nmax_accuracy_drop = "1 pt"\n'
        '[[technique]]\nname = "quantize"\nscheme = "int8"\n'
    )
    out = tmp_path / "out"
    outcome = edgekit(
        *("compress", tiny_float, "--recipe", recipe, "--target", "cpu-litert"),
        *("--data", f"npz:{tmp_path}/d.npz", "--out", out),
    )
    assert outcome.code == 3, outcome
    report = check_report(out, repository)
    assert report["status"] == "unmeasured"
    (accuracy,) = [v for v in report["verdicts"] if v["metric"] == "max_accuracy_drop"]
    assert accuracy["reason"].endswith("has no labels")


def test_limits_that_are_broken_end_with_1(tmp_path: Path) -> None:
    target = tmp_path / "tiny.toml"
    target.write_text(
        'summary = "a device with very little"\ninherit = "cpu-litert"\n'
        '[limits]\nmax_size = "1 kB"\n'
    )
    outcome = edgekit(
        *("compress", "zoo:digits-cnn", "--target", target, "--data", "digits"),
        *("--recipe", "int8", "--out", tmp_path / "out"),
    )
    assert outcome.code == 1
    assert "FAIL" in outcome.out
    assert "max_size" in outcome.out
    assert "tiny.toml" in outcome.out
    assert (tmp_path / "out/model.tflite").is_file()


def test_the_null_target_runs_nothing(tmp_path: Path, repository: Path) -> None:
    out = tmp_path / "out"
    outcome = edgekit(
        *("compress", "zoo:digits-cnn", "--target", "null", "--data", "digits"),
        *("--recipe", "float32", "--out", out),
    )
    assert outcome.code == 0, outcome
    assert (
        "the null runner invents its outputs"
        in check_report(out, repository)["result"]["placement"]["reason"]
    )


def test_the_same_in_python(tmp_path: Path) -> None:
    import edgekit as package

    report = package.compress(
        "zoo:digits-cnn", recipe="int8", target="cpu-litert", data="digits", out=tmp_path / "o"
    )
    assert report.exit_code == 0
    assert package.inspect(tmp_path / "o/model.tflite").format == "tflite"
    score = package.validate(tmp_path / "o/model.tflite", data="digits")
    assert report.judgement is not None
    assert score.value == report.judgement.result.value
