"""`drive_tflm.py`: the arena that is needed, and why a model does not run; with a TFLM of our own.

The real one is in an environment of its own: tests/e2e/test_e2e_tflm.py.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.on_device import run

NEEDS, RECORDED = 1000, 800
CRASHES_BELOW = 600


@pytest.fixture(scope="module")
def schema() -> Any:
    pytest.importorskip("flatbuffers")
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "run", run)
    found = run.beside("drive_tflm", name="drive_tflm_of_a_test")
    monkeypatch.delitem(sys.modules, "drive_tflm_of_a_test")
    assert isinstance(found, ModuleType)
    return found


def say(text: str) -> None:
    os.write(2, text.encode() + b"\n")


def fits(arena: int) -> None:
    """As TFLM does it: it checks the larger part of its arena, and writes past the rest."""
    if arena < CRASHES_BELOW:
        os.kill(os.getpid(), signal.SIGKILL)
    if arena < NEEDS:
        say(f"Failed to resize buffer. Requested: {NEEDS}, available {arena}, missing: 1")
        raise RuntimeError("TFLM failed to allocate tensors")


class Native:
    """y is the first values of x, plus one."""

    def __init__(self, x: tuple[int, ...], y: tuple[int, ...]) -> None:
        self._shapes, self._x, self._y = (x, y), np.zeros(x, np.float32), np.zeros(y, np.float32)

    def get_input_details(self, index: int) -> dict[str, Any]:
        assert index == 0
        return self._details(0)

    def get_output_details(self, index: int) -> dict[str, Any]:
        assert index == 0
        return self._details(1)

    def _details(self, side: int) -> dict[str, Any]:
        none = np.zeros(0)
        quantized = {"scales": none, "zero_points": none}
        shape = np.array(self._shapes[side])
        return {"shape": shape, "dtype": np.float32, "quantization_parameters": quantized}

    def set_input(self, array: Any, index: int) -> None:
        self._x = array.copy()

    def invoke(self) -> int:
        self._y = self._x.reshape(-1)[: self._y.size].reshape(self._y.shape) + 1
        self._x[:] = 99  # The arena is used for something else now.
        return 0

    def get_output(self, index: int) -> Any:
        return self._y.copy()

    def print_allocations(self) -> None:
        for name, size in (("total", RECORDED), ("head", 512), ("tail", 288)):
            say(f"[RecordingMicroAllocator] Arena allocation {name} {size} bytes")


def tflm(schema: Any, make: Callable[[int], None] = fits) -> Any:
    """A module tflite_micro whose interpreters `make` allows, by their arena."""

    def from_bytes(data: bytes, arena_size: int) -> Native:
        make(arena_size)
        return Native((1, 8, 8, 1), (1, 10))

    def convert(data: bytes) -> Any:
        return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))

    return SimpleNamespace(
        runtime=SimpleNamespace(
            schema_fb=schema,
            convert_bytearray_to_object=convert,
            Interpreter=SimpleNamespace(from_bytes=from_bytes),
        )
    )


def how(path: Path, **options: Any) -> dict[str, Any]:
    return {"path": str(path), "options": options, "inputs": [], "outputs": []}


def refusing(said: str, error: str = "TFLM failed to allocate tensors") -> Callable[[int], None]:
    def make(arena: int) -> None:
        say(said)
        raise RuntimeError(error)

    return make


def test_a_model_runs_with_the_names_of_its_file(
    drive: ModuleType, schema: Any, tiny_float: Path
) -> None:
    session = drive.open_session(tflm(schema), how(tiny_float), None)
    assert [spec["name"] for spec in session.inputs] == ["image"]
    assert session.outputs == [
        {"name": "probs", "shape": [1, 10], "dtype": "float32", "scale": None, "zero_point": None}
    ]
    x = np.arange(128, dtype=np.float32).reshape(2, 8, 8, 1)
    (y,) = session.run([x])
    assert y[:, 0].tolist() == [1.0, 65.0]
    assert session.repeat()()[0][0, 0] == 65.0, "the input went in again"
    assert session.ran() == "reference"


def test_every_op_is_on_the_cpu(drive: ModuleType, schema: Any, tiny_float: Path) -> None:
    session = drive.open_session(tflm(schema), how(tiny_float), None)
    ops, reason = session.placement()
    assert reason == ""
    assert [op[1] for op in ops[:2]] == ["CONV_2D", "DEPTHWISE_CONV_2D"]
    assert {(op[2], op[3]) for op in ops} == {("CPU", "float32")}


def test_the_arena_is_the_least_that_works_and_not_what_is_recorded(
    drive: ModuleType, schema: Any, tiny_float: Path
) -> None:
    session = drive.open_session(tflm(schema), how(tiny_float), None)
    memory, head, tail = session.figures()
    assert memory["value"] == 1008, "1000, in steps of 16"
    assert "800 of it hold something afterwards" in memory["reason"]
    assert "64 bits" in memory["reason"]
    assert (head["value"], tail["value"]) == (512, 288)
    assert {f["kind"] for f in (memory, head, tail)} == {"measured"}
    assert session.figures()[0]["value"] == 1008, "asked twice"


def test_where_the_record_is_right_nothing_more_is_said(
    drive: ModuleType, schema: Any, tiny_float: Path
) -> None:
    session = drive.open_session(tflm(schema, lambda arena: None), how(tiny_float), None)
    memory = session.figures()[0]
    assert memory["value"] == RECORDED
    assert "afterwards" not in memory["reason"]


@pytest.mark.parametrize("arena", [NEEDS - 1, CRASHES_BELOW - 1, 1])
def test_an_arena_that_is_too_small_says_how_much_is_needed(
    drive: ModuleType, schema: Any, tiny_float: Path, arena: int
) -> None:
    said = f"^arena {arena} bytes: is too small.* needs 1008 here"
    with pytest.raises(run.Fault, match=said) as refused:
        drive.open_session(tflm(schema), how(tiny_float, arena=arena), None)
    assert refused.value.code == 3


def test_an_arena_that_is_large_enough_is_the_one_that_is_used(
    drive: ModuleType, schema: Any, tiny_float: Path
) -> None:
    used: list[int] = []
    session = drive.open_session(tflm(schema, used.append), how(tiny_float, arena=2048), None)
    assert used == [2048], "in this process, the trials are in others"
    assert session.figures()[0]["value"] == RECORDED


@pytest.mark.parametrize("arena", [0, -1, 2**31, "24 KB", 1.5])
def test_an_arena_that_is_no_number_of_bytes_is_refused(
    drive: ModuleType, schema: Any, tiny_float: Path, arena: Any
) -> None:
    with pytest.raises(run.Fault, match=f"^arena {arena}: is no number of bytes") as refused:
        drive.open_session(tflm(schema), how(tiny_float, arena=arena), None)
    assert refused.value.code == 2


def test_a_delegate_is_refused(drive: ModuleType, schema: Any, tiny_float: Path) -> None:
    with pytest.raises(run.Fault, match="it takes no delegate"):
        drive.open_session(tflm(schema), how(tiny_float), {"library": "GPU", "options": {}})


def test_a_first_guess_that_is_too_small_is_not_the_last(
    drive: ModuleType, schema: Any, tiny_float: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive._Trial, "_guess", lambda self: 700)
    session = drive.open_session(tflm(schema), how(tiny_float), None)
    assert session.figures()[0]["value"] == 1008


def test_a_model_that_needs_too_much_ends_the_search(
    drive: ModuleType, schema: Any, tiny_float: Path
) -> None:
    make = refusing("Failed to resize buffer. Requested: 9, available 8, missing: 1")
    with pytest.raises(run.Fault, match="does not run it: Failed to resize buffer"):
        drive.open_session(tflm(schema, make), how(tiny_float), None)


HYBRID = """\
tensorflow/lite/micro/kernels/conv_common.cc Hybrid models are not supported on TFLite Micro.
Node CONV_2D (number 5f) failed to prepare with status 1"""
HALF = """\
tensorflow/lite/micro/kernels/dequantize_common.cc:42 input->type == kTfLiteInt8 was not true.
Node DEQUANTIZE (number 0) failed to prepare with status 1"""
UNKNOWN = """\
Didn't find op for builtin opcode 'ERF'
Failed to get registration from op code ERF
"""
DYNAMIC = "Op#3 (RESHAPE) of subgraph 0 has dynamic tensor #7\nDynamic tensors are not supported"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (HYBRID, "its CONV_2D, op 5 of the model, refuses: Hybrid models are not supported on TFL"),
        (HALF, "its DEQUANTIZE, op 0 of the model, refuses: input->type == kTfLiteInt8 was not"),
        (UNKNOWN, "it has no op ERF$"),
        (DYNAMIC, r"Op#3 \(RESHAPE\) of subgraph 0 has dynamic tensor #7$"),
        ("", "it gives no reason$"),
    ],
)
def test_what_tflm_prints_is_the_reason(
    drive: ModuleType, schema: Any, tiny_float: Path, said: str, sentence: str
) -> None:
    with pytest.raises(run.Fault, match="^TensorFlow Lite Micro does not run it: " + sentence) as f:
        drive.open_session(tflm(schema, refusing(said)), how(tiny_float), None)
    assert (f.value.code, "\n" in str(f.value)) == (3, False)
    assert "recipe int8" in f.value.hint


def test_weights_in_float16_are_named(
    drive: ModuleType, schema: Any, tiny_float: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive._Trial, "dtype", lambda self, tensor: "float16")
    sentence = "does not run it: its DEQUANTIZE, op 0 of the model, has float16 values$"
    with pytest.raises(run.Fault, match=sentence):
        drive.open_session(tflm(schema, refusing(HALF)), how(tiny_float), None)


def test_a_crash_is_a_sentence(drive: ModuleType, schema: Any, tiny_float: Path) -> None:
    def make(arena: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(run.Fault, match=r"does not run it: it ends the process \(signal 9\)$"):
        drive.open_session(tflm(schema, make), how(tiny_float), None)


def test_an_inference_without_an_end_is_a_sentence(
    drive: ModuleType, schema: Any, tiny_float: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "_CHILD_SECONDS", 1)
    with pytest.raises(run.Fault, match="does not run it: an inference takes over 1 s$"):
        drive.open_session(tflm(schema, lambda arena: signal.pause()), how(tiny_float), None)


@given(st.text())
def test_whatever_is_printed_becomes_half_a_sentence(said: str) -> None:
    drive = _explaining()
    found = drive.explain(said)
    assert found
    assert len(found) < 400
    assert "\n" not in found


def _explaining() -> ModuleType:
    before = sys.modules.get("run")
    sys.modules["run"] = run
    try:
        found = sys.modules.get("drive_tflm_explaining")
        return found or run.beside("drive_tflm", name="drive_tflm_explaining")
    finally:
        if before is None:
            del sys.modules["run"]
        else:
            sys.modules["run"] = before
