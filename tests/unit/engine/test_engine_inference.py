"""Real values in, real values out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.core.artifact import Quantization, Signature, TensorSpec
from edgekit.core.runner import Placement
from edgekit.engine.inference import dequantize_array, model_inputs, quantize_array, real_outputs
from edgekit.errors import UsageError

INTEGERS = ("int8", "uint8", "int16", "int32")


@dataclass
class Echo:
    """A model that returns its input; remembers what it got."""

    signature: Signature
    got: list[Any] = field(default_factory=list)

    def run(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        self.got.append(inputs[0])
        return inputs

    def invoke(self) -> None:
        """Never timed here."""

    def placement(self) -> Placement:
        return Placement(())

    def close(self) -> None:
        """Holds nothing."""


def echo(dtype: str, quantization: Quantization | None = None) -> Echo:
    spec = TensorSpec("x", (None, 2), dtype, quantization)
    return Echo(Signature((spec,), (spec,)))


def spec_of(dtype: str, scale: float = 0.0, zero_point: int = 0) -> TensorSpec:
    quantization = Quantization(scale, zero_point) if scale else None
    return TensorSpec("x", (None,), dtype, quantization)


def quantized(values: Any, *args: Any) -> list[int]:
    return quantize_array(np.asarray(values, np.float32), spec_of(*args)).tolist()


def test_rounds_to_the_nearest_step_and_ties_to_even() -> None:
    assert quantized([-1.5, -0.5, 0.49, 0.5, 1.5, 2.51], "int8", 1.0) == [-2, 0, 0, 0, 2, 3]


def test_clips_to_the_dtype() -> None:
    assert quantized([-1e9, 1e9, np.inf, -np.inf], "int8", 0.1, 5) == [-128, 127, 127, -128]
    assert quantized([-1e9, 1e9], "uint8", 0.1, 5) == [0, 255]
    assert quantized([-1e30, 1e30], "int32", 0.1) == [-(2**31), 2**31 - 1]
    assert quantized([1e30], "int64", 0.1)[0] > 2**62


def test_an_integer_without_quantization_takes_rounded_values() -> None:
    assert quantized([0.2, 254.9, 300.0, -1.0], "uint8") == [0, 255, 255, 0]
    whole = np.array([2**53 + 1, -7], np.int64)
    assert quantize_array(whole, spec_of("int64")).tolist() == whole.tolist()
    assert quantize_array(whole, spec_of("int8")).tolist() == [127, -7]


def test_nan_for_an_integer_input_is_counted() -> None:
    with pytest.raises(UsageError) as caught:
        quantized([np.nan, 1.0, np.nan], "int8", 1.0)
    assert caught.value.message == "the input 'x' has 2 values that are NaN"
    assert caught.value.hint == (
        "the model stores this input as int8, which has no NaN: clean the data"
    )


def test_what_has_the_dtype_already_is_not_copied() -> None:
    values = np.zeros((4, 2), np.float32)
    assert quantize_array(values, spec_of("float32")) is values
    assert dequantize_array(values, spec_of("float32")) is values


def test_a_text_output_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        dequantize_array(np.array([b"cat"]), spec_of("bytes"))
    assert caught.value.message == "the output 'x' is |S3, which is not a number"


@given(
    values=hnp.arrays(
        np.float32, hnp.array_shapes(max_dims=3), elements=st.floats(-1e6, 1e6, width=32)
    ),
    scale=st.floats(2**-12, 16.0, width=32),
    zero_point=st.integers(-128, 127),
    dtype=st.sampled_from(INTEGERS),
)
def test_a_value_in_range_comes_back_within_half_a_step(
    values: Any, scale: float, zero_point: int, dtype: str
) -> None:
    spec = spec_of(dtype, scale, zero_point if dtype != "uint8" else zero_point + 128)
    stored = quantize_array(values, spec)
    back = dequantize_array(stored, spec)
    assert (stored.dtype, stored.shape, back.dtype) == (np.dtype(dtype), values.shape, np.float32)
    bounds = np.iinfo(dtype)
    inside = (stored > bounds.min) & (stored < bounds.max)
    error = np.abs(back.astype(np.float64) - values)[inside]
    slack = 1e-6 * np.abs(values[inside]) + 1e-6 * scale * 2**15
    assert np.all(error <= 0.5 * scale + slack)


@given(
    stored=hnp.arrays(np.int16, 20),
    scale=st.floats(2**-12, 16.0, width=32),
    zero_point=st.integers(-128, 127),
)
def test_stored_values_survive_the_way_out_and_in(
    stored: Any, scale: float, zero_point: int
) -> None:
    for dtype in ("int8", "int16"):
        spec = spec_of(dtype, scale, zero_point)
        array = np.clip(stored, *(np.iinfo(dtype).min, np.iinfo(dtype).max)).astype(dtype)
        assert np.array_equal(quantize_array(dequantize_array(array, spec), spec), array)


@pytest.mark.parametrize("count", [1, 255, 256, 257, 700])
def test_samples_go_through_in_chunks_and_in_order(count: int) -> None:
    session = echo("int8", Quantization(0.5, 0))
    x = np.arange(2 * count, dtype=np.float32).reshape(count, 2) % 50 - 25
    (y,) = real_outputs(session, (x,))
    assert (y.dtype, y.tolist()) == (np.float32, x.tolist())
    assert [len(part) for part in session.got] == [256] * (count // 256) + (
        [count % 256] if count % 256 else []
    )


def test_float_inputs_reach_the_model_without_a_copy() -> None:
    session = echo("float32")
    x = np.zeros((300, 2), np.float32)
    real_outputs(session, (x,))
    assert all(np.shares_memory(part, x) for part in session.got)


def test_outputs_that_change_their_shape_are_an_error() -> None:
    session = echo("float32")
    shapes = iter([(256, 2), (44, 3)])
    session.run = lambda inputs: (np.zeros(next(shapes), np.float32),)  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="change their shape with their input"):
        real_outputs(session, (np.zeros((300, 2), np.float32),))


def test_another_number_of_inputs_is_an_error() -> None:
    with pytest.raises(UsageError) as caught:
        model_inputs(echo("float32").signature, ())
    assert caught.value.message == "the model takes 1 inputs, not 0"
