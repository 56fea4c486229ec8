"""The gate on a real project: rows, baselines, planted regressions, and what a user does wrong."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_models import cnn, images
from support import edgekit

from edgekit.engine import check_latency, measure

ROW = """
[[check]]
name = "patterns"
model = "cnn.onnx"
target = "cpu-onnxruntime"
data = "npz:d.npz"
max_regression = { size = "1 %", accuracy = "0.5 pt" }
"""
COMPRESSED = """
[[check]]
name = "patterns-int8"
model = "cnn.onnx"
recipe = "mine.toml"
target = "cpu-onnxruntime"
data = "npz:d.npz"
data_options = "scale=1,offset=0"
inputs = ["image=1x1x12x12"]
max_accuracy_drop = "5 pt"
max_regression = { size = "1 %", latency = "50 %", memory = "50 %" }
"""
RECIPE = """
summary = "All in integers, and nothing promised of its speed."

[[technique]]
name = "quantize"
scheme = "int8"
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are taken, for a shorter while than a verdict on them would need."""
    for module, name in (
        (measure, "compare_latency"),
        (measure, "measure_latency"),
    ):
        taken = functools.partial(getattr(module, name), seconds=0.3, processes=1)
        monkeypatch.setattr(module, name, taken)
    monkeypatch.setattr(check_latency, "_SECONDS", 0.3)
    monkeypatch.setattr(check_latency, "_PROCESSES", 1)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    cnn(tmp_path / "cnn.onnx", channels=32)
    x, y = images(800), np.arange(800) % 4
    np.savez("d.npz", x_train=x[:400], y_train=y[:400], x_test=x[400:], y_test=y[400:])
    Path("edgekit.toml").write_text(ROW)
    return tmp_path


def spoil(share: float, padding: int) -> None:
    """Turns the last layer's weights partly into noise, and makes the file larger."""
    model = onnx.load("cnn.onnx")
    (head,) = (item for item in model.graph.initializer if item.name == "w2")
    weights = numpy_helper.to_array(head)
    noise = np.random.default_rng(0).normal(size=weights.shape) * weights.std()
    mixed = ((1 - share) * weights + share * noise).astype(np.float32)
    head.CopyFrom(numpy_helper.from_array(mixed, "w2"))
    model.metadata_props.add(key="padding", value="x" * padding)
    onnx.save(model, "cnn.onnx")


def test_a_larger_and_worse_model_is_refused_with_all_that_one_needs(project: Path) -> None:
    made = edgekit("check", "--accept", "patterns")
    assert made.code == 0, made
    assert "accepted, baselines/patterns.json made" in made.out
    size = Path("cnn.onnx").stat().st_size
    spoil(0.8, round(0.02 * size))
    found = edgekit("check")
    assert found.code == 1, found
    told = {line.split()[1]: line for line in found.out.splitlines() if " FAIL " in line}
    for metric in ("size:", "accuracy:"):
        assert "baselines/patterns.json" in told[metric]
        assert f"edgekit.toml: check 'patterns': max_regression.{metric[:-1]}" in told[metric]
        assert "baseline" in told[metric]
        assert "allowed" in told[metric]
    assert "right to wrong" in told["accuracy:"]
    assert "+2." in told["size:"]
    result = json.loads((project / ".edgekit" / "result.json").read_text())
    assert result["rows"][0]["status"] == "fail"
    lines = (project / ".edgekit" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["pass", "fail"]
    again = edgekit("check", "--accept", "patterns", "--json")
    assert again.code == 0
    assert "accuracy" in str(json.loads(again.out)["rows"][0]["notes"])


def test_a_recipe_s_row_is_built_once_and_held_against_its_baseline() -> None:
    Path("edgekit.toml").write_text(COMPRESSED)
    Path("mine.toml").write_text(
        'summary = "m"\n[[technique]]\nname = "quantize"\nscheme = "int8"\n'
    )
    assert edgekit("check", "--accept", "patterns-int8").code == 0
    assert Path("baselines/patterns-int8.onnx").is_file()
    found = edgekit("check", "--json")
    assert found.code == 0, found
    (row,) = json.loads(found.out)["rows"]
    metrics = {(item["metric"], item["kind"]): item["status"] for item in row["findings"]}
    assert metrics[("latency", "regression")] in ("pass", "improved")
    assert metrics[("memory", "regression")] == "pass"
    assert metrics[("size", "regression")] == "pass"
    assert metrics[("max_accuracy_drop", "limit")] == "pass"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("target", "targte", "edgekit.toml: check 'patterns': unknown key 'targte'"),
        ('"1 %"', '"1 pt"', "edgekit.toml: check 'patterns': max_regression: size: '1 pt' has"),
        ('"cpu-onnxruntime"', '"cpu-onnx"', "check 'patterns': unknown target 'cpu-onnx'"),
        ("cnn.onnx", "none.onnx", "check 'patterns': model 'none.onnx': no such file"),
        ("d.npz", "none.npz", "none.npz"),
        ("cnn.onnx", "d.npz", "check 'patterns': model 'd.npz' is no model file"),
    ],
)
def test_a_wrong_row_ends_with_2_and_leaves_nothing(old: str, new: str, message: str) -> None:
    text = Path("edgekit.toml").read_text()
    Path("edgekit.toml").write_text(text.replace(old, new, 1))
    found = edgekit("check")
    assert found.code == 2
    assert found.err.startswith("error: edgekit.toml: check 'patterns': ")
    assert message in found.err
    assert not Path("baselines").exists()
    assert not list(Path(".edgekit").glob("*.json*"))


def test_wrong_words_on_the_command_line() -> None:
    found = edgekit("check", "paterns")
    assert (found.code, found.out) == (2, "")
    assert "did you mean 'patterns'?" in found.err
    assert edgekit("check", "--accept").code == 2
    Path("baselines").mkdir()
    Path("baselines/patterns.json").write_text('{"schema": "edgekit-baseline/2"}')
    found = edgekit("check")
    assert found.code == 2
    assert "baselines/patterns.json: has the schema edgekit-baseline/2" in found.err
    Path("edgekit.toml").unlink()
    found = edgekit("check")
    assert found.code == 2
    assert "edgekit.toml: no such file" in found.err


def test_a_target_that_is_not_here_is_unmeasured_or_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgekit.runners.onnxruntime.unavailable", lambda: "no onnxruntime")
    found = edgekit("check")
    assert found.code == 3
    assert "target 'cpu-onnxruntime' does not work here: no onnxruntime" in found.out
    Path("edgekit.toml").write_text(f"{ROW}required = false\n")
    found = edgekit("check")
    assert found.code == 0
    assert "skipped" in found.out
    assert "no onnxruntime" in found.out


def test_ctrl_c_leaves_no_result_and_frees_the_folder(project: Path) -> None:
    hear = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{hear}; from edgekit.__main__ import main; main()", "check"],
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lock, deadline = project / ".edgekit" / "lock", time.monotonic() + 60
    while not lock.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert sorted(path.name for path in lock.parent.iterdir()) == [".gitignore", "lock"]
    assert not (project / "baselines").exists()
