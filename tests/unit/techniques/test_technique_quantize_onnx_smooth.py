"""Smoothing the inputs of products, and embeddings with too few values to be made narrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from test_technique_quantize_onnx import OnnxWork, constant, error, on, run, value, written

from edgekit.errors import PromiseError
from edgekit.techniques.quantize import _onnx_calibrated as calibrated
from edgekit.techniques.quantize._onnx_calibration import Channels
from edgekit.techniques.quantize._onnx_found import find
from edgekit.techniques.quantize._onnx_smooth import largest_gap

CORE = ("MatMul", "Gemm")


def uneven(folder: Path, *, spread: float = 100.0, outputs: int = 64, **parts: Any) -> Path:
    """Two products that read one tensor whose channels differ by `spread`; a mean reads it too."""
    rng = np.random.default_rng(0)
    sizes = np.where(np.arange(64) % 8 == 0, spread, 1.0)
    nodes = [
        helper.make_node("Mul", ["x", "sizes"], ["uneven"], "scale"),
        helper.make_node("MatMul", ["uneven", "w"], ["m"], "product"),
        helper.make_node("Gemm", ["uneven", "v", "b"], ["g"], "gemm", transB=1, alpha=0.5),
        helper.make_node("MatMul", ["g", "u"], ["h"], "last"),
        helper.make_node("Add", ["m", "h"], ["a"], "sum"),
        helper.make_node("ReduceMean", ["uneven"], ["mean"], "mean", axes=[1]),
        helper.make_node("Add", ["a", "mean"], ["y"], "rest"),
    ]
    weights = rng.normal(size=(64, outputs)) / sizes[:, None]
    tensors = [
        constant("sizes", sizes.astype("f4")),
        constant("w", weights.astype("f4")),
        constant("v", (rng.normal(size=(outputs, 64)) / sizes).astype("f4")),
        constant("u", rng.normal(size=(outputs, outputs)).astype("f4")),
        constant("b", rng.normal(size=outputs).astype("f4")),
    ]
    ends = {"inputs": [value("x", ["n", 64])], "outputs": [value("y", ["n", 64])]}
    return written(folder, nodes, tensors, **ends, **parts)


@pytest.fixture
def work(tmp_path: Path) -> OnnxWork:
    return on(uneven(tmp_path), tmp_path)


def smoothing(model: Any) -> list[Any]:
    return [node for node in model.graph.node if node.name.endswith("_smoothed")]


def lost(work: OnnxWork) -> float:
    """Of the products alone: what an outlier channel adds would hide it."""
    probes = work.probes(8)
    rest = work.predict(work.source, probes)[0] - work.predict(on_output(work), probes)[0]
    return float(np.sum(rest.astype(np.float64) ** 2))


def on_output(work: OnnxWork) -> Any:
    return on(work.output, work.folder).source


def test_channels_of_other_sizes_no_longer_take_the_steps(
    work: OnnxWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = run(work, scheme="int8", samples=32, op_types=CORE)
    assert [node.input[0] for node in smoothing(model)] == ["uneven"]
    evidence = work.noted("smoothed")[0]
    assert evidence.item == "1 input of products"
    smoothed, first = lost(work), work.output.read_bytes()
    run(work, scheme="int8", samples=32, op_types=CORE)
    assert work.output.read_bytes() == first
    monkeypatch.setattr(calibrated, "groups_of", lambda *_: [])
    assert not smoothing(run(work, scheme="int8", samples=32, op_types=CORE))
    assert smoothed < lost(work) / 4


def test_other_readers_see_the_tensor_as_it_was(work: OnnxWork) -> None:
    model = run(work, scheme="int8", samples=32, op_types=CORE, weights_only=("product",))
    (divided,) = smoothing(model)
    readers = {node.name: list(node.input) for node in model.graph.node}
    assert readers["product"][0] == "uneven"
    assert readers["mean"] == ["uneven"]
    quantized = next(node for node in model.graph.node if divided.output[0] in node.input)
    assert quantized.op_type == "QuantizeLinear"
    assert {made.how for made in find(work.output).treated} == {"integers", "integer weights"}


def test_the_division_reads_floats_where_every_op_is_narrow(work: OnnxWork) -> None:
    model = run(work, scheme="int8", samples=32, skip=("scale",))
    (divided,) = smoothing(model)
    maker = next(node for node in model.graph.node if divided.input[0] in node.output)
    assert maker.op_type == "Mul"


def test_what_an_op_makes_in_integers_is_left_as_it_is(work: OnnxWork) -> None:
    assert not smoothing(run(work, scheme="int8", samples=32))


def test_a_product_with_few_outputs_is_left_as_it_is(tmp_path: Path) -> None:
    work = on(uneven(tmp_path, outputs=16), tmp_path)
    assert not smoothing(run(work, scheme="int8", samples=32, op_types=CORE))


@pytest.mark.parametrize(
    "settings",
    [{"ranges": "percentile"}, {"ranges": "average"}, {"per_channel": False}],
    ids=lambda item: next(iter(item)),
)
def test_other_ranges_and_single_scales_leave_it_out(settings: Any, work: OnnxWork) -> None:
    assert not smoothing(run(work, scheme="int8", samples=8, op_types=CORE, **settings))


def test_sixteen_bits_need_none(work: OnnxWork) -> None:
    assert not smoothing(run(work, scheme="int16x8", samples=8, op_types=CORE))


def test_even_channels_are_left_as_they_are(tmp_path: Path) -> None:
    work = on(uneven(tmp_path, spread=1.0), tmp_path)
    assert not smoothing(run(work, scheme="int8", samples=32, op_types=CORE))
    assert not work.noted("smoothed")


def test_a_tensor_of_zeros_is_left_as_it_is(work: OnnxWork) -> None:
    work.rows = (np.zeros((8, 64), np.float32),)
    assert not smoothing(run(work, scheme="int8", samples=8, op_types=("MatMul",), skip=("last",)))


def test_a_division_that_would_change_the_outputs_is_taken_back(
    work: OnnxWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrated, "largest_gap", lambda *_: 0.5)
    assert not smoothing(run(work, scheme="int8", samples=8, op_types=CORE))
    assert "differ by 0.5" in work.noted("not smoothed")[0].reason
    assert error(work) < 0.3


def test_the_gap_counts_finite_floats_and_new_values_that_are_none() -> None:
    before = [np.array([1.0, -4.0, np.inf]), np.array([7])]
    assert largest_gap(before, [np.array([1.0, -3.0, np.inf]), np.array([9])]) == 0.25
    assert np.isnan(largest_gap(before, [np.array([np.nan, -4.0, 1.0]), np.array([7])]))


@given(st.lists(st.floats(-1e6, 1e6, width=64), min_size=6, max_size=60))
def test_channels_know_their_ends_and_their_mean_square(values: list[float]) -> None:
    rows = np.array(values[: len(values) // 3 * 3], np.float32).reshape(-1, 3)
    channels = Channels(3)
    assert not channels.is_finite
    for row in rows:
        channels.add(row[None])
    assert (channels.low == rows.min(axis=0)).all()
    assert (channels.high == rows.max(axis=0)).all()
    mean = np.mean(rows.astype(np.float64) ** 2, axis=0)
    assert np.allclose(channels.mean_square, mean, rtol=1e-5)
    assert channels.is_finite


def tables(folder: Path, rows: int) -> Path:
    """A large embedding plus one of a few rows, and a product."""
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Gather", ["words", "ids"], ["e"], "tokens"),
        helper.make_node("Gather", ["kinds", "zero"], ["k"], "kind"),
        helper.make_node("Add", ["e", "k"], ["a"], "add"),
        helper.make_node("MatMul", ["a", "w"], ["y"], "project"),
    ]
    tensors = [
        constant("words", rng.normal(size=(2000, 32)).astype("f4")),
        constant("kinds", rng.normal(size=(rows, 32)).astype("f4")),
        constant("w", rng.normal(size=(32, 64)).astype("f4")),
        constant("zero", np.zeros((), np.int64)),
    ]
    ids = [value("ids", ["n", 6], TensorProto.INT64)]
    ends = {"inputs": ids, "outputs": [value("y", ["n", 6, 64])]}
    return written(folder, nodes, tensors, **ends)


@pytest.mark.parametrize("scheme", ["int8", "dynamic-int8", "weight-only-int8"])
def test_a_table_of_next_to_nothing_stays_float(scheme: Any, tmp_path: Path) -> None:
    work = on(tables(tmp_path, 2), tmp_path)
    work.rows = (np.arange(60).reshape(10, 6).astype(np.float32),)
    kinds = ("MatMul", "Gather")
    model = run(work, scheme=scheme, op_types=kinds, **({"samples": 4} if scheme == "int8" else {}))
    held = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert held["kinds"] == TensorProto.FLOAT
    assert held["words_quantized"] == TensorProto.INT8
    (note,) = work.noted("left in float")
    assert note.item == "1 Gather: 'kind'"
    assert "too few" in note.reason


def test_a_table_with_more_than_that_becomes_int8(tmp_path: Path) -> None:
    work = on(tables(tmp_path, 8), tmp_path)
    work.rows = (np.arange(60).reshape(10, 6).astype(np.float32),)
    model = run(work, scheme="int8", samples=4)
    assert "kinds_quantized" in {tensor.name for tensor in model.graph.initializer}


def test_a_model_with_such_a_table_alone_has_nothing_to_quantize(tmp_path: Path) -> None:
    work = on(tables(tmp_path, 2), tmp_path)
    work.rows = (np.arange(60).reshape(10, 6).astype(np.float32),)
    with pytest.raises(PromiseError, match="no op can be quantized"):
        run(work, scheme="int8", samples=4, op_types=("Gather",), skip=("tokens",))
    assert onnx.load(work.source.path).graph.node
