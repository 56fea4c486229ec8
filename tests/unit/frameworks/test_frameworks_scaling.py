"""Input scaling as JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.artifact import InputScaling
from edgekit.errors import UsageError
from edgekit.frameworks import scaling

_numbers = st.floats(-1e6, 1e6)


@given(
    channels=st.lists(st.tuples(_numbers, _numbers), min_size=1, max_size=5),
    bounds=st.none() | st.tuples(_numbers, st.floats(1, 100)),
)
def test_round_trip(
    channels: list[tuple[float, float]], bounds: tuple[float, float] | None
) -> None:
    scale, offset = zip(*channels, strict=True)
    low, high = (None, None) if bounds is None else (bounds[0], bounds[0] + bounds[1])
    value = InputScaling(scale, offset, low, high)
    assert scaling.load(scaling.dump(value), where="m") == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "it must have scale, offset, and may have low and high"),
        ('{"scale": [1]}', "it must have scale, offset, and may have low and high"),
        ('{"scale": [1], "offset": [0], "x": 1}', "it must have scale, offset"),
        ('{"scale": [], "offset": [0]}', "scale must be a list of numbers"),
        ('{"scale": ["a"], "offset": [0]}', "scale has 'a', which is no number"),
        ('{"scale": [true], "offset": [0]}', "scale has True, which is no number"),
        ('{"scale": [1e999], "offset": [0]}', "scale has inf, which is not finite"),
        ('{"scale": [1, 2], "offset": [0, 1, 2]}', "it has 2 scales and 3 offsets"),
        ('{"scale": [1], "offset": [0], "low": 1, "high": 1}', "low 1 is not below high 1"),
        ('{"scale": [1], "offset": [0], "low": NaN}', "low has nan, which is not finite"),
        ("[" * 100_000, "maximum recursion depth"),
    ],
)
def test_damaged(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        scaling.load(text, where="m.tflite")
    assert caught.value.message.startswith("m.tflite: the input scaling stored in it is damaged (")
    assert reason in caught.value.message


@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_usage_error_or_a_scaling(data: bytes) -> None:
    try:
        scaling.load(data, where="m")
    except UsageError as error:
        assert error.message.startswith("m: ")
