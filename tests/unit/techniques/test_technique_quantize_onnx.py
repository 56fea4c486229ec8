"""Quantizing .onnx files: each scheme on tiny models, and each promise made to fail."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from fake_work import FakeWork, artifact
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.artifact import Artifact
from edgekit.errors import PromiseError, UsageError
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize import onnx as quantize
from edgekit.techniques.quantize._onnx_found import find
from edgekit.techniques.quantize._onnx_scales import narrow

SCHEMES = (
    "int8",
    "int16x8",
    "dynamic-int8",
    "weight-only-int8",
    "weight-only-int4",
    "float16",
)


class OnnxWork(FakeWork):
    """Runs .onnx files, and gives the samples that a test names."""

    rows: tuple[Any, ...] | None = None

    def predict(self, artifact: Artifact, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        session = onnxruntime.InferenceSession(str(artifact.path))
        feeds = zip(session.get_inputs(), inputs, strict=True)
        kinds = {"tensor(int64)": np.int64, "tensor(float)": np.float32}
        return tuple(session.run(None, {i.name: v.astype(kinds[i.type]) for i, v in feeds}))

    def _random(self, count: int) -> tuple[Any, ...]:
        return tuple(r[:count] for r in self.rows) if self.rows else super()._random(count)


def constant(name: str, values: Any) -> Any:
    return numpy_helper.from_array(np.ascontiguousarray(values), name)


def value(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def written(folder: Path, nodes: list[Any], tensors: list[Any], **parts: Any) -> Path:
    ends = parts.get("inputs") or [value("x", ["n", 4, 8, 8])]
    outputs = parts.get("outputs") or [value("y", ["n", 10])]
    graph = helper.make_graph(nodes, "tiny", ends, outputs, tensors)
    opset = [helper.make_opsetid("", parts.get("opset", 17))]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    path = folder / parts.get("name", "tiny.onnx")
    onnx.save(model, path, **parts.get("save", {}))
    return path


def net(folder: Path, **parts: Any) -> Path:
    """Conv, Relu, Gemm with alpha, beta and transB, MatMul, Softmax."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> Any:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "conv", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c0"], ["r0"], "relu"),
        helper.make_node("Flatten", ["r0"], ["f0"], "flatten"),
        helper.make_node("Gemm", ["f0", "w1", "b1"], ["g0"], "gemm", transB=1, alpha=0.5, beta=2.0),
        helper.make_node("Relu", ["g0"], ["r1"], "relu2"),
        helper.make_node("MatMul", ["r1", "w2"], ["m0"], "matmul"),
        helper.make_node("Softmax", ["m0"], ["y"], "softmax"),
    ]
    tensors = [
        constant("w0", weights(16, 4, 3, 3)),
        constant("b0", weights(16)),
        constant("w1", weights(64, 256)),
        constant("b1", weights(64)),
        constant("w2", weights(64, 10)),
    ]
    return written(folder, nodes, tensors, **parts)


def embedding(folder: Path, **parts: Any) -> Path:
    """A table of tokens, read twice, and a product."""
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "tokens"),
        helper.make_node("Gather", ["table", "ids"], ["e2"], "again"),
        helper.make_node("Add", ["e", "e2"], ["a"], "add"),
        helper.make_node("MatMul", ["a", "w"], ["y"], "project"),
    ]
    scale = np.linspace(0.01, 5, 100)[:, None]
    tensors = [
        constant("table", (rng.normal(size=(100, 32)) * scale).astype(np.float32)),
        constant("w", rng.normal(size=(32, 64)).astype(np.float32)),
    ]
    ids = [value("ids", ["n", 6], TensorProto.INT64)]
    return written(folder, nodes, tensors, inputs=ids, outputs=[value("y", ["n", 6, 64])], **parts)


def branching(folder: Path) -> Path:
    """An If with a product in each branch; one weight is outside."""
    rng = np.random.default_rng(2)
    branches = []
    for name, weight in (("then", "outer"), ("else", "inner")):
        own = (
            [] if weight == "outer" else [constant("inner", rng.normal(size=(16, 64)).astype("f4"))]
        )
        node = helper.make_node("MatMul", ["x", weight], [f"{name}_y"], f"{name}_product")
        branches.append(helper.make_graph([node], name, [], [value(f"{name}_y", ["n", 64])], own))
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], "sum", keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"], "greater"),
        helper.make_node(
            "If", ["positive"], ["y"], "if", then_branch=branches[0], else_branch=branches[1]
        ),
    ]
    tensors = [
        constant("outer", rng.normal(size=(16, 64)).astype("f4")),
        constant("zero", np.zeros((), "f4")),
    ]
    ends = {"inputs": [value("x", ["n", 16])], "outputs": [value("y", ["n", 64])]}
    return written(folder, nodes, tensors, **ends)


@pytest.fixture
def work(tmp_path: Path) -> OnnxWork:
    return on(net(tmp_path), tmp_path)


def on(path: Path, folder: Path, **settings: Any) -> OnnxWork:
    return OnnxWork(folder, artifact(path, "onnx"), suffix=".onnx", **settings)


def run(work: OnnxWork, **settings: Any) -> Any:
    """Checks, quantizes, and proves, as the engine does."""
    parameters = Parameters(**settings)
    quantize.check(parameters, work.source, work)
    quantize.apply(parameters, work.source, work)
    prove(work, parameters)
    return onnx.load(work.output)


def prove(work: OnnxWork, parameters: Parameters) -> None:
    quantize.verify(parameters, work.source, artifact(work.output, "onnx"), work)


def error(work: OnnxWork) -> float:
    probes = work.probes(8)
    before = work.predict(work.source, probes)[0].astype(np.float64)
    after = work.predict(artifact(work.output, "onnx"), probes)[0]
    return float(np.sum((after - before) ** 2) / np.sum(before**2))


def altered(work: OnnxWork, change: Any) -> None:
    model = onnx.load(work.output)
    change(model)
    onnx.save(model, work.output)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_is_small_near_and_the_same_each_time(scheme: Any, work: OnnxWork) -> None:
    run(work, scheme=scheme, samples=8)
    assert error(work) < 0.04
    ratio = work.output.stat().st_size / work.source.path.stat().st_size
    assert ratio < {"float16": 0.6, "weight-only-int4": 0.35}.get(scheme, 0.42)
    first = work.output.read_bytes()
    quantize.apply(Parameters(scheme=scheme, samples=8), work.source, work)
    assert work.output.read_bytes() == first
    assert sorted(p.name for p in work.folder.iterdir()) == ["result.onnx", "tiny.onnx"]
    assert any("100.0% of the values" in note.reason for note in work.noted("narrow"))


@pytest.mark.parametrize("ranges", ["min-max", "average", "entropy", "percentile"])
def test_every_way_to_find_ranges_works(ranges: Any, work: OnnxWork) -> None:
    run(work, scheme="int8", samples=16, ranges=ranges)
    assert error(work) < 0.2


def test_weights_have_a_scale_for_each_channel_unless_the_parameters_say_no(
    work: OnnxWork,
) -> None:
    run(work, scheme="int8", samples=4)
    by_kind = {made.kind: made.scales for made in find(work.output).treated}
    assert by_kind == {"Conv": 16, "Gemm": 64, "MatMul": 10}
    run(work, scheme="int8", samples=4, per_channel=False)
    assert {made.scales for made in find(work.output).treated} == {1}


@pytest.mark.parametrize("scheme", ["int8", "dynamic-int8", "weight-only-int4"])
def test_embeddings_become_int8_by_row(scheme: Any, tmp_path: Path) -> None:
    work = on(embedding(tmp_path), tmp_path)
    work.rows = (np.arange(60).reshape(10, 6).astype(np.float32),)
    model = run(work, scheme=scheme, samples=4)
    table = next(t for t in model.graph.initializer if t.name == "table_quantized")
    assert table.data_type == TensorProto.INT8
    assert sum(t.name.startswith("table") for t in model.graph.initializer) == 2
    assert error(work) < (0.1 if scheme == "int8" else 0.01)


def test_products_inside_branches_are_narrow_too(tmp_path: Path) -> None:
    work = on(branching(tmp_path), tmp_path)
    run(work, scheme="dynamic-int8")
    assert {made.how for made in find(work.output).treated} == {"integers on the fly"}
    assert error(work) < 0.01
    with pytest.raises(PromiseError, match="no op can be quantized"):
        run(work, scheme="int8", samples=2)


def test_recurrent_ops_keep_int8_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    node = helper.make_node("LSTM", ["x", "w", "r"], ["", "h"], "lstm", hidden_size=16)
    tensors = [
        constant("w", rng.normal(0, 0.3, (1, 64, 8)).astype("f4")),
        constant("r", rng.normal(0, 0.3, (1, 64, 16)).astype("f4")),
    ]
    ends = {"inputs": [value("x", [1, 3, 8])], "outputs": [value("h", [1, 3, 16])]}
    work = on(written(tmp_path, [node], tensors, **ends), tmp_path)
    work.rows = (rng.normal(size=(1, 3, 8)).astype(np.float32),)
    model = run(work, scheme="dynamic-int8")
    assert [n.op_type for n in model.graph.node].count("DequantizeLinear") == 2
    with pytest.raises(UsageError, match="int8 has no form of LSTM"):
        run(work, scheme="int8")


@pytest.mark.parametrize("scheme", ["int8", "dynamic-int8", "float16"])
def test_external_data_stays_beside_the_file(scheme: Any, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    save = {"save_as_external_data": True, "location": "t.data", "size_threshold": 0}
    work = on(net(folder, save=save), tmp_path)
    run(work, scheme=scheme, samples=4)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "result.onnx",
        "result.onnx.data",
        "source",
    ]
    assert error(work) < 0.04


def test_what_is_left_is_noted_by_kind(work: OnnxWork) -> None:
    run(work, scheme="int8", samples=4, skip=("conv",))
    assert [(n.item, n.reason) for n in work.noted("skipped")] == [
        ("1 Conv: 'conv'", "as skip says")
    ]
    run(work, scheme="dynamic-int8", op_types=("Gemm",))
    reasons = {n.item: n.reason for n in work.noted("left in float")}
    assert reasons["1 Conv: 'conv'"] == "op_types leaves this kind out"
    run(work, scheme="weight-only-int4")
    assert work.noted("made int8")
    run(work, scheme="int16x8", samples=4)
    assert work.noted("slow")


def test_a_mask_that_no_scale_holds_leaves_its_op_in_float(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], "product"),
        helper.make_node("Add", ["m", "mask"], ["a"], "masked"),
        helper.make_node("Softmax", ["a"], ["y"], "softmax"),
    ]
    mask = np.where(np.arange(64) < 60, 0, -3.4e38).astype("f4")
    weights = np.random.default_rng(0).normal(size=(16, 64)).astype("f4")
    tensors = [constant("w", weights), constant("mask", mask)]
    ends = {"inputs": [value("x", ["n", 16])], "outputs": [value("y", ["n", 64])]}
    work = on(written(tmp_path, nodes, tensors, **ends), tmp_path)
    run(work, scheme="int8", samples=4)
    assert "'masked' first" in work.noted("left in float")[0].item
    assert error(work) < 0.2


def test_values_over_the_range_of_float16_are_found_and_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], "large"),
        helper.make_node("Mul", ["m", "small"], ["s"], "back"),
        helper.make_node("MatMul", ["s", "v"], ["y"], "fine"),
    ]
    rng = np.random.default_rng(0)
    tensors = [
        constant("w", (1e5 * rng.normal(size=(16, 64))).astype("f4")),
        constant("small", np.array(1e-5, "f4")),
        constant("v", rng.normal(size=(64, 64)).astype("f4")),
    ]
    ends = {"inputs": [value("x", ["n", 16])], "outputs": [value("y", ["n", 64])]}
    work = on(written(tmp_path, nodes, tensors, **ends), tmp_path)
    run(work, scheme="float16")
    note = next(n for n in work.noted("left in float32") if "65504" in n.reason)
    assert "'w' reaches" in note.reason
    assert "'m' reaches" in note.reason
    assert error(work) < 1e-4


def test_nothing_is_logged_or_printed(
    work: OnnxWork, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        for scheme in SCHEMES:
            run(work, scheme=scheme, samples=2)
        run(work, scheme="int8", samples=2, ranges="entropy")
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_the_ladder_has_valid_rungs_for_every_scheme() -> None:
    labels = [rung.label for rung in quantize.rungs(Parameters("int8", ladder=True))]
    assert labels == [
        "all ops",
        "Conv, MatMul, Gemm and embeddings only",
        "the 10 % most sensitive ops with float activations",
        "the 25 % most sensitive ops with float activations",
        "the 50 % most sensitive ops with float activations",
        "dynamic-int8",
        "weights alone",
        "float16",
    ]
    for scheme in SCHEMES:
        per_channel = scheme in ("float16", "weight-only-int4")
        rungs = quantize.rungs(Parameters(scheme, per_channel=per_channel))
        assert rungs[0].parameters.scheme == scheme
        assert rungs[-1].parameters.scheme == "float16"
        assert len({rung.label for rung in rungs}) == len(rungs)
    own = quantize.rungs(Parameters("int8", op_types=("Conv",), io="float", ranges="entropy"))
    assert [rung.label for rung in own][:2] == [
        "Conv only",
        "the 10 % most sensitive ops with float activations",
    ]


def test_every_rung_works_on_a_model(work: OnnxWork) -> None:
    for rung in quantize.rungs(Parameters("int8", samples=4, ladder=True)):
        run(
            work,
            **{
                f.name: getattr(rung.parameters, f.name)
                for f in dataclasses.fields(rung.parameters)
            },
        )


@pytest.mark.parametrize("scheme", ["int8", "dynamic-int8"])
def test_the_op_that_costs_most_ranks_first(scheme: Any, tmp_path: Path) -> None:
    """A column that is 1000 times larger spoils a product with one scale."""
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["h"], "harmless"),
        helper.make_node("MatMul", ["h", "w"], ["y"], "spoiled"),
    ]
    rng = np.random.default_rng(0)
    spoiled = rng.normal(size=(16, 64)).astype("f4")
    spoiled[0, 0] = 3000
    tensors = [constant("v", rng.normal(size=(16, 16)).astype("f4")), constant("w", spoiled)]
    ends = {"inputs": [value("x", ["n", 16])], "outputs": [value("y", ["n", 64])]}
    work = on(written(tmp_path, nodes, tensors, **ends), tmp_path)
    chosen = Parameters(scheme, samples=4, per_channel=False)
    ranking = quantize.rank(chosen, work.source, work)
    assert {name for name, _ in ranking} == {"spoiled", "harmless"}
    assert ranking[0][1] >= ranking[1][1] > 0
    assert quantize.rank(chosen, work.source, work) == ranking


def test_too_many_ops_are_ranked_in_groups(work: OnnxWork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.techniques.quantize._onnx_ladder._MOST_OPS", 2)
    ranking = dict(quantize.rank(Parameters("int8", samples=2), work.source, work))
    assert set(ranking) == {"conv", "gemm", "matmul"}
    assert ranking["conv"] == ranking["gemm"]
    assert work.noted("ranked in groups")


def test_few_samples_are_noted_and_none_is_refused(tmp_path: Path) -> None:
    work = on(net(tmp_path), tmp_path, available=3)
    run(work, scheme="int8", samples=8)
    assert work.noted("fewer samples")[0].reason == "3 were used, and 8 are asked for"
    work.available = 0
    with pytest.raises(UsageError, match="no sample to calibrate on"):
        run(work, scheme="int8")


def test_a_fixed_batch_takes_several_samples_at_once(tmp_path: Path) -> None:
    ends = {"inputs": [value("x", [2, 4, 8, 8])], "outputs": [value("y", [2, 10])]}
    work = on(net(tmp_path, **ends), tmp_path)
    work.rows = (np.random.default_rng(0).normal(size=(2, 4, 8, 8)).astype("f4"),)
    run(work, scheme="int8", samples=2)


def test_nan_in_the_data_or_in_a_tensor_is_refused(tmp_path: Path, work: OnnxWork) -> None:
    rows = np.zeros((4, 4, 8, 8), np.float32)
    rows[2, 1, 3, 3] = np.nan
    work.rows = (rows,)
    with pytest.raises(UsageError, match="input 'x' of a calibration sample is NaN"):
        run(work, scheme="int8", samples=4)


@pytest.mark.parametrize("ranges", ["min-max", "percentile"])
def test_a_tensor_that_becomes_nan_is_named(ranges: Any, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sqrt", ["x"], ["root"], "sqrt"),
        helper.make_node("MatMul", ["root", "w"], ["y"], "product"),
    ]
    tensors = [constant("w", np.ones((16, 64), "f4"))]
    ends = {"inputs": [value("x", ["n", 16])], "outputs": [value("y", ["n", 64])]}
    work = on(written(tmp_path, nodes, tensors, **ends), tmp_path)
    with pytest.raises(UsageError, match="tensor 'root' becomes NaN"):
        run(work, scheme="int8", samples=4, ranges=ranges)


def test_an_old_opset_is_refused_with_what_it_needs(tmp_path: Path) -> None:
    work = on(net(tmp_path, opset=12), tmp_path)
    with pytest.raises(UsageError, match="opset 12, and one scale for each channel needs 13"):
        run(work, scheme="int8")
    run(work, scheme="int8", samples=2, per_channel=False)
    work = on(net(tmp_path, opset=10, name="old.onnx"), tmp_path)
    with pytest.raises(UsageError, match="opset 10, and dynamic-int8 needs 11"):
        quantize.apply(Parameters("dynamic-int8", per_channel=False), work.source, work)


# What verify finds


def test_a_file_without_narrow_weights_is_no_result(work: OnnxWork) -> None:
    work.output.write_bytes(work.source.path.read_bytes())
    with pytest.raises(PromiseError, match="no op with weights was quantized"):
        prove(work, Parameters("int8"))


def test_an_op_that_was_asked_for_and_is_float_breaks_the_promise(work: OnnxWork) -> None:
    run(work, scheme="int8", samples=2, skip=("conv",))
    with pytest.raises(PromiseError, match=r"'conv' stayed float, and op_types names Conv"):
        prove(work, Parameters("int8", op_types=("Conv", "Gemm")))


def test_one_scale_where_channels_were_asked_for_breaks_the_promise(work: OnnxWork) -> None:
    run(work, scheme="int8", samples=2, per_channel=False)
    with pytest.raises(PromiseError, match="has one scale"):
        prove(work, Parameters("int8"))


@pytest.mark.parametrize("scale", [0.0, float("nan"), -1.0, 1e30])
def test_a_scale_that_stands_for_no_value_breaks_the_promise(scale: float, work: OnnxWork) -> None:
    run(work, scheme="int8", samples=2)

    def spoil(model: Any) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "x_scale")
        tensor.CopyFrom(constant("x_scale", np.array(scale, np.float32)))

    altered(work, spoil)
    with pytest.raises(PromiseError, match="'x_QuantizeLinear' has the scale"):
        prove(work, Parameters("int8"))


def test_a_file_that_did_not_get_smaller_breaks_the_promise(work: OnnxWork) -> None:
    run(work, scheme="int8", samples=2)
    altered(work, lambda model: setattr(model, "doc_string", "x" * 200_000))
    with pytest.raises(PromiseError, match="did not get smaller"):
        prove(work, Parameters("int8"))


def test_outputs_that_are_not_finite_break_the_promise(work: OnnxWork) -> None:
    run(work, scheme="dynamic-int8")

    def spoil(model: Any) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "b0")
        tensor.CopyFrom(constant("b0", np.full(16, np.inf, np.float32)))

    altered(work, spoil)
    with pytest.raises(PromiseError, match="values NaN or infinite"):
        prove(work, Parameters("dynamic-int8"))


def test_a_file_that_the_runtime_refuses_breaks_the_promise(work: OnnxWork) -> None:
    run(work, scheme="int8", samples=2)

    def refused(artifact: Any, inputs: Any) -> Any:
        raise UsageError("it has an unknown op")

    work.predict = refused  # type: ignore[method-assign]
    with pytest.raises(PromiseError, match="does not run the file: it has an unknown op"):
        prove(work, Parameters("int8"))


def test_an_engine_that_cannot_make_float16_is_named(
    work: OnnxWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise ValueError("no such thing\nat all")

    monkeypatch.setattr("onnxruntime.transformers.float16.convert_float_to_float16", fail)
    with pytest.raises(PromiseError, match="cannot convert the model: no such thing$"):
        run(work, scheme="float16")


def test_versions_are_named() -> None:
    assert set(quantize.versions()) == {"onnx", "onnxruntime", "numpy"}


def test_scales_are_the_engines_own() -> None:
    from onnxruntime.quantization.quant_utils import quantize_data

    values = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    found, scale = narrow(values, None)
    _, expected_scale, expected = quantize_data(values.flatten(), TensorProto.INT8, True)
    assert scale == pytest.approx(expected_scale)
    assert np.abs(found.reshape(-1).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_narrowing_in_pieces_gives_the_same(axis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(9, 4, 5)).astype(np.float32)
    values[:, 2] = 0
    whole = narrow(values, axis)
    monkeypatch.setattr("edgekit.techniques.quantize._onnx_scales._PIECE", 40)
    for one, other in zip(whole, narrow(values, axis), strict=True):
        assert np.array_equal(one, other)


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is written into the current folder."""
    place = tmp_path.parent / f"{tmp_path.name}-cwd"
    place.mkdir()
    monkeypatch.chdir(place)
    yield
    assert list(place.iterdir()) == []
