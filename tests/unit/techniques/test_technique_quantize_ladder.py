"""What a ladder tries on a .tflite, and which ops it spares first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_work import FakeWork

from edgekit.core.technique import Models
from edgekit.engine.models import ModelFiles, describe, open_artifact
from edgekit.errors import UsageError
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize import tflite as quantize
from edgekit.techniques.quantize._rank import relative_error

INT8 = Parameters(scheme="int8", ladder=True)


@pytest.fixture
def work(tmp_path: Path, tiny_float: Path) -> FakeWork:
    source = open_artifact(tiny_float)
    shape = describe(source).signature.inputs[0].sample_shape
    x = np.random.default_rng(0).normal(size=(40, *shape)).astype(np.float32)
    return FakeWork(tmp_path, source, x=x, suffix=".tflite")


def test_rungs_lose_less_and_less() -> None:
    rungs = quantize.rungs(INT8)
    assert [rung.label for rung in rungs] == [
        "all ops",
        "the 10 % most sensitive ops with float activations",
        "the 25 % most sensitive ops with float activations",
        "the 50 % most sensitive ops with float activations",
        "int16x8",
        "dynamic-int8",
        "weights alone",
        "float16",
    ]
    assert [rung.spare for rung in rungs] == [0, 0.1, 0.25, 0.5, 0, 0, 0, 0]
    assert {rung.fills for rung in rungs if rung.spare} == {"weights_only"}
    schemes = [rung.parameters.scheme for rung in rungs[-4:]]
    assert schemes == ["int16x8", "dynamic-int8", "weight-only-int8", "float16"]


def test_rungs_of_other_schemes() -> None:
    assert [r.label for r in quantize.rungs(replace(INT8, scheme="float16"))] == ["all ops"]
    dynamic = quantize.rungs(replace(INT8, scheme="dynamic-int8", per_channel=False))
    assert [r.label for r in dynamic] == ["all ops", "float16"]
    assert dynamic[1].parameters.per_channel


def test_ops_with_weights_are_ranked_worst_first(work: FakeWork) -> None:
    ranking = quantize.rank(replace(INT8, ladder=False), work.source, work)
    kinds = {op.name: op.kind for op in describe(work.source).ops}
    assert {kinds[name] for name, _ in ranking} <= {
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
    }
    costs = [cost for _, cost in ranking]
    assert costs == sorted(costs, reverse=True)
    assert 0 < costs[0] < 0.1
    assert ranking == quantize.rank(replace(INT8, ladder=False), work.source, work)


def test_weights_alone_become_int8(work: FakeWork) -> None:
    name = next(op.name for op in describe(work.source).ops if op.kind == "FULLY_CONNECTED")
    parameters = Parameters(scheme="int8", weights_only=(name,))
    quantize.check(parameters, work.source, ModelFiles())
    quantize.apply(parameters, work.source, work)
    result = open_artifact(work.output)
    quantize.verify(parameters, work.source, result, work)
    made = describe(result)
    (op,) = [op for op in made.ops if op.kind == "FULLY_CONNECTED" and op.name == name]
    assert op.dtypes == ("float32",)
    wide = [weight for weight in made.weights if weight.dtype == "float32"]
    assert all(len(weight.shape) < 2 for weight in wide)
    assert any(
        note.what == "skipped" and note.reason == "stays float, as weights_only says"
        for note in work.notes
    )


def test_op_types_leaves_out_the_others(work: FakeWork) -> None:
    parameters = Parameters(scheme="int8", op_types=("FULLY_CONNECTED",))
    quantize.apply(parameters, work.source, work)
    made = describe(open_artifact(work.output))
    assert all(op.dtypes == ("float32",) for op in made.ops if op.kind == "CONV_2D")
    assert any("int8" in op.dtypes for op in made.ops if op.kind == "FULLY_CONNECTED")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (Parameters(scheme="int8", op_types=("Conv",)), "op_types 'Conv' is no kind of op"),
        (Parameters(scheme="int8", weights_only=("none*",)), "weights_only 'none*' matches no op"),
        (Parameters(scheme="weight-only-int4"), "scheme 'weight-only-int4' is for .onnx models"),
        (Parameters(scheme="int8", ranges="entropy"), "ranges 'entropy' is for .onnx models"),
    ],
)
def test_what_a_tflite_has_not(work: FakeWork, parameters: Parameters, words: str) -> None:
    models: Models = ModelFiles()
    with pytest.raises(UsageError) as caught:
        quantize.check(parameters, work.source, models)
    assert words in caught.value.message


def test_parameters_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="weights_only is for int16x8 and int8|int8 and int16x8"):
        Parameters(scheme="float16", weights_only=("a",))
    with pytest.raises(ValueError, match="op_types has an empty name"):
        Parameters(scheme="int8", op_types=("",))
    with pytest.raises(ValueError, match="weights_only has an empty pattern"):
        Parameters(scheme="int8", weights_only=("",))


def test_the_error_is_relative_and_never_nan() -> None:
    ones = np.ones(4, np.float32)
    assert relative_error(ones, ones) == 0
    assert relative_error(ones, 2 * ones) == pytest.approx(1)
    assert relative_error(ones, np.full(4, np.nan, np.float32)) == float("inf")
    assert relative_error(0 * ones, ones) > 1e20
