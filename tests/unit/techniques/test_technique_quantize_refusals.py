"""Models that `quantize` refuses before any work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fake_work import artifact

from edgekit.core.artifact import Artifact, Signature, TensorSpec
from edgekit.core.description import Description, Op, Weight
from edgekit.errors import UsageError
from edgekit.techniques.quantize import Parameters, Scheme, tflite

KERNEL = Weight("kernel", (4, 4), "float32", 64)
DENSE = Op(0, "FULLY_CONNECTED", "dense", ("float32",))
X, Y = TensorSpec("x", (1, 4), "float32"), TensorSpec("y", (1, 4), "float32")
MODEL = Description("tflite", Signature((X,), (Y,)), (DENSE,), (KERNEL,), 100, (), 16)


@dataclass(frozen=True)
class Described:
    """Model files of which only the description is known."""

    description: Description

    def describe(self, artifact: Artifact) -> Description:
        return self.description

    def open(self, model: str) -> Artifact:
        raise AssertionError(model)


def check(parameters: Parameters, description: Description) -> None:
    tflite.check(parameters, artifact(Path("model.tflite")), Described(description))


def error(description: Description, scheme: Scheme = "int8") -> UsageError:
    with pytest.raises(UsageError) as caught:
        check(Parameters(scheme), description)
    return caught.value


def test_a_dense_layer_is_taken() -> None:
    check(Parameters("int8"), MODEL)


def test_a_custom_op_is_named() -> None:
    custom = Op(1, "Betainc", "p", ("float32",), is_custom=True)
    found = error(replace(MODEL, ops=(DENSE, custom)), "float16")
    assert found.message == (
        "quantize: the model has the custom op Betainc ('p'), and no runtime here has a kernel for "
        "it"
    )


def test_custom_ops_that_every_runtime_has_are_taken() -> None:
    custom = Op(1, "TFLite_Detection_PostProcess", "boxes", ("float32",), is_custom=True)
    check(Parameters("dynamic-int8"), replace(MODEL, ops=(DENSE, custom)))


@pytest.mark.parametrize("place", ["input", "output"])
def test_text_is_named(place: str) -> None:
    text = TensorSpec("words", (1,), "string")
    signature = Signature((text,), (Y,)) if place == "input" else Signature((X,), (text,))
    assert error(replace(MODEL, signature=signature)).message == (
        f"quantize: {place} 'words' of the model holds text, and only models of numbers can be "
        "quantized"
    )


@pytest.mark.parametrize(
    "weights",
    [(), (Weight("shape", (2,), "int32", 8),), (Weight("scalar", (), "float32", 4),)],
    ids=["none", "integers", "a scalar"],
)
def test_a_model_without_weights(weights: tuple[Weight, ...]) -> None:
    found = error(replace(MODEL, weights=weights), "dynamic-int8")
    assert found.message == "quantize: the model has no float32 weight to quantize"
    assert found.hint == "use it as it is with the recipe 'float32'"


def test_half_weights_are_weights() -> None:
    check(Parameters("int8"), replace(MODEL, weights=(replace(KERNEL, dtype="float16"),)))


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
def test_loops_cannot_be_calibrated(scheme: Scheme) -> None:
    loop = replace(MODEL, ops=(Op(0, "WHILE", "lstm/while", ("float32",)),))
    found = error(loop, scheme)
    assert found.message == (
        f"quantize: {scheme} cannot be calibrated inside WHILE ('lstm/while'), which recurrent "
        "layers become"
    )
    assert found.hint.startswith('scheme = "dynamic-int8"')
    check(Parameters("dynamic-int8"), loop)
