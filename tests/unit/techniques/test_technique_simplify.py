"""ONNX models that compute the same in a simpler form, and every proof that can fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fake_work import FakeWork, artifact
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import onnx_files
from edgekit.techniques.simplify import Parameters, _fold, _shapes, _stages
from edgekit.techniques.simplify import onnx as simplify
from edgekit.techniques.simplify._graph import constants_to_initializers, drop_unused, name_nodes
from edgekit.techniques.simplify._outputs import run

FLOAT = TensorProto.FLOAT
MakeWork = Callable[..., FakeWork]


def constant(name: str, values: Any) -> Any:
    tensor = numpy_helper.from_array(np.asarray(values, np.float32))
    return helper.make_node("Constant", [], [name], value=tensor)


def random(name: str, *shape: int) -> Any:
    values = np.random.default_rng(len(name)).normal(size=shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def normal(name: str, channels: int) -> list[Any]:
    """Scale, shift, mean and variance of a BatchNormalization."""
    rng = np.random.default_rng(7)
    parts = [rng.uniform(0.5, 2, channels).astype(np.float32) for _ in range(4)]
    return [numpy_helper.from_array(p, f"{name}{i}") for i, p in enumerate(parts)]


def make(
    nodes: list[Any],
    weights: list[Any],
    *,
    shape: tuple[Any, ...] = ("n", 3, 6, 6),
    out: tuple[Any, ...] | None = ("n", "c", "h", "w"),
    opset: int = 12,
    **more: Any,
) -> Any:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, out)],
        weights,
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(name, 1) for name in more.pop("domains", ())]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, **more)


def conv_net() -> Any:
    """What exporters write: Constant nodes, normalization, dropout, nodes without use or name."""
    kernel, bias = random("kernel", 4, 3, 3, 3), np.ones((1, 4, 1, 1))
    nodes = [
        helper.make_node(
            "Constant", [], ["k"], value=numpy_helper.from_array(numpy_helper.to_array(kernel))
        ),
        constant("b", bias),
        helper.make_node("Conv", ["x", "k"], ["c"], name="conv"),
        helper.make_node("Add", ["c", "b"], ["a"], name="add"),
        helper.make_node("BatchNormalization", ["a", "n0", "n1", "n2", "n3"], ["d"], name="norm"),
        helper.make_node("Identity", ["d"], ["i"], name="same"),
        helper.make_node("Relu", ["i"], ["r"]),
        helper.make_node("Sigmoid", ["r"], ["nobody"], name="unused"),
        helper.make_node("ReduceMean", ["r"], ["y"], axes=[2, 3], keepdims=1),
    ]
    model = make(nodes, [*normal("n", 4), random("spare", 9)], producer_name="somebody")
    model.metadata_props.add(key="labels", value="a,b")
    return model


def matmul_net(opset: int = 17, **more: Any) -> Any:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="first"),
        helper.make_node("Relu", ["m"], ["y"], name="last"),
    ]
    return make(nodes, [random("w", 8, 8)], shape=("n", 8), out=("n", 8), opset=opset, **more)


def saved(model: Any, folder: Path, **settings: Any) -> Path:
    path = folder / "source.onnx"
    onnx.save(model, str(path), **settings)
    return path


@pytest.fixture
def work_on(tmp_path: Path) -> MakeWork:
    def start(model: Any, **settings: Any) -> FakeWork:
        source, folder = tmp_path / "in", tmp_path / "out"
        source.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
        path = saved(model, source, **settings)
        return FakeWork(folder, artifact(path, "onnx"), suffix=".onnx")

    return start


def done(work: FakeWork, **settings: Any) -> Any:
    """Checks, simplifies and proves, as the engine does; returns the model."""
    parameters = Parameters(**settings)
    simplify.check(parameters, work.source, work)
    simplify.apply(parameters, work.source, work)
    simplify.verify(parameters, work.source, artifact(work.output, "onnx"), work)
    model = onnx_files.load(work.output)
    onnx.checker.check_model(str(work.output), full_check=True)
    return model


def kinds(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


class TestSimplify:
    def test_a_net_of_an_exporter(self, work_on: MakeWork) -> None:
        work, here = work_on(conv_net()), sorted(os.listdir())
        model = done(work)
        assert kinds(model) == ["Conv", "Relu", "ReduceMean"]
        assert onnx_files.opset(model) == 17
        assert [node.name for node in model.graph.node] == ["conv", "r", "y"]
        assert {p.key: p.value for p in model.metadata_props} == {"labels": "a,b"}
        assert model.producer_name == "somebody"
        assert [item.domain for item in model.opset_import] == [""]
        assert sorted(os.listdir()) == here
        assert sorted(os.listdir(work.folder)) == ["outputs.json", "outputs.npz", "result.onnx"]
        assert not [note for note in work.notes if not note.is_evidence]
        assert work.noted("simplified")[0].reason == "nodes 9 -> 3, opset 12 -> 17"

    def test_same_bytes_twice(self, work_on: MakeWork) -> None:
        work = work_on(conv_net())
        done(work)
        first = work.output.read_bytes()
        done(work)
        assert work.output.read_bytes() == first

    def test_dynamic_axes_and_names_stay(self, work_on: MakeWork) -> None:
        model = done(work_on(conv_net()))
        ends = (*model.graph.input, *model.graph.output)
        axes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in ends]
        assert axes == [["n", 3, 6, 6], ["n", "c", "h", "w"]]
        assert [value.name for value in ends] == ["x", "y"]

    def test_what_flows_between_nodes_has_a_shape(self, work_on: MakeWork) -> None:
        model = done(work_on(conv_net()))
        inner = {name for node in model.graph.node for name in node.output} - {"y"}
        assert {value.name for value in model.graph.value_info} == inner

    @pytest.mark.parametrize("with_add", [True, False])
    @pytest.mark.parametrize("groups", [1, 2])
    def test_normalization_behind_a_transposed_convolution(
        self, work_on: MakeWork, with_add: bool, groups: int
    ) -> None:
        at = "a" if with_add else "c"
        nodes = [
            helper.make_node("ConvTranspose", ["x", "k"], ["c"], group=groups, strides=[2, 2]),
            *([helper.make_node("Add", ["c", "b"], ["a"])] if with_add else []),
            helper.make_node("BatchNormalization", [at, "n0", "n1", "n2", "n3"], ["y"]),
        ]
        weights = [random("k", 4, 6 // groups, 2, 2), random("b", 6, 1, 1), *normal("n", 6)]
        model = done(work_on(make(nodes, weights, shape=(1, 4, 5, 5))))
        assert kinds(model) == ["ConvTranspose"]

    def test_a_normalization_that_another_node_shares_stays(self, work_on: MakeWork) -> None:
        nodes = [
            helper.make_node("ConvTranspose", ["x", "k"], ["c"]),
            helper.make_node("BatchNormalization", ["c", "n0", "n1", "n2", "n3"], ["d"]),
            helper.make_node("Add", ["c", "d"], ["y"]),
        ]
        model = done(work_on(make(nodes, [random("k", 3, 6, 2, 2), *normal("n", 6)])))
        assert "BatchNormalization" in kinds(model)

    def test_a_sum_with_a_whole_image_stays(self, work_on: MakeWork) -> None:
        nodes = [
            helper.make_node("ConvTranspose", ["x", "k"], ["c"]),
            helper.make_node("Add", ["c", "b"], ["a"]),
            helper.make_node("BatchNormalization", ["a", "n0", "n1", "n2", "n3"], ["y"]),
        ]
        weights = [random("k", 3, 6, 2, 2), random("b", 7, 7), *normal("n", 6)]
        assert kinds(done(work_on(make(nodes, weights)))) == [
            "ConvTranspose",
            "Add",
            "BatchNormalization",
        ]

    def test_functions_and_inner_graphs(self, work_on: MakeWork) -> None:
        branch = [
            helper.make_graph(
                [constant(f"v{i}", [i]), helper.make_node("Add", ["f", f"v{i}"], [f"o{i}"])],
                f"g{i}",
                [],
                [helper.make_tensor_value_info(f"o{i}", FLOAT, None)],
            )
            for i in (1, 2)
        ]
        nodes = [
            helper.make_node("twice", ["x"], ["f"], domain="own"),
            helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
            helper.make_node("Cast", ["s"], ["t"], to=TensorProto.BOOL),
            helper.make_node("If", ["t"], ["y"], then_branch=branch[0], else_branch=branch[1]),
        ]
        model = make(nodes, [], domains=["own"], opset=16, out=("n", 3, 6, 6))
        body = [helper.make_node("Add", ["a", "a"], ["b"])]
        imports = [helper.make_opsetid("", 16)]
        model.functions.append(helper.make_function("own", "twice", ["a"], ["b"], body, imports))
        made = done(work_on(model))
        assert not made.functions
        assert not any(n.op_type == "Constant" for g in onnx_files.all_graphs(made) for n in g.node)
        assert onnx_files.opset(made) == 17

    def test_every_form_of_a_constant(self) -> None:
        given = {"value_float": 1.5, "value_floats": [1.0, 2.0], "value_int": 3}
        given |= {"value_ints": [4], "value_string": "a", "value_strings": ["b", "c"]}
        nodes = [helper.make_node("Constant", [], [key], **{key: v}) for key, v in given.items()]
        sparse = helper.make_sparse_tensor(
            helper.make_tensor("v", FLOAT, [1], [1.0]), helper.make_tensor("i", 7, [1], [0]), [3]
        )
        nodes.append(helper.make_node("Constant", [], ["s"], sparse_value=sparse))
        nodes.append(constant("y", [1]))
        model = constants_to_initializers(make(nodes, []))
        found = {t.name: numpy_helper.to_array(t).tolist() for t in model.graph.initializer}
        assert found["value_string"] in (b"a", "a")
        assert [found[key] for key in list(given)[:4]] == [1.5, [1.0, 2.0], 3, [4]]
        assert [node.output[0] for node in model.graph.node] == ["s", "y"]

    def test_initializers_are_no_inputs(self) -> None:
        model = matmul_net()
        model.ir_version = 3
        model.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [8, 8]))
        made = constants_to_initializers(model)
        assert [value.name for value in made.graph.input] == ["x"]
        assert made.ir_version == 4

    def test_names(self) -> None:
        pairs = [("a", "a"), ("b", "a"), ("c", ""), ("d", "c")]
        nodes = [helper.make_node("Relu", ["x"], [o], name=n) for o, n in pairs]
        model = name_nodes(make(nodes, []))
        assert [node.name for node in model.graph.node] == ["a", "a_2", "c_2", "c"]

    def test_what_an_inner_graph_reads_is_used(self) -> None:
        inner = helper.make_graph(
            [helper.make_node("Identity", ["h"], ["o"])],
            "g",
            [],
            [helper.make_tensor_value_info("o", FLOAT, None)],
        )
        nodes = [
            helper.make_node("Relu", ["x"], ["h"]),
            helper.make_node("If", ["q"], ["y"], then_branch=inner, else_branch=inner),
        ]
        assert kinds(drop_unused(make(nodes, []))) == ["Relu", "If"]

    def test_without_folding_and_shapes(self, work_on: MakeWork) -> None:
        model = done(work_on(conv_net()), fold=False, infer_shapes=False)
        assert "BatchNormalization" in kinds(model)
        assert "Constant" not in kinds(model)
        assert not model.graph.value_info


class TestLeftAlone:
    def test_a_quantized_model(self, work_on: MakeWork) -> None:
        scale, zero = random("s", 1), numpy_helper.from_array(np.zeros(1, np.int8), "z")
        scale.ClearField("raw_data")
        scale.CopyFrom(numpy_helper.from_array(np.float32([0.1]), "s"))
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            helper.make_node("Identity", ["d"], ["y"]),
            helper.make_node("Relu", ["d"], ["nobody"]),
        ]
        work = work_on(make(nodes, [scale, zero], opset=13))
        model = done(work)
        assert kinds(model) == ["QuantizeLinear", "DequantizeLinear", "Identity"]
        assert onnx_files.opset(model) == 13
        assert "DequantizeLinear, QuantizeLinear" in work.noted("left alone")[0].reason

    def test_external_data_is_taken_in(self, work_on: MakeWork) -> None:
        work = work_on(matmul_net(), save_as_external_data=True, location="w.bin", size_threshold=0)
        done(work)
        assert work.noted("taken in")
        assert not list(work.folder.glob("*.data"))

    def test_large_external_data_stays_outside(
        self, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(simplify, "LARGE_BYTES", 1)
        model = matmul_net(opset=12)
        work = work_on(model, save_as_external_data=True, location="w.bin", size_threshold=0)
        made = done(work)
        assert work.noted("left out")[0].item == "fold"
        assert (work.folder / "result.onnx.data").stat().st_size == 256
        assert onnx_files.opset(made) == 17


class TestTakenBack:
    def test_a_stage_that_changes_outputs(
        self, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def spoil(model: Any) -> Any:
            values = numpy_helper.to_array(model.graph.initializer[0]) * np.float32(1.01)
            name = model.graph.initializer[0].name
            model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, name))
            return model

        monkeypatch.setattr(_stages, "fold_transposed", spoil)
        work = work_on(conv_net())
        model = done(work)
        assert kinds(model) == ["Conv", "Relu", "ReduceMean"]
        (note,) = work.noted("taken back")
        assert note.item == "fold transposed"
        assert "after it the outputs differ by 0.0" in note.reason
        assert "and at most 0.0001 is allowed" in note.reason

    def test_a_stage_that_breaks_the_model(
        self, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def spoil(model: Any) -> Any:
            model.graph.node[0].input[0] = "nothing"
            return model

        monkeypatch.setattr(_stages, "fold_transposed", spoil)
        work = work_on(matmul_net())
        done(work)
        reasons = [note.reason for note in work.noted("taken back")]
        assert any("the model does not run" in reason for reason in reasons)

    def test_a_stage_that_raises(self, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any) -> Any:
            raise RuntimeError("first line\nsecond line")

        monkeypatch.setattr(_fold, "_optimize", fail)
        work = work_on(conv_net())
        assert "BatchNormalization" in kinds(done(work))
        (note,) = work.noted("taken back")
        assert (note.item, note.reason) == ("fold", "RuntimeError: first line")

    def test_folding_that_grows(self, work_on: MakeWork) -> None:
        shape = numpy_helper.from_array(np.array([1, 1, 30_000, 1], np.int64), "s")
        nodes = [
            helper.make_node("Tile", ["w", "s"], ["t"]),
            helper.make_node("MatMul", ["t", "x"], ["y"]),
        ]
        work = work_on(make(nodes, [random("w", 1, 1, 1, 6), shape]))
        assert "Tile" in kinds(done(work))
        assert "would grow from" in work.noted("taken back")[0].reason

    def test_ops_of_another_domain(
        self, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def optimize(source: Path, target: Path) -> None:
            model = onnx.load(source)
            model.graph.node[0].domain = "com.microsoft"
            onnx.save(model, target)

        monkeypatch.setattr(_fold, "_optimize", optimize)
        work = work_on(matmul_net())
        done(work)
        (note,) = work.noted("taken back")
        assert note.reason == "ValueError: the op com.microsoft.MatMul was put in"

    def test_an_opset_that_cannot_be_reached(
        self, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        convert = _stages._converted

        def refuse(light: Any, opset: int) -> Any:
            if opset > 13:
                raise RuntimeError(f"no adapter to {opset}")
            return convert(light, opset)

        monkeypatch.setattr(_stages, "_converted", refuse)
        work = work_on(conv_net())
        assert onnx_files.opset(done(work)) == 13
        (note,) = work.noted("raise the opset")
        assert (note.item, note.reason) == ("opset 17", "RuntimeError: no adapter to 17")

    def test_no_other_opset_at_all(
        self, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(light: Any, opset: int) -> Any:
            raise RuntimeError

        monkeypatch.setattr(_stages, "_converted", refuse)
        work = work_on(conv_net())
        assert onnx_files.opset(done(work)) == 12
        (note,) = work.noted("taken back")
        assert (note.item, note.reason) == ("raise the opset", "RuntimeError")


class TestShapes:
    def model(self, kind: str) -> Any:
        nodes = [
            helper.make_node(kind, ["x"], ["g"], domain="com.microsoft"),
            helper.make_node("MatMul", ["g", "w"], ["y"]),
        ]
        return make(
            nodes, [random("w", 8, 8)], shape=(8, 8), out=None, opset=17, domains=["com.microsoft"]
        )

    def test_the_symbolic_inference_knows_more(self) -> None:
        reports: list[Any] = []
        model = _shapes.infer_shapes(self.model("Gelu"), lambda *found: reports.append(found))
        assert [value.name for value in model.graph.value_info] == ["g"]
        assert not reports

    def test_what_stays_open_is_said(self) -> None:
        reports: list[Any] = []
        _shapes.infer_shapes(self.model("CDist"), lambda *found: reports.append(found))
        assert reports[-1] == ("1 of 1 values", "no shape was found for g")

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (ModuleNotFoundError("x", name="sympy"), "the package 'sympy' is not installed"),
            (ValueError("bad rule\nmore"), "ValueError: bad rule"),
        ],
    )
    def test_its_failure_is_said(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
    ) -> None:
        from onnxruntime.tools import symbolic_shape_infer

        def fail(*_: Any) -> Any:
            raise error

        monkeypatch.setattr(symbolic_shape_infer, "SymbolicShapeInference", fail)
        reports: list[Any] = []
        _shapes.infer_shapes(self.model("CDist"), lambda *found: reports.append(found))
        assert reports[0] == ("symbolic shapes", reason)


class TestPromises:
    def refuse(self, work: FakeWork, model: Any, **settings: Any) -> str:
        path = work.folder / "broken.onnx"
        if isinstance(model, bytes):
            path.write_bytes(model)
        else:
            onnx.save(model, path)
        with pytest.raises(PromiseError) as caught:
            simplify.verify(Parameters(**settings), work.source, artifact(path, "onnx"), work)
        return caught.value.message

    def test_a_result_that_does_not_run(self, work_on: MakeWork) -> None:
        text = self.refuse(work_on(matmul_net()), b"nothing")
        assert text.startswith("simplify: the result does not run: ")

    def test_another_signature(self, work_on: MakeWork) -> None:
        model = matmul_net()
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "open"
        text = self.refuse(work_on(matmul_net()), model)
        assert text == "simplify: the inputs or outputs of the model are not what they were"

    def test_other_outputs(self, work_on: MakeWork) -> None:
        model = matmul_net()
        model.graph.node[1].op_type = "Tanh"
        text = self.refuse(work_on(matmul_net()), model)
        assert text.startswith("simplify: after it the outputs differ by ")

    def test_a_node_without_a_name(self, work_on: MakeWork) -> None:
        model = matmul_net()
        model.graph.node[1].name = ""
        text = self.refuse(work_on(matmul_net()), model)
        assert text == "simplify: two nodes of the result have one name, or one has none"

    def test_an_op_of_another_domain(self, work_on: MakeWork) -> None:
        nodes = [
            helper.make_node("Gelu", ["x"], ["y"], name="g", domain="com.microsoft"),
        ]
        source = make([helper.make_node("Relu", ["x"], ["y"])], [], shape=(1, 2), out=(1, 2))
        model = make(nodes, [], shape=(1, 2), out=(1, 2), domains=["com.microsoft"])
        work = work_on(source)
        work.scale = 0.0  # Where both give 0.
        text = self.refuse(work, model, opset=13)
        assert text == "simplify: the op com.microsoft.Gelu was put in"

    def test_an_opset_that_is_not_the_one_asked_for(self, work_on: MakeWork) -> None:
        text = self.refuse(work_on(matmul_net(13)), matmul_net(13))
        assert text == "simplify: the opset is 13; it was 13, and 17 is asked for"


class TestCheck:
    def refuse(self, work: FakeWork) -> UsageError:
        with pytest.raises(UsageError) as caught:
            simplify.check(Parameters(), work.source, work)
        return caught.value

    def test_custom_ops_are_named(self, work_on: MakeWork) -> None:
        nodes = [helper.make_node("Magic", ["x"], ["y"], name="wand", domain="own")]
        error = self.refuse(work_on(make(nodes, [], domains=["own"])))
        assert "custom ops, which nothing here can run: own.Magic ('wand')" in error.message

    def test_a_model_that_the_runtime_does_not_open(self, work_on: MakeWork) -> None:
        nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Add", ["x"], ["z"])]
        error = self.refuse(work_on(make(nodes, [])))
        assert "cannot be simplified: ONNX Runtime does not open it (" in error.message

    def test_a_model_that_becomes_onnx_later_is_not_opened(self, tmp_path: Path) -> None:
        later = artifact(tmp_path / "none.keras", "keras")
        simplify.check(Parameters(), later, FakeWork(tmp_path, later))

    def test_a_model_that_does_not_run(self, work_on: MakeWork) -> None:
        shape = numpy_helper.from_array(np.array([5, 5], np.int64), "s")
        nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
        work = work_on(make(nodes, [shape], shape=("n", "m"), out=(5, 5)))
        with pytest.raises(UsageError, match="ONNX Runtime cannot run it"):
            simplify.apply(Parameters(), work.source, work)

    @pytest.mark.parametrize("opset", [12, 24])
    def test_the_range_of_the_opset(self, opset: int) -> None:
        with pytest.raises(ValueError, match=f"opset must be from 13 to 23, not {opset}"):
            Parameters(opset=opset)


def test_fixed_batches_are_filled(tmp_path: Path) -> None:
    path = saved(
        make([helper.make_node("Relu", ["x"], ["y"])], [], shape=(3, 2), out=(3, 2)), tmp_path
    )
    found = run(path, (np.ones((2, 2), np.float64),))
    assert found.arrays["y"].shape == (2, 3, 2)


def test_needs_no_data_and_names_its_versions() -> None:
    assert Parameters().needs == {}
    assert set(simplify.versions()) == {"onnx", "onnxruntime", "sympy"}
