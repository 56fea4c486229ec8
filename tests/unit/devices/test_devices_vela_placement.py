"""Which op is on the NPU: by what Vela left of the model."""

from __future__ import annotations

import pytest
from vela_fakes import ALL, RELU_TANH, SOME, chain

from edgekit.devices._vela_placement import advice, place
from edgekit.devices._vela_report import Refusal
from edgekit.frameworks.tflite import TfliteModel, parse

FLOAT = "Operation has tensor with unsupported DataType Float32"


def parsed(data: bytes) -> TfliteModel:
    return parse(data, where="test")


def refusal(kind: str, output: str, reason: str, constraint: str = "") -> Refusal:
    return Refusal(kind, output, reason, constraint)


def places(original: bytes, made: bytes, *refusals: Refusal) -> list[tuple[str, str, str]]:
    rows = place(parsed(original), parsed(made), refusals, "Ethos-U55")
    assert [row[0] for row in rows] == list(range(len(rows)))
    return [(row[1], row[2], row[4]) for row in rows]


def test_all_on_the_npu() -> None:
    assert places(RELU_TANH, ALL) == [("RELU", "Ethos-U55", ""), ("TANH", "Ethos-U55", "")]


def test_what_the_file_still_has_is_on_the_cpu_with_velas_reason() -> None:
    why = refusal("TANH", "y", "Unsupported opType")
    assert places(RELU_TANH, SOME, why)[1] == (
        "TANH",
        "CPU",
        "Unsupported opType: replace the op by one that `vela --supported-ops-report` lists",
    )
    assert places(RELU_TANH, SOME)[1] == ("TANH", "CPU", "Vela gives no reason")


def test_a_refused_op_that_is_gone_was_computed_by_vela() -> None:
    found = places(RELU_TANH, ALL, refusal("RELU", "a", "Operation has shapeless tensor"))
    assert found == [("RELU", "compiled away", ""), ("TANH", "Ethos-U55", "")]


def test_the_reason_of_an_op_that_vela_took_apart() -> None:
    found = places(RELU_TANH, SOME, refusal("RELU", "y", FLOAT))
    assert found[1][2] == f"{FLOAT}: quantize it with the recipe int8"


def test_an_op_that_vela_added_is_not_hidden() -> None:
    made = chain(("ethos-u", "a"), ("CAST", "b"), ("ethos-u", "y"))
    assert places(RELU_TANH, made)[2] == ("CAST", "CPU", "Vela added it, and gives no reason")


def test_float_inputs_and_outputs_want_integer_ones() -> None:
    floats = {"x": "FLOAT32", "y": "FLOAT32"}
    original = chain(("QUANTIZE", "a"), ("RELU", "b"), ("DEQUANTIZE", "y"), dtypes=floats)
    made = chain(("QUANTIZE", "a"), ("ethos-u", "b"), ("DEQUANTIZE", "y"), dtypes=floats)
    why = refusal("QUANTIZE", "a", FLOAT), refusal("DEQUANTIZE", "y", "Unsupported opType")
    first, second, third = places(original, made, *why)
    change = 'take integer inputs and outputs: io = "integer" in the recipe\'s quantize step'
    assert first[2] == f"{FLOAT}: {change}"
    assert second[1] == "Ethos-U55"
    assert third[2] == f"Unsupported opType: {change}"
    dtypes = [row[3] for row in place(parsed(original), parsed(made), why, "Ethos-U55")]
    assert dtypes == ["float32 to int8", "int8", "int8 to float32"]


@pytest.mark.parametrize(
    ("reason", "constraint", "change"),
    [
        (FLOAT, "", "quantize it with the recipe int8"),
        ("Operation has shapeless tensor", "", "fix the shapes of the model's inputs"),
        (
            "Unsupported opType",
            "",
            "replace the op by one that `vela --supported-ops-report` lists",
        ),
        (
            "Unsupported IFM type: Int16",
            "",
            "quantize its activations to int8 with the recipe int8",
        ),
        (
            "Unsupported kernel stride: 1, 4",
            "Stride>3 no",
            "change it so that it fits: Stride>3 no",
        ),
        ("Something new", "", "replace the op"),
    ],
)
def test_what_to_change(reason: str, constraint: str, change: str) -> None:
    assert advice(refusal("A", "y", reason, constraint)).startswith(change)
