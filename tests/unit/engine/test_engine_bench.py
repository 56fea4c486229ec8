"""Measuring in fresh processes; a process that fails is a reason and never a figure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.artifact import Quantization, Signature, TensorSpec
from edgekit.core.runner import OpPlacement, Placement
from edgekit.engine import bench, bench_process, bench_worker
from edgekit.engine.bench import BenchModel
from edgekit.runners import litert

X = (np.array([[-1.0, 2.0]], np.float32),)
SPECS = (TensorSpec("x", (1, 2), "float32"),), (TensorSpec("y", (1, 2), "float32"),)


def null_model(latency_ns: int = 0, **options: Any) -> BenchModel:
    named = {"threads": 1, "latency": latency_ns, **options}
    return BenchModel(Path("none.tflite"), "tflite", Signature(*SPECS), "null", named)


def litert_model(folder: Path) -> BenchModel:
    path = folder / "m.tflite"
    path.write_bytes(litert._PROBE)
    options = {"threads": 1, "kernels": "xnnpack"}
    return BenchModel(path, "tflite", Signature(*SPECS), "litert", options)


def worker(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Puts a module with this code in the worker's place."""
    (folder / "broken_worker.py").write_text(code)
    monkeypatch.setattr(bench_process, "_WORKER", "broken_worker")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_the_ratio_of_two_known_latencies_is_found() -> None:
    reference, result = bench.compare_latency(
        null_model(400_000), null_model(100_000), inputs=X, seconds=1.0
    )
    assert (reference.kind, result.kind, result.reason) == ("measured", "measured", "")
    assert result.ratio_to_reference == pytest.approx(0.25, abs=0.05)
    assert result.ratio_ci95 is not None
    low, high = result.ratio_ci95
    assert low <= result.ratio_to_reference <= high
    assert (result.change, result.margin) == ("faster", bench.MARGIN)
    assert result.smallest_change is not None
    assert 0 < result.smallest_change < 0.2
    assert (reference.ratio_to_reference, reference.change) == (None, None)
    assert reference.median_ns is not None
    assert 400_000 <= reference.median_ns < 600_000
    assert min(result.samples_ns) >= 100_000
    assert len(result.samples_ns) <= 4096
    assert result.process.startswith("4 fresh processes, 48 interleaved rounds, ")


def test_equal_models_are_no_different_within_a_margin() -> None:
    model = null_model(50_000)
    _, found = bench.compare_latency(model, model, inputs=X, seconds=0.4, processes=2, margin=0.5)
    assert found.ratio_to_reference == pytest.approx(1.0, abs=0.1)
    assert (found.change, found.margin) == ("no difference", 0.5)


def test_a_real_model_is_timed_from_loading_to_steady_state(tmp_path: Path) -> None:
    found = bench.measure_latency(litert_model(tmp_path), inputs=X, seconds=0.3)
    assert found.kind == "measured"
    assert found.load_ns is not None
    assert found.first_ns is not None
    assert found.median_ns is not None
    assert found.load_ns > found.first_ns > found.median_ns > 0
    assert all(isinstance(sample, int) for sample in found.samples_ns)
    assert "evenly taken ones are kept" in found.process


def test_peak_memory_is_that_of_the_runtime_and_the_model(tmp_path: Path) -> None:
    found = bench.measure_memory(litert_model(tmp_path), inputs=X)
    assert found.kind == "measured"
    assert found.peak_bytes is not None
    assert 20e6 < found.peak_bytes < 100e6


def test_placement_is_what_the_worker_read(tmp_path: Path) -> None:
    assert bench.placement(litert_model(tmp_path)) == Placement(
        (OpPlacement(0, "RELU", "XNNPACK", "float32"),)
    )
    assert bench.placement(null_model()) == Placement((), "the null runner runs nothing")


def test_a_model_that_cannot_be_opened_is_unmeasured(tmp_path: Path) -> None:
    model = litert_model(tmp_path)
    model.path.write_bytes(b"no model at all")
    version = litert.versions()["ai-edge-litert"]
    reason = (
        f"{model.path}: LiteRT {version} cannot run it: The model is not a valid Flatbuffer buffer"
    )
    latency = bench.measure_latency(model, inputs=X)
    assert (latency.kind, latency.reason, latency.median_ns) == ("unmeasured", reason, None)
    memory = bench.measure_memory(model, inputs=X)
    assert (memory.kind, memory.reason, memory.peak_bytes) == ("unmeasured", reason, None)
    assert bench.placement(model) == Placement((), reason)


def test_a_broken_reference_leaves_the_result_measured_without_ratio(tmp_path: Path) -> None:
    model = litert_model(tmp_path)
    model.path.write_bytes(b"no model at all")
    reference, result = bench.compare_latency(model, null_model(), inputs=X, seconds=0.2)
    assert reference.kind == "unmeasured"
    assert result.kind == "measured"
    assert result.median_ns is not None
    assert (result.ratio_to_reference, result.ratio_ci95) == (None, None)
    assert result.reason == f"no ratio to the reference: {reference.reason}"


def test_values_that_do_not_fit_the_model_are_a_reason() -> None:
    specs = (TensorSpec("x", (1, 2), "int8", Quantization(1.0, 0)),), SPECS[1]
    model = BenchModel(Path("m"), "tflite", Signature(*specs), "null", {})
    found = bench.measure_memory(model, inputs=(np.full((1, 2), np.nan, np.float32),))
    assert (found.kind, found.reason) == ("unmeasured", "the input 'x' has 2 values that are NaN")


def test_a_crash_is_unmeasured_with_the_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import os, sys; sys.stderr.write('lost\\n'); sys.stderr.flush(); os.kill(os.getpid(), 11)"
    )
    worker(tmp_path, monkeypatch, code)
    found = bench.measure_latency(null_model(), inputs=X)
    assert (found.kind, found.reason) == (
        "unmeasured",
        "the process that measures crashed with SIGSEGV: lost",
    )


@pytest.mark.parametrize("code", ["raise SystemExit(7)", "import sys; sys.exit('gone')"])
def test_a_worker_without_answer_is_unmeasured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    worker(tmp_path, monkeypatch, code)
    found = bench.measure_memory(null_model(), inputs=X)
    assert found.kind == "unmeasured"
    assert found.reason in (
        "the process that measures ended with exit code 7",
        "the process that measures ended with exit code 1: gone",
    )


def test_a_worker_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker(tmp_path, monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(bench_process, "_LIMIT_SECONDS", 0.3)
    assert bench.placement(null_model()).reason == (
        "the process that measures did not end within 0.3 s"
    )


def test_a_python_that_does_not_start_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    reason = bench.measure_memory(null_model(), inputs=X).reason
    assert reason.startswith("the process that measures did not start: No such file")


PRETEND = """
import sys, types
sys.modules["tensorflow"] = types.ModuleType("tensorflow")
from edgekit.runners import null
null.FRAMEWORKS = {declared}
from edgekit.engine.bench_worker import main
main()
"""


def test_a_process_that_loaded_tensorflow_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker(tmp_path, monkeypatch, PRETEND.format(declared="()"))
    found = bench.measure_latency(null_model(), inputs=X, seconds=0.1)
    assert (found.kind, found.reason) == (
        "unmeasured",
        "the process that measured had loaded tensorflow, which slows it down",
    )


def test_a_runner_that_declares_tensorflow_is_measured_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker(tmp_path, monkeypatch, PRETEND.format(declared="('tensorflow',)"))
    found = bench.measure_latency(null_model(), inputs=X, seconds=0.1)
    assert found.kind == "measured"
    assert found.process.endswith("; tensorflow was loaded, because a runner needs it")


def test_the_worker_loads_nothing_but_the_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys\nfrom edgekit.engine.bench_worker import main\nmain()\n"
        "heavy = {'tensorflow', 'keras', 'rich', 'click', 'matplotlib', 'litert_quantizer'}\n"
        "assert not heavy & {name.partition('.')[0] for name in sys.modules}, sys.modules\n"
        "assert 'edgekit.engine.statistics' not in sys.modules\n"
    )
    model = litert_model(tmp_path)
    worker(tmp_path, monkeypatch, code)
    assert bench.measure_memory(model, inputs=X).reason == ""


def test_the_worker_finds_edgekit_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a module of the folder was imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert bench.placement(null_model()).reason == "the null runner runs nothing"


def test_what_a_runtime_prints_does_not_disturb_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "from edgekit.runners import null\nfrom edgekit.engine.bench_worker import main\n"
        "was = null.open\nnull.open = lambda *a: print('hello') or was(*a)\nmain()\n"
    )
    worker(tmp_path, monkeypatch, code)
    assert bench.placement(null_model()).reason == "the null runner runs nothing"


def test_memory_without_proc_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from edgekit.engine import bench_worker\n"
        "from pathlib import Path\n"
        "real = Path.is_file\n"
        "Path.is_file = lambda p: 'proc' not in p.parts and real(p)\n"
        "bench_worker.main()\n"
    )
    worker(tmp_path, monkeypatch, code)
    assert bench.measure_memory(null_model(), inputs=X).reason == (
        "this system has no /proc/self/status, which the peak is read from"
    )


def test_ctrl_c_ends_the_measuring_process_too(tmp_path: Path) -> None:
    code = (
        # A test run in the background of a script ignores Ctrl-C, and so would its children.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_engine_bench import bench, null_model, X\n"
        "print('start', flush=True)\n"
        "bench.measure_latency(null_model(), inputs=X, seconds=60)\n"
    )
    here = str(Path(__file__).parent)
    root = str(Path(bench.__file__).resolve().parents[2])
    parent = subprocess.Popen(
        [sys.executable, "-c", code, here],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"start\n"
        child = _child_of(parent.pid)
        parent.send_signal(signal.SIGINT)
        parent.wait(timeout=20)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(f"/proc/{child}").exists()
    finally:
        parent.kill()
        parent.wait()
        if parent.stdout:
            parent.stdout.close()


def _child_of(pid: int) -> int:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    for _ in range(400):
        if found := listed.read_text().split():
            return int(found[0])
        time.sleep(0.05)
    raise AssertionError("the measuring process was not started")


def test_a_signature_survives_the_way_through_json() -> None:
    import dataclasses
    import json

    signature = Signature(
        (TensorSpec("x", (None, 2), "int8", Quantization(0.5, -1)),),
        (TensorSpec("y", (), "float32"),),
    )
    table = json.loads(json.dumps(dataclasses.asdict(signature)))
    assert bench_worker.signature_from_json(table) == signature


def test_a_run_ends_where_the_next_one_starts() -> None:
    samples = bench_worker._block(lambda: time.sleep(0.002), 3)
    assert len(samples) == 3
    assert min(samples) >= 2_000_000
