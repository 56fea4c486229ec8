"""Ops of a static scheme that keep float activations while their weights become int8."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from test_technique_quantize_onnx import (
    OnnxWork,
    altered,
    branching,
    constant,
    embedding,
    error,
    net,
    on,
    prove,
    run,
    value,
    written,
)

from edgekit.errors import PromiseError
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize import onnx as quantize
from edgekit.techniques.quantize._onnx_found import find


@pytest.fixture
def work(tmp_path: Path) -> OnnxWork:
    return on(net(tmp_path), tmp_path)


def hows(work: OnnxWork) -> dict[str, str]:
    return {made.name: made.how for made in find(work.output).treated}


def node_of(model: Any, name: str) -> Any:
    return next(node for node in model.graph.node if node.name == name)


def maker_of(model: Any, name: str) -> Any:
    return next((node for node in model.graph.node if name in node.output), None)


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
@pytest.mark.parametrize("name", ["conv", "gemm", "matmul"])
def test_weights_are_int8_by_channel_and_inputs_float(
    scheme: Any, name: str, work: OnnxWork
) -> None:
    model = run(work, scheme=scheme, samples=8, weights_only=(name,))
    found = hows(work)
    assert found.pop(name) == "integer weights"
    assert set(found.values()) == {"integers"}
    node = node_of(model, name)
    before = maker_of(model, node.input[0])
    assert before is None or before.op_type != "DequantizeLinear"
    source = maker_of(model, node.input[1])
    assert source.op_type == "DequantizeLinear"
    assert {item.name for item in source.attribute} == {"axis"}
    weights = next(t for t in model.graph.initializer if t.name == source.input[0])
    assert weights.data_type == TensorProto.INT8
    assert error(work) < 0.04
    first = work.output.read_bytes()
    quantize.apply(Parameters(scheme, samples=8, weights_only=(name,)), work.source, work)
    assert work.output.read_bytes() == first


def test_all_ops_with_float_activations_are_as_small_and_nearer(work: OnnxWork) -> None:
    run(work, scheme="int8", samples=8)
    size, lost = work.output.stat().st_size, error(work)
    model = run(work, scheme="int8", samples=8, weights_only=("*",))
    assert work.output.stat().st_size <= size
    assert error(work) < lost / 5
    assert set(hows(work).values()) == {"integer weights"}
    assert all(node.op_type != "QuantizeLinear" for node in model.graph.node)


def test_they_are_noted_by_kind_and_not_counted_as_integer_work(work: OnnxWork) -> None:
    run(work, scheme="int8", samples=4, weights_only=("conv", "relu*"))
    note = work.noted("float activations")[0]
    assert (note.item, note.reason) == (
        "1 Conv: 'conv'",
        "its weights are int8, as weights_only says",
    )
    left = work.noted("left in float")[0]
    assert left.item == "2 Relu: 'relu', 'relu2'"
    assert left.reason == "weights_only matches it, and it has no weights"
    shares = work.noted("narrow")[0].reason
    assert "1 in integer weights, 2 in integers" in shares
    assert "100.0% of the values" in shares


def test_the_weights_count_as_float_work(work: OnnxWork) -> None:
    run(work, scheme="int8", samples=4)
    assert "100.0% of the multiply-accumulates" in work.noted("narrow")[0].reason
    run(work, scheme="int8", samples=4, weights_only=("conv",))
    assert "100.0% of the multiply-accumulates" not in work.noted("narrow")[1].reason


@pytest.mark.parametrize("removable", ["Relu", "Clip"])
def test_what_they_read_is_still_cut_off(removable: str, tmp_path: Path) -> None:
    """The engine leaves a Relu out where integers cut off negative values anyway."""
    rng = np.random.default_rng(0)
    ends = ["c"] if removable == "Relu" else ["c", "zero", "one"]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "first", pads=[1] * 4),
        helper.make_node(removable, ends, ["r"], "cut"),
        helper.make_node("Conv", ["r", "v"], ["d"], "second", pads=[1] * 4),
        helper.make_node("Conv", ["r", "v"], ["e"], "third", pads=[1] * 4),
        helper.make_node("Sub", ["d", "s"], ["f"], "less"),
        helper.make_node("Add", ["e", "f"], ["y"], "sum"),
    ]
    tensors = [
        constant("w", rng.normal(size=(16, 4, 3, 3)).astype("f4")),
        constant("v", rng.normal(size=(16, 16, 3, 3)).astype("f4")),
        constant("zero", np.zeros((), "f4")),
        constant("one", np.ones((), "f4")),
        constant("s", np.full((), 0.5, "f4")),
    ]
    used = {name for node in nodes for name in node.input}
    outputs = [value("y", ["n", 16, 8, 8])]
    kept = [tensor for tensor in tensors if tensor.name in used]
    work = on(written(tmp_path, nodes, kept, outputs=outputs), tmp_path)
    run(work, scheme="int8", samples=8, weights_only=("second",))
    assert hows(work) == {
        "first": "integers",
        "second": "integer weights",
        "third": "integers",
    }
    assert error(work) < 0.01


def test_skip_goes_first(work: OnnxWork) -> None:
    run(work, scheme="int8", samples=4, skip=("conv",), weights_only=("conv", "gemm"))
    assert hows(work) == {"gemm": "integer weights", "matmul": "integers"}
    assert work.noted("skipped")[0].item == "1 Conv: 'conv'"


def test_op_types_go_first(work: OnnxWork) -> None:
    run(work, scheme="int8", samples=4, op_types=("Gemm", "MatMul"), weights_only=("*m*", "conv"))
    assert hows(work) == {"gemm": "integer weights", "matmul": "integer weights"}


def test_embeddings_and_products(tmp_path: Path) -> None:
    work = on(embedding(tmp_path), tmp_path)
    work.rows = (np.arange(60).reshape(10, 6).astype(np.float32),)
    run(work, scheme="int8", samples=4, weights_only=("tokens", "add", "project"))
    assert hows(work) == {
        "tokens": "integer table",
        "again": "integer table",
        "project": "integer weights",
    }
    assert error(work) < 0.01


def test_products_inside_branches(tmp_path: Path) -> None:
    work = on(branching(tmp_path), tmp_path)
    run(work, scheme="int8", samples=2, weights_only=("*_product",))
    assert set(hows(work).values()) == {"integer weights"}
    assert error(work) < 0.01


def test_one_scale_for_each_tensor(work: OnnxWork) -> None:
    run(work, scheme="int8", samples=4, per_channel=False, weights_only=("*",))
    assert {made.scales for made in find(work.output).treated} == {1}


def small(folder: Path) -> OnnxWork:
    """A depthwise convolution of 144 values, and a large one."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "d"], ["c"], "depthwise", pads=[1] * 4, group=16),
        helper.make_node("Conv", ["c", "w"], ["y"], "pointwise"),
    ]
    tensors = [
        constant("d", rng.normal(size=(16, 1, 3, 3)).astype("f4")),
        constant("w", rng.normal(size=(64, 16, 1, 1)).astype("f4")),
    ]
    ends = {
        "inputs": [value("x", ["n", 16, 8, 8])],
        "outputs": [value("y", ["n", 64, 8, 8])],
    }
    return on(written(folder, nodes, tensors, **ends), folder)


def test_weights_too_few_to_save_anything_stay_float(tmp_path: Path) -> None:
    work = small(tmp_path)
    run(work, scheme="int8", samples=4, op_types=("Conv",), weights_only=("*",))
    assert hows(work) == {"pointwise": "integer weights"}
    note = work.noted("left in float")[0]
    assert note.item == "1 Conv: 'depthwise'"
    assert note.reason == "its weights are too few for int8 to make the file smaller"
    run(work, scheme="dynamic-int8", op_types=("Conv",))
    assert hows(work) == {"pointwise": "integer weights"}
    run(work, scheme="int8", samples=4)
    assert set(hows(work).values()) == {"integers"}


def test_a_rung_fills_weights_only_and_the_last_ones_do_without_it() -> None:
    rungs = quantize.rungs(Parameters("int8", ladder=True, weights_only=("conv",)))
    spared = [rung for rung in rungs if rung.spare]
    assert [rung.spare for rung in spared] == [0.1, 0.25, 0.5]
    assert {rung.fills for rung in spared} == {"weights_only"}
    assert {rung.parameters.weights_only for rung in spared} == {("conv",)}
    by_label = {rung.label: rung.parameters.weights_only for rung in rungs}
    assert by_label["dynamic-int8"] == by_label["float16"] == ()
    assert by_label["weights alone"] == ("*",)


def test_what_is_spared_already_is_not_ranked(tmp_path: Path, work: OnnxWork) -> None:
    chosen = Parameters("int8", samples=2, weights_only=("conv",))
    assert {name for name, _ in quantize.rank(chosen, work.source, work)} == {"gemm", "matmul"}
    table = on(embedding(tmp_path, name="table.onnx"), tmp_path)
    table.rows = (np.arange(60).reshape(10, 6).astype(np.float32),)
    ranked = quantize.rank(dataclasses.replace(chosen, weights_only=()), table.source, table)
    assert [name for name, _ in ranked] == ["project"]


# What verify finds


def test_integer_activations_break_the_promise(work: OnnxWork) -> None:
    run(work, scheme="int8", samples=2)
    with pytest.raises(PromiseError, match="'conv' has not int8 weights and float activations"):
        prove(work, Parameters("int8", weights_only=("conv",)))


def test_float_weights_break_the_promise(work: OnnxWork) -> None:
    run(work, scheme="int8", samples=2, skip=("conv",))
    with pytest.raises(PromiseError, match="'conv' has not int8 weights"):
        prove(work, Parameters("int8", weights_only=("conv",)))


def test_one_scale_for_all_channels_breaks_the_promise(work: OnnxWork) -> None:
    run(work, scheme="int8", samples=2, per_channel=False, weights_only=("*",))
    with pytest.raises(PromiseError, match="has one scale"):
        prove(work, Parameters("int8", weights_only=("*",)))


def test_wider_integers_break_the_promise(work: OnnxWork) -> None:
    model = run(work, scheme="int8", samples=2, weights_only=("conv",))
    ends = maker_of(model, node_of(model, "conv").input[1]).input

    def widen(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.name in (ends[0], ends[2]):
                values = onnx.numpy_helper.to_array(tensor).astype(np.int32)
                tensor.CopyFrom(constant(tensor.name, values))

    altered(work, widen)
    with pytest.raises(PromiseError, match="'conv' has not int8 weights"):
        prove(work, Parameters("int8", weights_only=("conv",)))
