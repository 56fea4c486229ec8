"""The device `edgetpu`: rules without the compiler, its log with one (a fake on PATH)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_scripts import int8_convolution
from vela_fakes import RELU_TANH, chain, model

from edgekit.core.device import DeviceSpec
from edgekit.core.op_table import load_op_table
from edgekit.core.target import load_target
from edgekit.devices import _edgetpu_serve, edgetpu
from edgekit.devices._edgetpu_compile import PROGRAM, _memory, _told, compile_model, find
from edgekit.devices._edgetpu_rules import AFTER, place
from edgekit.engine.device_session import DeviceSession, open_on_device
from edgekit.engine.models import describe
from edgekit.engine.open_model import open_model
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.frameworks.tflite import parse

__all__ = ["model"]

ALL = chain(("edgetpu-custom-op", "y"))
LOG = """
Edge TPU Compiler version 16.0.384591198
Model compiled successfully in 12 ms.
On-chip memory used for caching model parameters: 3.25KiB
On-chip memory remaining for caching model parameters: 7.88MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Operator                       Count      Status
"""
MAPPED = f"{LOG}RELU   1   Mapped to Edge TPU\nTANH   1   Mapped to Edge TPU\n"
HALF = f"{LOG}RELU   1   Mapped to Edge TPU\nTANH   1   Operation version not supported\n"


@pytest.fixture(autouse=True)
def bin_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PATH has one folder, in which a compiler may be put."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, log: str, made: bytes | None = ALL, then: str = "") -> None:
    """An edgetpu_compiler that prints a log and leaves a file."""
    if made is not None:
        (folder / "made").write_bytes(made)
    (folder / "log").write_text(log)
    text = f"""#!{sys.executable} -I
import os, sys
from pathlib import Path
here = Path(__file__).parent
assert sys.argv[1:] == ["-s", "-o", ".", "model.tflite"] and Path("model.tflite").is_file()
print((here / "log").read_text())
if (here / "made").exists():
    Path("model_edgetpu.tflite").write_bytes((here / "made").read_bytes())
{then}
"""
    (folder / PROGRAM).write_text(text)
    (folder / PROGRAM).chmod(0o755)


def compiled(model: Path) -> Any:
    found = find()
    assert found is not None
    return compile_model(model, found)


def opened(path: Path) -> DeviceSession:
    return open_on_device(
        DeviceSpec("edgetpu", edgetpu.Options(), "coral"),
        {path.name: path},
        format="tflite",
        signature=describe(open_model(str(path))).signature,
        options={"threads": 1},
    )


def reasons(data: bytes) -> list[tuple[str, str]]:
    rows = place(parse(data, where="test"), load_op_table(edgetpu.OP_TABLE))
    return [(row[2], row[4]) for row in rows]


def of_dtype(name: str) -> bytes:
    return chain(("RELU", "y"), dtypes={"x": name, "y": name})


class TestRules:
    def test_int8_ops_that_it_knows(self) -> None:
        assert reasons(RELU_TANH) == [("Edge TPU (by rules)", "")] * 2
        assert reasons(int8_convolution()) == [("Edge TPU (by rules)", "")]

    def test_one_partition_ends_at_the_first_op_that_stays(self) -> None:
        found = reasons(chain(("RELU", "a"), ("FLOOR", "b"), ("RELU", "c"), ("ABS", "y")))
        assert [where for where, _ in found] == ["Edge TPU (by rules)", "CPU", "CPU", "CPU"]
        assert found[1][1] == "is none of the ops that the Edge TPU knows: replace it"
        assert found[2][1] == AFTER
        assert found[3][1] == found[1][1], "its own reason counts more"

    def test_float_edges_want_integer_ones(self) -> None:
        floats = {"x": "FLOAT32", "y": "FLOAT32"}
        found = reasons(chain(("QUANTIZE", "a"), ("RELU", "b"), ("DEQUANTIZE", "y"), dtypes=floats))
        assert [where for where, _ in found] == ["CPU", "Edge TPU (by rules)", "CPU"]
        assert found[0][1].startswith("works on float32: take integer inputs and outputs")

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (
                chain(("RELU", "y"), dtypes={"x": "FLOAT32", "y": "FLOAT32"}),
                "works on float32, and",
            ),
            (chain(("RELU", "y"), dtypes={"x": "INT16", "y": "INT16"}), "works on int16, and"),
            (chain(("RELU", "y"), signature=(-1, 4)), "has an open shape: fix the shapes"),
            (chain(("RELU", "y"), shape=(2, 3, 3, 4)), "more than 3 axes over 1: take batches"),
            (chain(("MyOp", "y")), "is none of the ops that the Edge TPU knows"),
            (chain(("SOFTMAX", "y"), shape=(2, 4)), "takes one axis of at most 16,000 values"),
            (chain(("SOFTMAX", "y"), shape=(1, 16_001)), "takes one axis of at most 16,000"),
        ],
    )
    def test_what_it_does_not_take(self, data: bytes, said: str) -> None:
        ((where, reason),) = reasons(data)
        assert (where, said in reason) == ("CPU", True), reason

    @pytest.mark.parametrize(
        ("kind", "shape", "constant", "said"),
        [
            ("MEAN", (1, 4, 4, 2), [1, 2], ""),
            ("MEAN", (1, 4, 4, 2), [3], "reduces along x and y only"),
            ("MEAN", (1, 4, 4, 2), None, "has axes that are computed"),
            ("SUM", (1, 4), [-1], ""),
            ("SUM", (1, 4), [0], "cannot reduce the batch axis"),
            ("PAD", (1, 4, 4, 2), [0, 0, 1, 1, 1, 1, 0, 0], ""),
            ("PAD", (1, 4, 4, 2), [0, 0, 1, 1, 1, 1, 0, 1], "pads along x and y only"),
            ("PAD", (1, 4, 4, 2), None, "has paddings that are computed"),
        ],
    )
    def test_limits_by_a_constant(
        self, kind: str, shape: tuple[int, ...], constant: list[int] | None, said: str
    ) -> None:
        ((_, reason),) = reasons(with_constant(kind, shape, [constant]))
        assert reason.startswith(said)
        assert bool(reason) == bool(said)

    @pytest.mark.parametrize(
        ("kind", "constants", "said"),
        [
            ("STRIDED_SLICE", [[0, 0], [1, 4], [1, 1]], ""),
            ("STRIDED_SLICE", [[0, 0], [1, 4], [1, 2]], "takes strides of 1 only"),
            ("FULLY_CONNECTED", [None], "has weights that are computed"),
            ("CONCATENATION", [np.zeros((1, 4), np.int8)], ""),
            ("CONCATENATION", [np.ones((1, 4), np.int8)], "takes a constant only where it is zero"),
            ("PRELU", [np.ones((1, 4), np.int8)], ""),
            ("PRELU", [np.ones((2, 4), np.int8)], "takes one slope a channel"),
        ],
    )
    def test_limits_of_other_inputs(self, kind: str, constants: list[Any], said: str) -> None:
        ((_, reason),) = reasons(with_constant(kind, (1, 4), constants))
        assert reason.startswith(said)
        assert bool(reason) == bool(said)


def with_constant(kind: str, shape: tuple[int, ...], constants: list[Any]) -> bytes:
    """y = KIND(x, constants ...); None is a second input of the model."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(chain((kind, "y"), shape=shape)))
    graph = model.subgraphs[0]
    numbers = [0]
    for values in constants:
        array = np.array([0], np.int32) if values is None else np.asarray(values)
        array = array if array.dtype == np.int8 else array.astype(np.int32)
        tensor = schema.TensorT()
        tensor.name, tensor.shape = f"c{len(numbers)}", np.array(array.shape, np.int32)
        tensor.type = getattr(schema.TensorType, array.dtype.name.upper())
        if values is None:
            tensor.type = schema.TensorType.INT8
            graph.inputs = np.append(graph.inputs, len(graph.tensors)).astype(np.int32)
        else:
            tensor.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(array.tobytes(), np.uint8)
        numbers.append(len(graph.tensors))
        graph.tensors.append(tensor)
    graph.operators[0].inputs = np.array(numbers, np.int32)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class TestCompiler:
    def test_all_mapped_and_kept(self, model: Path, bin_only: Path) -> None:
        program(bin_only, MAPPED)
        made = compiled(model)
        assert made.version == "16.0.384591198"
        assert [row[2] for row in made.rows] == ["Edge TPU"] * 2
        assert dict(made.memory) == {"parameters on the chip": 3328, "parameters streamed": 0}
        (bin_only / "log").write_text("")
        assert compiled(model) == made, "the second time nothing runs"
        assert [*edgetpu.products(edgetpu.Options(), model)] == ["model_edgetpu.tflite"]

    def test_what_is_not_mapped_has_the_logs_reason(self, model: Path, bin_only: Path) -> None:
        program(bin_only, HALF)
        rows = compiled(model).rows
        assert [row[2:] for row in rows] == [
            ("Edge TPU", "int8", ""),
            ("CPU", "int8", "Operation version not supported"),
        ]

    def test_of_a_kind_the_first_ones_are_mapped(self, tmp_path: Path, bin_only: Path) -> None:
        path = tmp_path / "m.tflite"
        path.write_bytes(chain(("RELU", "a"), ("RELU", "b"), ("RELU", "c"), ("RELU", "y")))
        table = (
            "RELU 2 More than one subgraph is not supported\n"
            "RELU 1 Operation not supported\nRELU 1 Mapped to Edge TPU\n"
        )
        program(bin_only, LOG + table)
        assert [row[4] for row in compiled(path).rows] == [
            "",
            "Operation not supported",
            *["More than one subgraph is not supported"] * 2,
        ]

    @pytest.mark.parametrize(
        ("how", "said"),
        [
            ({"log": "hello"}, "edgetpu_compiler prints no version"),
            ({"log": LOG}, "edgetpu_compiler lists 0 RELU, and the model has 1"),
            ({"log": MAPPED, "made": None}, "edgetpu_compiler says otherwise, but its file has no"),
            ({"log": MAPPED, "made": b""}, "edgetpu_compiler says otherwise"),
            ({"log": MAPPED, "made": RELU_TANH}, "edgetpu_compiler says otherwise"),
            (
                {"log": "Invalid model", "then": "sys.exit(1)"},
                "edgetpu_compiler ended with exit code 1: Invalid model",
            ),
            (
                {"log": "", "then": "os.kill(os.getpid(), 9)"},
                "edgetpu_compiler crashed with SIGKILL",
            ),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, model: Path, bin_only: Path, how: dict[str, Any], said: str
    ) -> None:
        program(bin_only, **how)
        with pytest.raises(UnmeasuredError) as caught:
            compiled(model)
        assert caught.value.message.startswith(said)
        assert caught.value.hint
        kept = Path(os.environ["EDGEKIT_CACHE"]) / "edgetpu"
        assert not [path for path in kept.rglob("*") if path.suffix != ".lock"]

    @given(st.text())
    def test_any_log_is_read(self, text: str) -> None:
        _told(text)
        _memory(f"On-chip memory used for caching model parameters: {text}")

    def test_a_size_that_is_none(self) -> None:
        words = "On-chip memory used for caching model parameters: "
        assert _memory(f"{words}1.2.3KiB") == ()
        assert _memory(f"{words}.KiB") == ()


class TestServer:
    def test_without_the_compiler(self, model: Path) -> None:
        session = opened(model)
        try:
            placed = session.placement()
            told = session.figures()
            with pytest.raises(UnmeasuredError, match="the Edge TPU is not executed here"):
                session.run((np.zeros((1, 4), np.int8),))
        finally:
            session.close()
        assert [op.where for op in placed.ops] == ["Edge TPU (by rules)"] * 2
        assert placed.reason == (
            "by the rules of the compiler's documentation; edgetpu_compiler is not on PATH: "
            "not compiled"
        )
        assert [(f.name, f.kind) for f in told] == [("parameters", "estimated")]
        assert edgetpu.products(edgetpu.Options(), model) == {}
        assert "is not on PATH" in edgetpu.describe(edgetpu.Options())

    def test_with_the_compiler(self, model: Path, bin_only: Path) -> None:
        program(bin_only, HALF)
        session = opened(model)
        try:
            placed = session.placement()
            told = {f.name: f.value for f in session.figures()}
        finally:
            session.close()
        assert (placed.delegated, placed.reason) == (0.5, "")
        assert session.facts["version"] == "edgetpu_compiler 16.0.384591198"
        assert told == {"parameters on the chip": 3328, "parameters streamed": 0}
        said = edgetpu.describe(edgetpu.Options())
        assert said == "compiled by edgetpu_compiler for the Edge TPU; not executed"

    def test_nothing_mapped_ships_nothing(self, model: Path, bin_only: Path) -> None:
        none = MAPPED.replace("Mapped to Edge TPU", "Operation not supported")
        program(bin_only, none, made=RELU_TANH)
        assert edgetpu.products(edgetpu.Options(), model) == {}

    def test_parameters_over_the_cache(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "big.tflite"
        path.write_bytes(int8_convolution())
        monkeypatch.setattr(_edgetpu_serve, "CACHE_BYTES", 100)
        _, reason = _edgetpu_serve.open_model(str(path)).placement()
        assert reason.endswith(
            "320 B of parameters, and the Edge TPU keeps 100 B: the rest is sent for every "
            "inference"
        )

    def test_a_compiler_that_fails(self, model: Path, bin_only: Path) -> None:
        program(bin_only, "Invalid model", then="sys.exit(1)")
        with pytest.raises(UnmeasuredError, match="coral: edgetpu_compiler ended with exit code 1"):
            opened(model)

    def test_a_model_that_litert_does_not_open(self, tmp_path: Path) -> None:
        path = tmp_path / "custom.tflite"
        path.write_bytes(chain(("MyOp", "y")))
        with pytest.raises(UnmeasuredError, match="coral: LiteRT does not open it"):
            opened(path)

    def test_an_option_of_another_runtime(self, model: Path) -> None:
        with pytest.raises(UsageError, match="the option kernels is none for the Edge TPU"):
            open_on_device(
                DeviceSpec("edgetpu", edgetpu.Options(), "coral"),
                {model.name: model},
                format="tflite",
                signature=describe(open_model(str(model))).signature,
                options={"kernels": "xnnpack"},
            )


def test_the_target_takes_eight_bits_only() -> None:
    target = load_target("coral-edgetpu")
    assert (target.dtypes, target.executed) == (("int8", "uint8"), ())
    assert target.limits.limits.min_delegated == 1
    assert edgetpu.unavailable(edgetpu.Options()) == ""
    assert edgetpu.untimed(edgetpu.Options()) == "the Edge TPU is not executed here: no timing"
    assert edgetpu.install(edgetpu.Options(), None) is None  # type: ignore[arg-type, func-returns-value]
