"""What generated C cannot do is refused in one sentence that names the op."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcu_models import Case, Op, T, case, write, write_cases

from edgekit.errors import UsageError
from edgekit.mcu.generate import generate

IMAGE = T("x", (1, 4, 4, 2))
FILTERS = T("w", (3, 2, 2, 2), 0.01, values=np.ones((3, 2, 2, 2)))
BIASES = T("b", (3,), dtype="int32", values=np.zeros(3))
OUTPUT = T("y", (1, 4, 4, 3))
STRIDES = {"strideH": 1, "strideW": 1}
WINDOW = {**STRIDES, "filterHeight": 2, "filterWidth": 2}
AXES = T("axes", (1,), dtype="int32", values=[1])
VECTOR = T("x", (2, 4))


def conv(*tensors: T, output: T = OUTPUT, **options: Any) -> Case:
    given = tensors or (IMAGE, FILTERS, BIASES)
    return case("CONV_2D", given, output, **{**STRIDES, **options})


def depthwise(filters: tuple[int, ...], **options: Any) -> Case:
    weights = T("w", filters, 0.01, values=np.ones(filters), axis=3)
    return case("DEPTHWISE_CONV_2D", [IMAGE, weights], T("y", (1, 4, 4, 2)), **STRIDES, **options)


def dense(weights: T, biases: T | None = None, output: T | None = None, **options: Any) -> Case:
    tensors = [T("x", (2, 4)), weights, *([biases] if biases else [])]
    return case("FULLY_CONNECTED", tensors, output or T("y", (2, 3)), **options)


def matrix(*shape: int, value: int = 1, **more: Any) -> T:
    return T("w", shape, values=np.full(shape, value), **{"scale": 0.01, **more})


def constant(name: str, dtype: str, values: Any, **more: Any) -> T:
    return T(name, np.shape(values), dtype=dtype, values=values, **more)


EDGES = {
    "has float32": T("x", (2,), dtype="float32"),
    "has int16": T("x", (2,), dtype="int16"),
    "has no quantization of the whole tensor": T("x", (2,), (0.1, 0.2)),
    "has the scale 0.0 and zero point 0": T("x", (2,), 0.0),
    "has the scale 0.05000000074505806 and zero point 128": T("x", (2,), zero_point=128),
    "has the shape [2, 0]": T("x", (2, 0)),
    "has the shape [1, 1, 1, 1, 1, 1, 1]": T("x", (1,) * 7),
    "has 1073741824 elements (too many for a microcontroller)": T("x", (1 << 15, 1 << 15)),
}

CASES = {
    "has int32 in input 1 ('b1')": case("ADD", [VECTOR, constant("b", "int32", [1])], VECTOR),
    "has the input [2, 4], where an image of 4 axes is understood": conv(
        VECTOR, FILTERS, output=T("y", (2, 4))
    ),
    "has filters [3, 8], where 4 axes are understood": conv(IMAGE, matrix(3, 8)),
    "has filters [3, 2, 2, 3] on an input [1, 4, 4, 2]": conv(IMAGE, matrix(3, 2, 2, 3)),
    "computes its input 1 ('w1'), which must be a constant": conv(IMAGE, T("w", (3, 2, 2, 2))),
    "has int32 in its input 1 ('w1'), where int8 is understood": conv(
        IMAGE, constant("w", "int32", np.ones((3, 2, 2, 2)))
    ),
    "has 2 scales for 3 filters": conv(IMAGE, T("w", (3, 2, 2, 2), (1.0, 2.0), values=np.ones(24))),
    "has filters with scales along axis 3, where 0 is": conv(
        IMAGE, T("w", (3, 2, 2, 2), (0.1,) * 3, values=np.ones(24), axis=3)
    ),
    "has filters with a zero point": conv(
        IMAGE, T("w", (3, 2, 2, 2), 0.01, zero_point=4, values=np.ones(24))
    ),
    "has 2 biases for 3 outputs": conv(IMAGE, FILTERS, constant("b", "int32", [1, 2])),
    "can add up to more than 32 bits hold": conv(
        IMAGE, FILTERS, constant("b", "int32", [2**31 - 1] * 3)
    ),
    "has the stride in height 0, where 1 to 32768 is understood": conv(strideH=0),
    "has the dilation in width -1, where 1 to 32768 is understood": conv(dilationWFactor=-1),
    "has the padding 7": conv(padding=7),
    "has the fused activation 4": conv(fusedActivationFunction=4),
    "makes [1, 3, 3, 3], and its output says [1, 4, 4, 3]": conv(padding=1),
    "has a window of 9 on an image of 4, which leaves nothing": conv(padding=1, dilationHFactor=8),
    "has filters [1, 2, 2, 3] on an input [1, 4, 4, 2]": depthwise((1, 2, 2, 3)),
    "has filters [1, 2, 2, 2] on an input [1, 4, 4, 2]": depthwise((1, 2, 2, 2), depthMultiplier=2),
    "has the input [2, 4], where an image of 4 axes is": case("MAX_POOL_2D", [VECTOR], VECTOR),
    "has the filter height 0": case("MAX_POOL_2D", [IMAGE], IMAGE, **{**WINDOW, "filterHeight": 0}),
    "has weights [3, 5] on an input [2, 4]": dense(matrix(3, 5)),
    "has shuffled weights": dense(matrix(3, 4), weightsFormat=1),
    "can add up to more than 32 bits hold ": dense(matrix(3, 4, scale=1e12)),
    "has the inputs [2, 4] and [3], which do not fit": case("ADD", [VECTOR, T("b", (3,))], VECTOR),
    "and 9.999999717180685e-10 at its output, too far apart for 32 bits": case(
        "SUB", [VECTOR, T("b", (2, 4))], T("y", (2, 4), 1e-9)
    ),
    "and 1.000000013351432e-10 at its output": case(
        "MUL", [VECTOR, T("b", (2, 4))], T("y", (2, 4), 1e-10)
    ),
    "has the axes [2] on an input [2, 4]": case(
        "MEAN", [VECTOR, constant("axes", "int32", [2])], T("y", (2,))
    ),
    "can add up to more than 32 bits hold  ": case(
        "MEAN", [T("x", (2, 4), 1e9), AXES], T("y", (2,), 0.01)
    ),
    "has an output of scale 0.05000000074505806 and zero point 0, where 1/256 and -128": case(
        "SOFTMAX", [VECTOR], VECTOR, beta=1.0
    ),
    "and beta 0.0, too small or too large": case(
        "SOFTMAX", [VECTOR], T("y", (2, 4), 1 / 256, -128), beta=0.0
    ),
    "has an input without axes": case("SOFTMAX", [T("x", ())], T("y", (), 1 / 256, -128), beta=1.0),
    "has 5000 classes, where 4095 fit the sum": case(
        "SOFTMAX", [T("x", (5000,))], T("y", (5000,), 1 / 256, -128), beta=1.0
    ),
    "has an output of scale 0.05000000074505806, where 1/256": case("LOGISTIC", [VECTOR], VECTOR),
    "has the scales 1000000.0 and 0.009999999776482582, too far apart": case(
        "QUANTIZE", [T("x", (2, 4), 1e6)], T("y", (2, 4), 0.01)
    ),
    "has the paddings [[0, -1], [0, 0]] on an input [2, 4]": case(
        "PAD", [VECTOR, constant("p", "int32", [[0, -1], [0, 0]])], VECTOR
    ),
    "pads with a value of another scale or zero point": case(
        "PADV2",
        [VECTOR, constant("p", "int32", [[0, 0], [0, 0]]), constant("v", "int8", 1, scale=0.9)],
        VECTOR,
    ),
    "has a fused activation": case(
        "CONCATENATION", [VECTOR], VECTOR, axis=0, fusedActivationFunction=1
    ),
    "joins tensors of different scales or zero points": case(
        "CONCATENATION", [VECTOR, T("z", (2, 4), 0.2)], T("y", (4, 4)), axis=0
    ),
    "joins along axis 2 of 2": case("CONCATENATION", [VECTOR], VECTOR, axis=2),
    "joins [2, 4], [2, 3]": case("CONCATENATION", [VECTOR, T("z", (2, 3))], VECTOR, axis=0),
    "has the axis order [0, 0] on an input [2, 4]": case(
        "TRANSPOSE", [VECTOR, constant("o", "int32", [0, 0])], VECTOR
    ),
    "makes [4] of [2, 4]": case("RESHAPE", [VECTOR, constant("s", "int32", [4])], T("y", (4,))),
    "lacks its input 1": case("ADD", [VECTOR], VECTOR),
}


@pytest.mark.parametrize("message", EDGES)
@pytest.mark.parametrize("role", ["input", "output"])
def test_an_input_or_output_that_is_refused(tmp_path: Path, message: str, role: str) -> None:
    edge, good = replace(EDGES[message], name=role[0]), T("good", (2,))
    tensors = [edge, good] if role == "input" else [good, edge]
    op = Op("RELU", [tensors[0].name], [tensors[1].name], version=2)
    path = write(tmp_path / "m.tflite", tensors, [op], op.inputs, *op.outputs)
    with pytest.raises(UsageError) as caught:
        generate(path)
    start = f"{path}: the {role} '{role[0]}' {message}, where generated C has computed int8"
    assert caught.value.message == start


@pytest.mark.parametrize("message", CASES)
def test_an_op_that_is_refused(tmp_path: Path, message: str) -> None:
    wanted = CASES[message]
    path = write_cases(tmp_path / "m.tflite", [case("RELU", [VECTOR], VECTOR), wanted])
    with pytest.raises(UsageError) as caught:
        generate(path)
    assert caught.value.message.startswith(f"{path}: op 1 ({wanted.kind}) ")
    assert message.rstrip() in caught.value.message


def test_a_tensor_between_two_ops_that_is_refused(tmp_path: Path) -> None:
    tensors = [VECTOR, T("m", (2, 4), dtype="int16"), T("y", (2, 4))]
    ops = [Op("QUANTIZE", ["x"], ["m"]), Op("QUANTIZE", ["m"], ["y"])]
    path = write(tmp_path / "m.tflite", tensors, ops, ["x"], "y")
    with pytest.raises(UsageError, match=r"op 0 \(QUANTIZE\) has int16 in the output \('m'\)$"):
        generate(path)


def test_all_strange_ops_are_named_at_once(tmp_path: Path) -> None:
    ops = ["ABS", "COS", "ELU", "EXP", "FILL", "GATHER", "SIGN"]
    path = write_cases(tmp_path / "m.tflite", [case(op, [VECTOR], VECTOR) for op in ops])
    with pytest.raises(UsageError, match=r"op 0 \(ABS\), .*, op 4 \(FILL\) and 2 more$") as caught:
        generate(path)
    assert "or use TensorFlow Lite Micro" in caught.value.hint


def test_float_outputs_get_the_hint_that_helps(tmp_path: Path) -> None:
    dequantize = case("DEQUANTIZE", [VECTOR], T("y", (2, 4), dtype="float32"))
    with pytest.raises(UsageError) as caught:
        generate(write_cases(tmp_path / "m.tflite", [dequantize]))
    assert caught.value.hint == "quantize the inputs and outputs to int8 too"


def test_a_dynamic_shape_is_refused_and_a_dynamic_batch_is_one_sample(tmp_path: Path) -> None:
    batch = T("x", (1, 4), signature=(-1, 4))
    path = write_cases(tmp_path / "m.tflite", [case("RELU", [batch], T("y", (1, 4)))])
    assert generate(path).inputs[0].shape == (1, 4)
    free = T("x", (1, 1), signature=(1, -1))
    path = write_cases(tmp_path / "m.tflite", [case("RELU", [free], T("y", (1, 1)))])
    with pytest.raises(UsageError, match=r"the input 'x0' has the dynamic shape \[1, '\?'\]"):
        generate(path)


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ([], "has no op to generate C for"),
        ([Op("RELU", ["late"], ["y"])], "reads 'late', which no op before it makes"),
        ([Op("RELU", ["x"], ["x"])], "makes 'x', which is there already"),
        ([Op("RELU", ["x"], ["c"])], "makes 'c', which is there already"),
        ([Op("RELU", ["x"], ["y", "late"])], "has 2 outputs, where 1 is understood"),
        ([Op("RELU", ["x"], ["late"])], "no op makes the output 'y'"),
        ([Op("ADD", ["x", "odd"], ["y"])], "the constant 'odd' has 3 bytes, where [2, 4] int8"),
    ],
)
def test_a_damaged_graph_is_refused(tmp_path: Path, ops: list[Op], message: str) -> None:
    tensors = [VECTOR, T("y", (2, 4)), T("late", (2, 4))]
    tensors += [constant("c", "int8", [[1] * 4] * 2), T("odd", (2, 4), values=[1, 2, 3])]
    path = write(tmp_path / "m.tflite", tensors, ops, ["x"], "y")
    with pytest.raises(UsageError) as caught:
        generate(path)
    assert message in caught.value.message


def test_an_output_that_is_a_constant_is_refused(tmp_path: Path) -> None:
    tensors = [VECTOR, T("y", (2, 4)), constant("c", "int8", [1, 2])]
    path = write(tmp_path / "m.tflite", tensors, [Op("RELU", ["x"], ["y"])], ["x"], "c")
    with pytest.raises(UsageError, match="the output 'c' has a constant"):
        generate(path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "m.tflite"
    return write_cases(path, [conv(), dense(matrix(3, 4), BIASES)]).read_bytes()


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_a_damaged_file_is_refused_or_understood(
    good: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Never anything but a UsageError, whatever byte is wrong."""
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(good) - 1))
        changed[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.tflite"
    path.write_bytes(changed)
    with contextlib.suppress(UsageError):
        generate(path)
