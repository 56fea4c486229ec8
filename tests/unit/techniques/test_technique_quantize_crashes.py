"""What ends a process of its own is an error here: aborting kernels, TensorFlow's calibrator."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
from fake_work import FakeWork, artifact
from litert_quantizer.utils.tfl_flatbuffer_utils import read_model as read_object

from edgekit import child
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.tflite import parse
from edgekit.techniques.quantize import Parameters, _converter, tflite
from edgekit.techniques.quantize._converter import ConverterError, convert
from edgekit.techniques.quantize._opening import may_abort, opens
from edgekit.techniques.quantize._process import CrashError, ask

MakeWork = Callable[..., FakeWork]


@pytest.fixture
def aborting() -> bytes:
    """An int8 ADD whose output scale is too small for its fixed-point multiplier."""

    def tensor(name: str, scale: float) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, [1, 4], schema.TensorType.INT8, 0
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [scale], [0]
        return made

    code, op, graph, model = (
        schema.OperatorCodeT(),
        schema.OperatorT(),
        schema.SubGraphT(),
        schema.ModelT(),
    )
    code.builtinCode, code.version = schema.BuiltinOperator.ADD, 1
    op.opcodeIndex, op.inputs, op.outputs = 0, [0, 1], [2]
    op.builtinOptionsType = schema.BuiltinOptions.AddOptions
    op.builtinOptions = schema.AddOptionsT()
    graph.tensors = [tensor("a", 1.0), tensor("b", 1.0), tensor("sum", 1e-9)]
    graph.operators, graph.inputs, graph.outputs = [op], [0, 1], [2]
    model.version, model.description = 3, "an ADD"
    model.operatorCodes, model.subgraphs, model.buffers = [code], [graph], [schema.BufferT()]
    return bytes(convert_object_to_bytearray(model))


def test_nearly_all_files_are_opened_here(tiny_float: Path, work_on: MakeWork) -> None:
    work = work_on(tiny_float)
    tflite.apply(Parameters("int8", samples=4), work.source, work)
    assert not may_abort(parse(work.output.read_bytes(), where="made"))


def test_a_file_that_aborts_the_runtime_is_refused(aborting: bytes, tmp_path: Path) -> None:
    model = parse(aborting, where="made")
    assert may_abort(model)
    assert opens(aborting, model, folder=tmp_path) == (
        "the runtime crashed with SIGABRT when it opened the result"
    )
    assert list(tmp_path.glob("open-*")) == []


def test_an_abort_is_the_engines_failure(
    aborting: bytes, tiny_float: Path, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = type("Made", (), {"content": aborting, "widened": ()})
    monkeypatch.setattr(tflite, "quantize", lambda *args, **settings: made)
    work = work_on(tiny_float)
    with pytest.raises(PromiseError) as caught:
        tflite.apply(Parameters("int8"), work.source, work)
    assert caught.value.message == (
        "quantize: int8 does not work on this model: the runtime crashed with SIGABRT when it "
        "opened the result; TFLiteConverter cannot help: there is no Keras model to convert again"
    )
    assert "dynamic-int8" in caught.value.hint


def test_a_sound_file_opens_in_the_other_process_too(tiny_leaky: Path, tmp_path: Path) -> None:
    """LEAKY_RELU is not among the ops that are known to be checked."""
    content = tiny_leaky.read_bytes()
    model = parse(content, where="leaky")
    assert may_abort(model)
    assert opens(content, model, folder=tmp_path) == ""


def test_a_file_that_the_other_process_refuses(tiny_leaky: Path, tmp_path: Path) -> None:
    model = read_object(tiny_leaky.read_bytes())
    model.subgraphs[0].operators[0].inputs = [0]
    content = bytes(convert_object_to_bytearray(model))
    reason = opens(content, parse(content, where="cut"), folder=tmp_path)
    assert reason.startswith("the runtime does not open the result (RuntimeError: ")


def test_a_process_that_raises_or_takes_too_long(tmp_path: Path) -> None:
    request = {"job": "open", "model": str(tmp_path / "none.tflite")}
    with pytest.raises(CrashError, match=r"ended with exit code 1: FileNotFoundError: .*none"):
        ask(request, folder=tmp_path)
    with pytest.raises(CrashError) as caught:
        ask(request, folder=tmp_path, limit_seconds=0.001)
    assert str(caught.value) == "did not end within 0.001 s"


def test_a_process_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "none"))
    with pytest.raises(CrashError) as caught:
        ask({"job": "open"}, folder=tmp_path)
    assert str(caught.value) == "did not start: No such file or directory"


@pytest.mark.parametrize(
    ("code", "stderr", "text"),
    [
        (-11, "", "crashed with SIGSEGV"),
        (-99, "", "crashed with signal 99"),
        (3, "", "ended with exit code 3"),
        (1, "Traceback\n  OSError: full \n\n", "ended with exit code 1: OSError: full"),
    ],
)
def test_how_it_ended(code: int, stderr: str, text: str) -> None:
    assert child._ended(code, stderr) == text


class TestConvert:
    def feed(self) -> Iterator[dict[str, Any]]:
        for value in range(3):
            yield {"b": np.full((1, 2), value, np.float32), "a": np.zeros((1, 1), np.float32)}

    def answered(self, monkeypatch: pytest.MonkeyPatch, answer: Any) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def stand_in(request: dict[str, Any], *, folder: Path) -> Any:
            seen.update(request)
            names = ["a", "b"]
            seen["read"] = list(
                _converter._saved(Path(request["samples"]), request["names"], names)
            )
            if isinstance(answer, Exception):
                raise answer
            Path(request["output"]).write_bytes(b"made")
            return answer

        monkeypatch.setattr(_converter, "ask", stand_in)
        return seen

    def convert(self, folder: Path) -> bytes:
        path, parameters = Path("m.keras"), Parameters("int8", skip=("a*",))
        return convert(path, parameters, batch=1, feed=self.feed, folder=folder)

    def test_samples_go_over_by_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = self.answered(monkeypatch, {})
        assert self.convert(tmp_path) == b"made"
        assert [[a.shape, b.tolist()] for a, b in seen["read"]] == [
            [(1, 1), [[value, value]]] for value in (0.0, 1.0, 2.0)
        ]
        assert Parameters(**seen["parameters"]).skip == ("a*",)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("answer", "kind", "text"),
        [
            (CrashError("crashed with SIGSEGV"), ConverterError, "it crashed with SIGSEGV"),
            ({"error": "ValueError: no"}, ConverterError, "ValueError: no"),
            ({"usage": "m.keras: no model", "hint": "h"}, UsageError, "m.keras: no model"),
        ],
        ids=["crash", "error", "usage"],
    )
    def test_no_file(
        self,
        answer: Any,
        kind: type[Exception],
        text: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.answered(monkeypatch, answer)
        with pytest.raises(kind, match=f"^{re.escape(text)}$"):
            self.convert(tmp_path)

    @pytest.mark.tensorflow
    def test_a_model_that_crashes_tensorflow(
        self, tmp_path: Path, tiny_float: Path, work_on: MakeWork
    ) -> None:
        """A Keras 3 LSTM becomes a WHILE, over which TensorFlow's calibrator dies."""
        from edgekit.frameworks.keras import import_keras, save_keras

        keras = import_keras()
        steps = keras.Input((4, 3), name="steps")
        path = tmp_path / "lstm.keras"
        save_keras(keras.Model(steps, keras.layers.LSTM(4)(steps)), path)

        def feed() -> Iterator[dict[str, Any]]:
            yield {"steps": np.zeros((1, 4, 3), np.float32)}

        with pytest.raises(ConverterError, match="^it crashed with SIG"):
            convert(artifact(path).path, Parameters("int8"), batch=1, feed=feed, folder=tmp_path)
