"""`run.py` as a file: one, for Python 3.8, of the standard library, and its command line."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bundle_folder import RUN, bundle, command, int8_model, runner, stored


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(tmp_path_factory.mktemp("whole") / "b")


def test_it_is_one_file_of_under_800_lines_for_python_3_8() -> None:
    source = RUN.read_text()
    assert len(source.splitlines()) < 800
    tree = ast.parse(source, feature_version=(3, 8))
    modules = {
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert {name.split(".")[0] for name in modules} <= {*sys.stdlib_module_names, "PIL"}


@pytest.mark.parametrize("words", [["--help"], ["info"], ["info", "--json"]])
def test_without_numpy_there_is_help_and_info(whole: Path, words: list[str]) -> None:
    code = (
        f"import runpy, sys; sys.argv[1:] = {words}; runpy.run_path('run.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code], cwd=whole, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "usage: run.py" in done.stdout or "edgekit-bundle/1" in done.stdout


def test_without_numpy_selftest_says_so_once_the_files_are_checked(whole: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", whole / "run.py", "selftest"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert "ok  files" in done.stdout
    assert "is not installed" in done.stderr


def test_starting_imports_nothing_heavy(whole: Path) -> None:
    code = "import sys; before = set(sys.modules); import run; print(*(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
        cwd=whole,
        capture_output=True,
        text=True,
    )
    heavy = {"argparse", "dataclasses", "typing", "subprocess", "zipfile", "hashlib", "platform"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["selftest", "--affinity", "9999"], "--affinity 9999: this machine lacks these CPUs"),
        (["selftest", "--affinity", "all"], "--affinity all: this machine lacks these CPUs"),
        (["bench", "--threads", "999"], "argument --threads: invalid choice: 999"),
        (["bench", "--threads", "0"], "argument --threads: invalid choice: 0"),
        (["infer", "--bundle", "nowhere", "x"], "nowhere: is no bundle's folder"),
    ],
)
def test_a_wrong_request_is_one_sentence(whole: Path, words: list[str], message: str) -> None:
    done = command(whole, *words)
    assert done.returncode == 2, done
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_command_is_exit_2(whole: Path) -> None:
    assert command(whole, "destroy").returncode == 2


def test_cpus_can_be_chosen(whole: Path) -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system cannot bind a process to CPUs")
    cpu = min(os.sched_getaffinity(0))
    assert command(whole, "selftest", "--affinity", cpu).returncode == 0


def test_a_model_predicts_a_sample_and_a_batch(whole: Path) -> None:
    model = runner().Model(str(whole))
    x = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)
    batch = model.predict(x)
    assert batch.shape == (5, 10)
    assert np.array_equal(model.predict(x[0]), batch[0])
    assert model.predict(x[:1]).shape == (1, 10)
    assert model.placement() == {"XNNPACK": 6}
    model.close()


def test_real_values_are_quantized_for_an_int8_model(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(int8_model())
    model = runner().Model(str(path), kernels="reference")
    x = np.random.default_rng(0).uniform(-2, 2, (3, 8, 8, 1))
    (spec,), (out,) = model.inputs, model.outputs
    assert np.array_equal(runner().quantize(x, spec), stored(x, spec))
    (found,) = model.session.run([stored(x, spec)])
    scale, zero = out["scale"] or 1, out["zero_point"] or 0
    assert np.allclose(model.predict(x), (found.astype(np.float32) - zero) * scale, atol=1e-6)


def test_quantizing_is_edgekits_own() -> None:
    from edgekit.core.artifact import Quantization, TensorSpec
    from edgekit.engine.inference import dequantize_array, quantize_array

    rng = np.random.default_rng(3)
    for dtype, scale, zero in (("int8", 0.1, -3), ("uint8", 0.5, 128), ("int16", 1e-3, 0)):
        spec = TensorSpec("x", (1, 100), dtype, Quantization(scale, zero))
        table = {"name": "x", "dtype": dtype, "scale": scale, "zero_point": zero}
        x = rng.normal(scale=100 * scale, size=(4, 100)).astype(np.float32)
        x[0, :4] = [scale / 2, 1.5 * scale, -1e9, 1e9]
        mine = runner().quantize(x, table)
        assert np.array_equal(mine, quantize_array(x, spec))
        assert np.array_equal(runner().dequantize(mine, table), dequantize_array(mine, spec))
    tokens = {"name": "x", "dtype": "int64", "scale": None, "zero_point": None}
    large = np.array([2**62 + 1, -5])
    assert runner().quantize(large, tokens).tolist() == large.tolist()


def test_nan_has_no_place_in_an_integer(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(int8_model())
    model = runner().Model(str(path))
    with pytest.raises(runner().Fault, match="has NaN"):
        model.predict(np.full((8, 8, 1), np.nan, np.float32))


@pytest.mark.parametrize("x", [np.zeros((1, 8, 9, 1)), np.zeros((1, 8)), np.zeros((0, 8, 8, 1))])
def test_an_input_of_another_shape_is_refused(whole: Path, x: np.ndarray[object, object]) -> None:
    with pytest.raises(runner().Fault) as caught:
        runner().Model(str(whole)).predict(x)
    assert caught.value.code == 2


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(runner().Fault, match=r"ai_edge_litert 2\.3\.0 does not run it"):
        runner().Model(str(path), runtimes=["ai_edge_litert"])
    with pytest.raises(runner().Fault, match="no .tflite, .onnx or .ort file"):
        runner().open_model(str(tmp_path / "m.h5"))


def test_bench_keeps_its_raw_samples(whole: Path) -> None:
    done = command(whole, "bench", "--runs", "100", "--json")
    found = json.loads(done.stdout)
    samples = found["samples_ns"]
    assert len(samples) == found["runs"] == 100
    assert all(isinstance(sample, int) for sample in samples)
    assert found["median_ns"] == sorted(samples)[50]
    assert found["p90_ns"] == sorted(samples)[89]
    assert found["p99_ns"] == "not enough runs"
    assert found["load_ns"] > 0
    assert found["first_ns"] > 0
    assert found["peak_bytes"] > found["before_bytes"] > 0


def test_bench_runs_for_the_seconds_that_are_asked_for(whole: Path) -> None:
    done = command(whole, "bench", "--seconds", "0.2")
    assert "p99_ns: " in done.stdout
    assert "samples_ns" not in done.stdout
