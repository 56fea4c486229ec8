"""The host's side of a device: what comes back, what is lost, what is left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_device import SERVE, fake_device

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.core.device import Delegate, DeviceSpec
from edgekit.engine import bench, device_session
from edgekit.engine.bench import BenchModel
from edgekit.engine.device_session import DeviceSession, open_on_device
from edgekit.errors import UnmeasuredError, UsageError

SIGNATURE = Signature(
    (TensorSpec("a", (1, 2), "float32"), TensorSpec("b", (1, 2), "float32")),
    (TensorSpec("y", (1, 2), "float32"),),
)
INPUTS = (np.full((3, 2), 1, np.float32), np.full((3, 2), 5, np.float32))


@pytest.fixture(autouse=True)
def run_py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.py").write_text("")
    monkeypatch.setattr(device_session, "RUN_PY", tmp_path / "run.py")


def opened(spec: DeviceSpec, folder: Path, **options: object) -> DeviceSession:
    (folder / "m.tflite").write_bytes(b"model")
    files = {"m.tflite": folder / "m.tflite"}
    return open_on_device(spec, files, format="tflite", signature=SIGNATURE, options=options)


def test_inputs_go_by_name_and_figures_are_the_device_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, device = fake_device(monkeypatch)
    session = opened(spec, tmp_path)
    (found,) = session.run(INPUTS)
    assert found.tolist() == [[4, 4]] * 3
    assert session.block(4) == [1000] * 4
    assert session.peak() == (30, 10)
    assert (session.load_ns, session.first_ns) == (5, 7)
    (op,) = session.placement().ops
    assert (op.kind, op.where, op.dtype, op.reason) == ("SUB", "NPU", "float32", "")
    session.close()
    session.close()
    assert device.log == ["closed"]


def test_the_device_is_told_what_may_run_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = fake_device(monkeypatch)
    told = DeviceSpec(
        spec.via, spec.options, "t", ("tflite_runtime",), (Delegate("x.so", {"k": 1}),)
    )
    session = opened(told, tmp_path, threads=2, kernels="builtin")
    asked = session.facts["asked"]
    session.close()
    assert asked["runtimes"] == ["tflite_runtime"]
    assert asked["delegates"] == [{"library": "x.so", "options": {"k": 1}}]
    assert (asked["threads"], asked["options"]) == (2, {"kernels": "builtin"})
    assert (asked["model"], asked["format"]) == ("m.tflite", "tflite")


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        ("import sys; sys.exit('no numpy here')", UnmeasuredError, "lost while it started: no num"),
        ('print(\'{"schema": "edgekit-serve/9"}\')', UnmeasuredError, "speaks 'edgekit-serve/9'"),
        ("print('hello')", UnmeasuredError, "an answer that is not serve.py's: b'hello"),
        ("print('x' * 2**23)", UnmeasuredError, "lost while it started"),
        (
            'print(\'{"arrays": [{"dtype": "object", "shape": [1]}]}\')',
            UnmeasuredError,
            "an answer that is not serve.py's",
        ),
        (
            'print(\'{"arrays": [{"dtype": "int8", "shape": [99999999999]}]}\')',
            UnmeasuredError,
            "over 2 GB",
        ),
        (
            SERVE.replace('"load_ns": 5', '"ok": False, "error": "too old"'),
            UnmeasuredError,
            "too old",
        ),
        (
            SERVE.replace('"ok": True, "id": 0', '"ok": False, "exit": 2, "error": "no op"'),
            UsageError,
            "toaster: no op",
        ),
    ],
)
def test_what_a_device_does_wrong_is_one_sentence_and_nothing_is_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    error: type[Exception],
    said: str,
) -> None:
    spec, device = fake_device(monkeypatch, code)
    with pytest.raises(error) as caught:
        opened(spec, tmp_path)
    assert said in str(caught.value)
    assert device.log == ["closed"]


def test_a_connection_that_breaks_in_the_middle_gives_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = SERVE.replace(
        '    if op == "open"', '    if op == "run": sys.exit("power")\n    if op == "open"'
    )
    spec, _ = fake_device(monkeypatch, code)
    session = opened(spec, tmp_path)
    with pytest.raises(
        UnmeasuredError, match="toaster: the connection was lost while it did 'run': power"
    ):
        session.run(INPUTS)
    session.close()


def test_a_device_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_session, "_LIMIT_SECONDS", 0.3)
    monkeypatch.setattr(device_session, "_END_SECONDS", 0.1)
    spec, device = fake_device(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(UnmeasuredError, match="no answer within 0.3 s while it started"):
        opened(spec, tmp_path)
    assert device.log == ["closed"]


def models(spec: DeviceSpec | None, folder: Path) -> BenchModel:
    (folder / "m.tflite").write_bytes(b"model")
    files = {"m.tflite": folder / "m.tflite"}
    return BenchModel(files["m.tflite"], "tflite", SIGNATURE, "litert", {}, spec, files)


def test_two_models_are_timed_there_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SERVE.replace("[1000]", "[3000]")
    spec, device = fake_device(monkeypatch)
    pair = (
        models(DeviceSpec("fake", type(spec.options)(slow), "toaster"), tmp_path),
        models(spec, tmp_path),
    )
    sample = tuple(array[:1] for array in INPUTS)
    reference, result = bench.compare_latency(pair[1], pair[1], inputs=sample, seconds=0.05)
    assert (reference.median_ns, result.ratio_to_reference) == (1000, 1.0)
    assert result.process.startswith("run.py on toaster, ")
    assert (result.load_ns, result.first_ns) == (5, 7)
    apart = bench.compare_latency(*pair, inputs=sample, seconds=0.05)
    assert apart[1].ratio_to_reference is None
    assert "they run on two machines" in apart[1].reason
    memory = bench.measure_memory(pair[1], inputs=sample)
    assert (memory.peak_bytes, memory.process[:17]) == (30, "run.py on toaster")
    assert bench.placement(pair[1]).ops[0].where == "NPU"
    assert set(device.log) == {"closed"}


def test_what_is_emulated_is_never_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, device = fake_device(monkeypatch, untimed="emulated: no timing")
    model = models(spec, tmp_path)
    sample = tuple(array[:1] for array in INPUTS)
    for latency in bench.compare_latency(model, model, inputs=sample):
        assert (latency.kind, latency.reason) == ("unmeasured", "emulated: no timing")
    assert bench.measure_memory(model, inputs=sample).reason == "emulated: no timing"
    assert device.log == []


def test_no_profile_is_read_on_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, _ = fake_device(monkeypatch)
    with pytest.raises(UnmeasuredError, match="reads none on a device"):
        bench.profile(models(spec, tmp_path), inputs=INPUTS)
