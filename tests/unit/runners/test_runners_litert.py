"""The litert runner: signature, runs, errors, placement."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_builder import Graph, Node, Tensor, build, relu

from edgekit.core.artifact import Quantization, Signature, TensorSpec
from edgekit.core.runner import OpPlacement
from edgekit.core.schema import parse_options
from edgekit.errors import UsageError
from edgekit.runners import litert
from edgekit.runners._litert import quiet_start
from edgekit.runners.litert import LitertSession, Options

NONE = Signature((), ())


def opened(
    folder: Path, content: bytes, signature: Signature = NONE, **options: Any
) -> LitertSession:
    path = folder / "m.tflite"
    path.write_bytes(content)
    return litert.open(path, signature, Options(**options))


def error_of(folder: Path, content: bytes) -> tuple[str, str]:
    with pytest.raises(UsageError) as caught:
        opened(folder, content)
    return caught.value.message.replace(f"{folder}{os.sep}", ""), caught.value.hint


def test_the_runtime_works_here() -> None:
    assert litert.unavailable() == ""


def test_a_runtime_that_fails_says_why_and_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    assert litert.unavailable() == (
        "ai-edge-litert does not work here: import of ai_edge_litert.interpreter halted; None in "
        "sys.modules; install it again: pip install --force-reinstall ai-edge-litert"
    )


def test_versions_name_the_packages_behind_the_results() -> None:
    assert set(litert.versions()) == {"ai-edge-litert", "numpy"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("threads=0", "t: threads must be from 1 to 64, not 0"),
        ("threads=65", "t: threads must be from 1 to 64, not 65"),
        ("kernels=xnpack", "t: kernels: unknown value 'xnpack'"),
    ],
)
def test_wrong_options_are_usage_errors(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(Options, text, where="t")
    assert caught.value.message == message


def test_signature_has_shapes_dtypes_and_quantization(tmp_path: Path) -> None:
    session = opened(tmp_path, _tanh_softmax("int8"))
    assert session.signature == Signature(
        (TensorSpec("x", (1, 4), "int8", Quantization(0.03125, 0)),),
        (TensorSpec("y", (1, 4), "int8", Quantization(0.00390625, -128)),),
    )


def test_names_come_from_the_files_own_signature(tmp_path: Path) -> None:
    session = opened(tmp_path, _add(signature={"b": "image", "a": "mask", "c": "sum"}))
    assert [spec.name for spec in session.signature.inputs] == ["image", "mask"]
    assert [spec.name for spec in session.signature.outputs] == ["sum"]


def test_the_order_of_a_known_signature_is_kept(tmp_path: Path) -> None:
    specs = (TensorSpec("a", (1, 2), "float32"), TensorSpec("b", (1, 1), "float32"))
    session = opened(tmp_path, _add(), Signature(specs, ()))
    assert [spec.name for spec in session.signature.inputs] == ["a", "b"]
    (sums,) = session.run((np.array([[1, 2]], np.float32), np.array([[10]], np.float32)))
    assert sums.tolist() == [[11.0, 12.0]]


def test_a_signature_with_other_names_changes_nothing(tmp_path: Path) -> None:
    specs = (TensorSpec("p", (1, 2), "float32"), TensorSpec("q", (1, 1), "float32"))
    session = opened(tmp_path, _add(), Signature(specs, ()))
    assert [spec.name for spec in session.signature.inputs] == ["b", "a"]


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin", "reference"])
@pytest.mark.parametrize("batch", [1, -1, 4])
@pytest.mark.parametrize("count", [1, 4, 9, 300])
def test_any_number_of_samples_runs_in_any_batch(
    tmp_path: Path, kernels: str, batch: int, count: int
) -> None:
    session = opened(tmp_path, relu((batch, 2)), kernels=kernels)
    x = np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)
    for _ in range(2):
        (y,) = session.run((x,))
        assert np.array_equal(y, np.maximum(x, 0))


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_changing_batches_leave_nothing_behind(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int]
) -> None:
    session = opened(tmp_path_factory.mktemp("m"), relu((-1, 2)))
    session._most_rows = 7
    for count in counts:
        x = np.arange(2 * count, dtype=np.float32).reshape(count, 2) - count
        (y,) = session.run((x,))
        assert np.array_equal(y, np.maximum(x, 0))


def test_a_batch_that_is_dynamic_in_name_only_runs_one_by_one(tmp_path: Path) -> None:
    session = opened(tmp_path, _reshape((-1, 2), (1, 2)))
    x = np.arange(10, dtype=np.float32).reshape(5, 2)
    (y,) = session.run((x,))
    assert np.array_equal(y, x)
    assert session._most_rows == 1


def test_an_output_without_batch_axis_is_one_samples(tmp_path: Path) -> None:
    session = opened(tmp_path, _reshape((1, 6), (2, 3)))
    x = np.arange(18, dtype=np.float32).reshape(3, 6)
    (y,) = session.run((x,))
    assert np.array_equal(y, x.reshape(3, 2, 3))


def test_a_fixed_batch_whose_output_has_no_batch_axis_is_an_error(tmp_path: Path) -> None:
    session = opened(tmp_path, _reshape((4, 2), (8,)))
    with pytest.raises(UsageError, match="an output has the shape 8 for 4 samples"):
        session.run((np.zeros((4, 2), np.float32),))


def test_many_rows_are_bounded_by_the_bytes_of_the_activations(tmp_path: Path) -> None:
    session = opened(tmp_path, relu((-1, 3_000_000)))
    assert session._most_rows == 5


def test_invoke_repeats_the_last_sample(tmp_path: Path) -> None:
    session = opened(tmp_path, relu())
    session.run((np.array([[-1, 2]], np.float32),))
    session.invoke()
    assert session._interpreter.get_tensor(1).tolist() == [[0.0, 2.0]]
    session.close()
    with pytest.raises(AssertionError, match="the session is closed"):
        session.invoke()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((1, 3), np.float32), "takes float32 of shape 1x2, not float32 of shape 1x3"),
        (np.zeros((1, 2), np.int8), "takes float32 of shape 1x2, not int8 of shape 1x2"),
        (np.zeros((2,), np.float32), "takes float32 of shape 1x2, not float32 of shape 2"),
    ],
)
def test_an_input_that_does_not_fit_is_named(tmp_path: Path, array: Any, said: str) -> None:
    session = opened(tmp_path, relu())
    with pytest.raises(UsageError) as caught:
        session.run((array,))
    assert caught.value.message == f"{tmp_path / 'm.tflite'}: the input 'x' {said}"


def test_another_number_of_inputs_is_an_error(tmp_path: Path) -> None:
    session = opened(tmp_path, relu())
    with pytest.raises(UsageError, match="takes 1 inputs, not 2"):
        session.run((np.zeros((1, 2), np.float32),) * 2)


def test_an_input_without_batch_axis_is_refused(tmp_path: Path) -> None:
    message, hint = error_of(tmp_path, relu(()))
    assert message == "m.tflite: the input 'x' is a single value without a batch axis"
    assert hint == "give the input a first axis of size 1 and convert the model again"


def test_unknown_ops_are_named(tmp_path: Path) -> None:
    runtime = f"LiteRT {litert.versions()['ai-edge-litert']}"
    older = "update ai-edge-litert, or convert the model again with an older converter"
    assert error_of(tmp_path, relu(version=99)) == (
        f"m.tflite: {runtime} does not have the op RELU in version 99",
        older,
    )
    assert error_of(tmp_path, relu(op="MyOp", custom=True)) == (
        f"m.tflite: the custom op 'MyOp' is not one that {runtime} has",
        "edgekit runs built-in ops only: replace the op, then convert the model again",
    )
    assert error_of(tmp_path, relu(op="FlexErf", custom=True)) == (
        f"m.tflite: the op 'Erf' is TensorFlow's own; {runtime} does not have it",
        "convert the model again without SELECT_TF_OPS",
    )
    assert error_of(tmp_path, relu(op="250")) == (
        f"m.tflite: the op with the code 250 is newer than {runtime}, or the file is damaged",
        older,
    )
    assert error_of(tmp_path, relu()[:100]) == (
        f"m.tflite: {runtime} cannot run it: The model is not a valid Flatbuffer buffer",
        "",
    )


def test_placement_says_what_xnnpack_took_and_why_not_the_rest(tmp_path: Path) -> None:
    ops = opened(tmp_path, _tanh_softmax("int8")).placement().ops
    assert ops == (
        OpPlacement(0, "TANH", "XNNPACK", "int8"),
        OpPlacement(1, "SOFTMAX", "CPU", "int8", "no int8 kernel in XNNPACK"),
    )


def test_placement_without_xnnpack_says_that_it_is_off(tmp_path: Path) -> None:
    ops = opened(tmp_path, _tanh_softmax("int8"), kernels="reference").placement().ops
    assert {(op.where, op.reason) for op in ops} == {
        ("CPU", "XNNPACK is off (kernels = reference)")
    }


def test_placement_of_16_bit_activations(tmp_path: Path) -> None:
    ops = opened(tmp_path, _tanh_softmax("int16")).placement().ops
    assert [(op.where, op.dtype, op.reason) for op in ops] == 2 * [
        ("CPU", "int16", "no int16 kernel in XNNPACK")
    ]


def test_placement_names_both_dtypes_of_a_conversion(tmp_path: Path) -> None:
    graph = Graph(
        [Tensor("x", (1, 2)), Tensor("y", (1, 2), "int8", 0.1, 3)],
        [Node("QUANTIZE", ["x"], ["y"])],
        ["x"],
        ["y"],
    )
    (op,) = opened(tmp_path, build(graph)).placement().ops
    assert op == OpPlacement(0, "QUANTIZE", "XNNPACK", "float32 to int8")


def test_the_runtime_starts_without_noise_and_other_lines_get_through(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(relu())
    code = (
        "import os, sys; from pathlib import Path; from edgekit.runners import litert\n"
        "from edgekit.core.artifact import Signature\n"
        f"litert.open(Path({str(tmp_path / 'm.tflite')!r}), Signature((), ()), litert.Options())\n"
        "from edgekit.runners._litert import quiet_start\n"
        "with quiet_start(): os.write(2, b'INFO: Created TensorFlow Lite X\\nWARNING: y\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_root()
    )
    assert (done.stdout, done.stderr) == ("", "WARNING: y\n")


def test_noise_is_held_back_also_when_the_runtime_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), quiet_start():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nlast words\n")
        raise ZeroDivisionError
    assert capfd.readouterr().err == "last words\n"


def _root() -> Path:
    return Path(litert.__file__).resolve().parents[2]


def _add(signature: dict[str, str] | None = None) -> bytes:
    """c = b + a, whose inputs have different shapes and stand in the order b, a."""
    return build(
        Graph(
            [Tensor("a", (1, 2)), Tensor("b", (1, 1)), Tensor("c", (1, 2))],
            [Node("ADD", ["b", "a"], ["c"])],
            ["b", "a"],
            ["c"],
            signature or {},
        )
    )


def _reshape(source: tuple[int, ...], target: tuple[int, ...]) -> bytes:
    return build(
        Graph(
            [
                Tensor("x", source),
                Tensor("s", (len(target),), "int32", values=target),
                Tensor("y", target),
            ],
            [Node("RESHAPE", ["x", "s"], ["y"])],
            ["x"],
            ["y"],
        )
    )


def _tanh_softmax(dtype: str) -> bytes:
    scales = {"int8": (1 / 32, 1 / 128, 1 / 256, -128), "int16": (1 / 4096, 2**-15, 2**-15, 0)}
    first, middle, last, zero_point = scales[dtype]
    return build(
        Graph(
            [
                Tensor("x", (1, 4), dtype, first),
                Tensor("t", (1, 4), dtype, middle),
                Tensor("y", (1, 4), dtype, last, zero_point),
            ],
            [Node("TANH", ["x"], ["t"]), Node("SOFTMAX", ["t"], ["y"])],
            ["x"],
            ["y"],
        )
    )
