"""What is done to a converted graph: folding into weights, names, sets in one order."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.conversions._onnx_affine import fold_affine
from edgekit.conversions._onnx_names import layer_of, rename
from edgekit.conversions._sorted_sets import SortedSet, sorted_sets

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(0)


def values(*shape: int) -> Any:
    return RNG.uniform(0.5, 1.5, shape).astype(np.float32)


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def model(nodes: list[Any], shape: list[int], weights: dict[str, Any]) -> Any:
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [info("x", onnx.TensorProto.FLOAT, shape)],
        [info("y", onnx.TensorProto.FLOAT, None)],
        tensors,
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)


def run(content: Any) -> Any:
    import onnxruntime

    shape = [size.dim_value for size in content.graph.input[0].type.tensor_type.shape.dim]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        content.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return session.run(None, {"x": x})[0]


def folded(nodes: list[Any], shape: list[int], weights: dict[str, Any]) -> tuple[int, list[str]]:
    """How many nodes are gone and what is left; the outputs must be the same."""
    content = model(nodes, shape, weights)
    before = run(content)
    count = fold_affine(content.graph)
    np.testing.assert_allclose(run(content), before, rtol=1e-5, atol=1e-5)
    used = {name for item in content.graph.node for name in item.input}
    assert {tensor.name for tensor in content.graph.initializer} <= used
    return count, [item.op_type for item in content.graph.node]


IMAGE = [2, 3, 6, 6]
CONV = {"w": values(4, 3, 3, 3)}
CHANNELS = {"s": values(4, 1, 1), "t": values(1, 4, 1, 1)}


class TestFold:
    @pytest.mark.parametrize("bias", [{}, {"b": values(4)}])
    def test_a_batch_norm_as_mul_and_add(self, bias: dict[str, Any]) -> None:
        layer = node("Conv", "x w b" if bias else "x w", "c")
        nodes = [layer, node("Mul", "c s", "m"), node("Add", "t m", "y")]
        assert folded(nodes, IMAGE, {**CONV, **bias, **CHANNELS}) == (2, ["Conv"])

    def test_a_batch_norm_as_it_is(self) -> None:
        parts = {name: values(4) for name in ("gamma", "beta", "mean", "variance")}
        after = node("BatchNormalization", "c gamma beta mean variance", "y", epsilon=1e-3)
        nodes = [node("Conv", "x w", "c"), after]
        assert folded(nodes, IMAGE, {**CONV, **parts}) == (1, ["Conv"])

    @pytest.mark.parametrize("kind", ["Sub", "Div"])
    def test_a_difference_and_a_quotient(self, kind: str) -> None:
        nodes = [node("Conv", "x w", "c"), node(kind, "c s", "y")]
        assert folded(nodes, IMAGE, {**CONV, **CHANNELS})[0] == 1

    def test_one_value_for_all_channels(self) -> None:
        nodes = [node("Conv", "x w", "c"), node("Mul", "c k", "y")]
        assert folded(nodes, IMAGE, {**CONV, "k": values(1)})[0] == 1

    def test_a_depthwise_convolution(self) -> None:
        nodes = [node("Conv", "x w", "c", group=3), node("Mul", "c s", "y")]
        assert folded(nodes, IMAGE, {"w": values(3, 1, 3, 3), "s": values(3, 1, 1)})[0] == 1

    def test_a_transposed_convolution(self) -> None:
        nodes = [node("ConvTranspose", "x w", "c"), node("Mul", "c s", "y")]
        assert folded(nodes, IMAGE, {"w": values(3, 4, 2, 2), "s": values(4, 1, 1)})[0] == 1

    @pytest.mark.parametrize("transposed", [0, 1])
    def test_a_dense_layer(self, transposed: int) -> None:
        shape = (5, 3) if transposed else (3, 5)
        nodes = [
            node("Gemm", "x w b", "c", transB=transposed),
            node("Mul", "c s", "m"),
            node("Add", "m t", "y"),
        ]
        weights = {"w": values(*shape), "b": values(5), "s": values(5), "t": values(1, 5)}
        assert folded(nodes, [2, 3], weights) == (2, ["Gemm"])

    def test_a_convolution_of_one_dimension(self) -> None:
        """It is one of two dimensions, with a Squeeze in front of its BatchNorm."""
        nodes = [
            node("Conv", "x w", "c"),
            node("Squeeze", "c axes", "d"),
            node("Mul", "d s", "m"),
            node("Relu", "m", "y"),
        ]
        weights = {"w": values(4, 3, 1, 3), "axes": np.array([2]), "s": values(4, 1)}
        assert folded(nodes, [2, 3, 1, 9], weights) == (1, ["Conv", "Squeeze", "Relu"])

    def test_weights_that_two_layers_share_stay_for_the_other(self) -> None:
        nodes = [
            node("Conv", "x w", "c"),
            node("Mul", "c s", "m"),
            node("Conv", "x w", "d"),
            node("Add", "m d", "y"),
        ]
        assert folded(nodes, IMAGE, {**CONV, **CHANNELS}) == (1, ["Conv", "Conv", "Add"])

    @pytest.mark.parametrize(
        ("after", "extra"),
        [
            ([node("Mul", "c k", "y")], {"k": values(4)}),  # along the last axis, not the channel
            ([node("Mul", "c k", "y")], {"k": values(1, 1, 4, 4)}),
            ([node("Mul", "c k", "y")], {"k": values(1, 1, 4, 1, 1)}),
            ([node("Mul", "c x2", "y"), node("Relu", "s", "z")], {"x2": values(2, 4, 4, 4)}),
            ([node("Div", "s c", "y")], {}),
            ([node("Div", "c k", "y")], {"k": np.zeros((4, 1, 1), np.float32)}),
            ([node("Mul", "c s", "m"), node("Add", "m c", "y")], {}),  # read twice
            ([node("Relu", "c", "r"), node("Mul", "r s", "y")], {}),
        ],
    )
    def test_what_is_not_channel_by_channel_or_not_alone_stays(
        self, after: list[Any], extra: dict[str, Any]
    ) -> None:
        content = model([node("Conv", "x w", "c"), *after], IMAGE, {**CONV, **CHANNELS, **extra})
        assert fold_affine(content.graph) == 0

    @pytest.mark.parametrize(
        ("layer", "weights"),
        [
            (node("Gemm", "x w", "c", alpha=2.0), {"w": values(3, 4)}),
            (node("Gemm", "x w b", "c"), {"w": values(3, 4), "b": values(2, 4)}),
            (node("Gemm", "x x", "c", transB=1), {}),
            (node("ConvTranspose", "x w", "c", group=3), {"w": values(3, 2, 2, 2)}),
        ],
    )
    def test_a_layer_that_is_not_plain_stays(self, layer: Any, weights: dict[str, Any]) -> None:
        nodes = [layer, node("Mul", "c k", "y")]
        assert fold_affine(model(nodes, [2, 3], {**weights, "k": values(1)}).graph) == 0

    def test_an_output_of_the_model_stays_what_it_is(self) -> None:
        content = model([node("Conv", "x w", "c"), node("Mul", "c s", "y")], IMAGE, {**CONV})
        content.graph.initializer.append(onnx.numpy_helper.from_array(CHANNELS["s"], "s"))
        content.graph.output.add().name = "c"
        assert fold_affine(content.graph) == 0

    def test_what_an_inner_graph_reads_stays(self) -> None:
        info = onnx.helper.make_tensor_value_info("o", onnx.TensorProto.FLOAT, None)
        inner = onnx.helper.make_graph([node("Relu", "c", "o")], "inner", [], [info])
        branch = node("If", "go", "i", then_branch=inner, else_branch=inner)
        nodes = [node("Conv", "x w", "c"), node("Mul", "c s", "m"), branch, node("Add", "m i", "y")]
        weights = {**CONV, "s": CHANNELS["s"], "go": np.array(True)}
        assert folded(nodes, IMAGE, weights)[0] == 0


class TestNames:
    @pytest.mark.parametrize(
        ("scope", "doubled", "layer"),
        [
            ("conv_1", True, "conv"),
            ("conv_1_2", True, "conv_1"),
            ("conv_1", False, "conv_1"),
            ("conv_4", False, "conv"),
            ("other", True, ""),
        ],
    )
    def test_the_layer_of_a_scope(self, scope: str, doubled: bool, layer: str) -> None:
        assert layer_of(scope, frozenset({"conv", "conv_1"}), doubled=doubled) == layer

    def test_nodes_are_named_after_layers_and_weights_after_nodes(self) -> None:
        first = node("Conv", "x net_1/c_1/kernel__33:0 const__7 ", "net_1/c_1/BiasAdd__9:0")
        first.name = "Conv__12"
        second = node("Clip", "net_1/c_1/BiasAdd__9:0 lo__3 hi__1", "net_1/act_1/Relu6:0")
        second.name = "net_1/act_1/Relu6__40"
        third = node("Exp", "net_1/act_1/Relu6:0", "y")
        third.name = "einsum140292875119568_id"
        weights = {
            "hi__1": np.float32(6),
            "lo__3": np.float32(0),
            "net_1/c_1/kernel__33:0": values(4, 3, 3, 3),
            "const__7": values(4),
            "unused__9": values(1),
        }
        content = model([first, second, third], IMAGE, weights)
        rename(content.graph, ["c", "act"], doubled=True)
        assert [(n.name, list(n.input), list(n.output)) for n in content.graph.node] == [
            ("c/Conv", ["x", "c/Conv/weight", "c/Conv/bias"], ["c/Conv"]),
            ("act/Relu6", ["c/Conv", "act/Relu6/min", "act/Relu6/max"], ["act/Relu6"]),
            ("Exp", ["act/Relu6"], ["y"]),
        ]
        assert [tensor.name for tensor in content.graph.initializer] == [
            "c/Conv/weight",
            "c/Conv/bias",
            "act/Relu6/min",
            "act/Relu6/max",
            "constant_0",
        ]
        run(content)

    def test_inner_graphs_and_names_that_meet(self) -> None:
        info = onnx.helper.make_tensor_value_info
        inner = onnx.helper.make_graph(
            [node("Add", "a__2:0 k__5", "o__6")],
            "inner",
            [],
            [info("o__6", onnx.TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(values(1), "k__5")],
        )
        nodes = [
            node("Relu", "x", "a__2:0"),
            node("Relu", "a__2:0", "a__3:0"),
            node("If", "go", "i", then_branch=inner, else_branch=inner),
            node("Add", "a__3:0 i", "y"),
        ]
        content = model(nodes, IMAGE, {"go": np.array(True)})
        before = run(content)
        rename(content.graph, [], doubled=False)
        assert [item.name for item in content.graph.node] == ["Relu", "Relu_1", "If", "Add_2"]
        assert np.array_equal(run(content), before)


class TestSortedSets:
    @given(st.sets(st.text(max_size=4)), st.sets(st.text(max_size=4)))
    def test_it_is_a_set_in_order(self, first: set[str], second: set[str]) -> None:
        one, two = SortedSet(first), SortedSet(second)
        for made, expected in [
            (one | two, first | second),
            (one & two, first & second),
            (one - two, first - second),
            (one.union(two), first | second),
            (one.intersection(two), first & second),
            (one.difference(two), first - second),
            (one.copy(), first),
        ]:
            assert isinstance(made, SortedSet)
            assert list(made) == sorted(expected)
        taken = [one.pop() for _ in range(len(one))]
        assert (taken, list(one)) == (sorted(first), [])

    def test_objects_go_by_name(self) -> None:
        items = [types.SimpleNamespace(name=name) for name in "cab"]

        class Item:
            def __init__(self, name: str) -> None:
                self.name = name

        assert [item.name for item in SortedSet(Item(item.name) for item in items)] == list("abc")
        assert list(SortedSet([2.5, 1.5])) == [1.5, 2.5]

    def test_only_while_it_lasts_and_only_in_the_package(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module, other = types.ModuleType("pack.inside"), types.ModuleType("package")
        own = types.ModuleType("pack.own")
        own.set = own_set = object()  # type: ignore[attr-defined]
        for item in (module, other, own):
            monkeypatch.setitem(sys.modules, item.__name__, item)
        with pytest.raises(KeyError), sorted_sets("pack"):
            assert vars(module)["set"] is SortedSet
            assert "set" not in vars(other)
            assert vars(own)["set"] is own_set
            raise KeyError
        assert "set" not in vars(module)
        assert vars(own)["set"] is own_set
