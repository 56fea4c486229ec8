"""How far outputs of two models are apart, and files that are written in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekit.techniques.simplify._files import _varint, write
from edgekit.techniques.simplify._outputs import Outputs, full_scales, gap, probes


def outputs(*values: Any, name: str = "y", dtype: Any = np.float32) -> Outputs:
    return Outputs({name: np.array(values, dtype)})


class TestGap:
    def test_of_the_largest_value(self) -> None:
        assert gap(outputs(4, -8), outputs(4, -7), {}) == 1 / 8
        assert gap(outputs(0, 0), outputs(0, 0), {}) == 0

    def test_of_the_full_scale_where_an_op_has_one(self) -> None:
        before, after = outputs(2**-20, 0), outputs(0, 0)
        assert gap(before, after, {}) == 1
        assert gap(before, after, {"y": 1.0}) == 2**-20

    def test_infinities_and_nan_in_the_same_places_are_equal(self) -> None:
        assert gap(outputs(np.nan, -np.inf, 1), outputs(np.nan, -np.inf, 1), {}) == 0

    @pytest.mark.parametrize(
        "after",
        [
            outputs(np.nan, 1),
            outputs(np.inf, 1),
            outputs(1),
            outputs(1, 1, name="z"),
            outputs(1, 1, dtype=np.float64),
        ],
    )
    def test_what_cannot_be_compared(self, after: Outputs) -> None:
        assert gap(outputs(1, 1), after, {}) == np.inf

    def test_anything_beside_nothing(self) -> None:
        assert gap(outputs(0), outputs(1e-9), {}) == np.inf

    def test_text(self) -> None:
        assert gap(outputs("a", dtype=object), outputs("a", dtype=object), {}) == 0
        assert gap(outputs("a", dtype=object), outputs("b", dtype=object), {}) == np.inf

    @given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1), st.floats(0.125, 8))
    def test_is_of_the_scale_alone(self, values: list[float], factor: float) -> None:
        before = np.array(values, np.float64)
        after = before + np.abs(before).max() * 0.25
        found = gap(Outputs({"y": before * factor}), Outputs({"y": after * factor}), {})
        assert found == pytest.approx(0.25 if before.any() else 0)


def test_kept_outputs_come_back(tmp_path: Path) -> None:
    made = Outputs({"b/1": np.ones((2, 3)), "a": np.zeros(1, np.int64)})
    made.save(tmp_path)
    found = Outputs.load(tmp_path)
    assert list(found.arrays) == ["b/1", "a"]
    assert gap(made, found, {}) == 0


def model_of(kind: str, *weights: Any) -> Any:
    nodes = [
        helper.make_node(kind, ["x"], ["s"]),
        helper.make_node("Identity", ["s"], ["y"]),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], list(weights))
    return helper.make_model(graph)


def test_full_scales() -> None:
    assert full_scales(model_of("Sigmoid")) == {"y": 1.0}
    assert full_scales(model_of("Relu")) == {}


def test_large_inputs_make_few_probes() -> None:
    class Work:
        def probes(self, count: int) -> Any:
            return (np.zeros((count, 2**20)), np.zeros((count, 2**19)))

    assert [len(array) for array in probes(Work())] == [1, 1]  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 200, 20_000])
def test_written_in_parts_is_the_same_model(tmp_path: Path, size: int) -> None:
    weights = [
        numpy_helper.from_array(np.arange(size, dtype=np.float32), "a"),
        helper.make_tensor("b", TensorProto.FLOAT, [2], [1.0, 2.0]),
    ]
    model = model_of("Relu", *weights)
    model.metadata_props.add(key="edgekit", value="{}")
    write(model, tmp_path / "m.onnx", folder=tmp_path)
    assert onnx.load(tmp_path / "m.onnx") == model


@given(st.integers(0, 2**40))
def test_varint(value: int) -> None:
    found = _varint(value)
    assert sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(found)) == value
    assert [byte >> 7 for byte in found] == [1] * (len(found) - 1) + [0]
