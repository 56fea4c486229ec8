"""ONNX to TFLite: what is asked of onnx2tf, what is made of its answer, and what is proven."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
from fake_work import FakeWork, artifact, run
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekit.conversions import _onnx2tf_child as child
from edgekit.conversions import _onnx2tf_model, _onnx2tf_run
from edgekit.conversions import onnx_to_tflite as conversion
from edgekit.conversions._onnx2tf_edges import Edges, between, last
from edgekit.conversions._onnx2tf_model import prepare
from edgekit.conversions._onnx2tf_proof import axes_of, difference
from edgekit.conversions.onnx_to_tflite import Parameters
from edgekit.core.artifact import Artifact, Signature, TensorSpec
from edgekit.core.description import Description, Op
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import isolated
from edgekit.frameworks.isolated import Environment, Status
from edgekit.frameworks.tflite import read_metadata, read_model

FLOAT = TensorProto.FLOAT


class OnnxWork(FakeWork):
    """Runs .onnx models too."""

    def predict(self, artifact: Artifact, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        if artifact.format != "onnx":
            return run(artifact.path, inputs)
        import onnxruntime

        session = onnxruntime.InferenceSession(str(artifact.path))
        names = [item.name for item in session.get_inputs()]
        return tuple(session.run(None, dict(zip(names, inputs, strict=True))))


def image_model(
    path: Path,
    shape: tuple[int | str, ...] = ("N", 3, 4, 5),
    *,
    op: str = "Relu",
    names: tuple[str, str] = ("image:0", "out"),
) -> Path:
    """One op that keeps the shape; nameless, so that it is called after its output."""
    ends = [helper.make_tensor_value_info(name, FLOAT, shape) for name in names]
    graph = helper.make_graph([helper.make_node(op, names[:1], names[1:])], "g", ends[:1], ends[1:])
    return save(path, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


def save(path: Path, model: Any) -> Path:
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def relu(
    shape: tuple[int, ...],
    *,
    names: tuple[str, str] = ("edgekit_in_0", "edgekit_out_0"),
    opcode: int = 19,
    custom: str = "",
) -> bytes:
    """A .tflite of one RELU."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = opcode, min(opcode, 127), 1
    if custom:
        code.customCode = custom.encode()
    graph.tensors = []
    for name in names:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), list(shape), 0, 0
        graph.tensors.append(tensor)
    op = schema.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = 0, [0], [1]
    graph.inputs, graph.outputs, graph.operators = [0], [1], [op]
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT()]
    return bytes(convert_object_to_bytearray(model))


def with_output_last(shape: tuple[int, ...]) -> bytes:
    """As onnx2tf leaves it: the input as in ONNX, the output with the channels last."""
    edges = Edges.open(relu(shape))
    edges.arrange({"edgekit_in_0": "edgekit_in_0"}, {"edgekit_out_0": "edgekit_out_0"})
    edges.transpose_output(0, last(len(shape)))
    return edges.content


FAKE_ONNX2TF = """
import json, os, pathlib, sys
def convert(input_onnx_file_path, output_folder_path, keep_shape_absolutely_input_names, **more):
    assert not sys.stdin.read()
    assert more["not_use_onnxsim"]
    folder = pathlib.Path(output_folder_path)
    folder.mkdir()
    pathlib.Path("left_behind").touch()
    told = json.loads(os.environ["FAKE_ONNX2TF"])
    if told.get("exit"):
        print("something bad", flush=True)
        os._exit(told["exit"])
    if told.get("error"):
        raise NotImplementedError(told["error"])
    (folder / "asked.json").write_text(json.dumps(keep_shape_absolutely_input_names))
    (folder / "model_float32.tflite").write_bytes(pathlib.Path(told["tflite"]).read_bytes())
"""


class Fake:
    """An environment whose onnx2tf does what it is told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        package = folder / "site" / "onnx2tf.py"
        package.parent.mkdir(parents=True)
        package.write_text(FAKE_ONNX2TF)
        (package.parent / "onnxsim.py").write_text("def simplify(model): return model, True")
        other = ":".join(path for path in sys.path if path.endswith("site-packages"))
        python = folder / "python"
        python.write_text(
            f'#!/bin/sh\nPYTHONPATH={package.parent}:{other} exec {sys.executable} "$@"\n'
        )
        python.chmod(0o755)
        ready = Environment(folder, python)
        monkeypatch.setattr(isolated, "ensure", lambda requirements, progress: ready)
        monkeypatch.setattr(isolated, "status", lambda requirements: Status("onnx2tf", True, ""))

    def gives(self, content: bytes) -> None:
        (self.folder / "made.tflite").write_bytes(content)
        self.tells(f'{{"tflite": "{self.folder}/made.tflite"}}')

    def tells(self, text: str) -> None:
        self.monkeypatch.setenv("FAKE_ONNX2TF", text)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(tmp_path / "environment", monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Artifact:
    return artifact(image_model(tmp_path / "model.onnx"), "onnx")


def work_on(source: Artifact, tmp_path: Path) -> OnnxWork:
    folder = tmp_path / "work"
    folder.mkdir(exist_ok=True)
    return OnnxWork(folder, source)


def convert(
    source: Artifact, tmp_path: Path, parameters: Parameters | None = None
) -> tuple[OnnxWork, Artifact]:
    work = work_on(source, tmp_path)
    conversion.check(parameters, source, work)
    conversion.apply(parameters, source, work)
    result = artifact(work.output)
    conversion.verify(parameters, source, result, work)
    return work, result


class TestParameters:
    @pytest.mark.parametrize("batch", [0, 4097])
    def test_batch(self, batch: int) -> None:
        with pytest.raises(ValueError, match="batch must be from 1"):
            Parameters(batch=batch)

    def test_versions(self) -> None:
        assert conversion.versions()["onnx2tf"] == "2.6.9"

    def test_every_package_of_the_environment_has_its_version(self) -> None:
        pins = conversion.REQUIREMENTS.pins
        assert all("==" in pin for pin in pins)
        assert len({pin.partition("==")[0].lower() for pin in pins}) == len(pins)


class Described:
    """Models of which only the description is known."""

    def __init__(self, shape: tuple[int | None, ...], dtype: str, ops: tuple[Op, ...]) -> None:
        signature = Signature((TensorSpec("x", shape, dtype),), ())
        self.description = Description("onnx", signature, ops, (), 1, (), 0)

    def describe(self, artifact: Artifact) -> Description:
        return self.description

    def open(self, model: str) -> Artifact:
        raise AssertionError(model)


def checked(
    *shape: int | None, dtype: str = "float32", batch: int = 1, ops: tuple[Op, ...] = ()
) -> None:
    source = artifact(Path("m.onnx"), "onnx")
    conversion.check(Parameters(batch=batch), source, Described(shape, dtype, ops))


class TestCheck:
    def test_fits(self, fake: Fake) -> None:
        checked(None, 3, 8, 8)
        checked(4, 3, 8, 8)
        checked(4, 3, 8, 8, batch=4)

    @pytest.mark.parametrize(
        ("shape", "hint"),
        [((None, 3, None, None), "--input x=1x3x224x224"), ((2, None), "--input x=2x128")],
    )
    def test_open_axes(self, shape: tuple[int | None, ...], hint: str) -> None:
        with pytest.raises(UsageError, match="only the batch may be open") as error:
            checked(*shape)
        assert hint in error.value.hint

    def test_another_batch(self) -> None:
        with pytest.raises(UsageError, match="has the shape 4x2, and a batch of 3 is asked for"):
            checked(4, 2, batch=3)

    @pytest.mark.parametrize("dtype", ["string", "sequence_type"])
    def test_no_numbers(self, dtype: str) -> None:
        with pytest.raises(UsageError, match="only tensors of numbers"):
            checked(1, dtype=dtype)

    def test_custom_ops(self) -> None:
        op = Op(0, "mine.Foo", "n1", (), is_custom=True)
        with pytest.raises(UsageError, match=r"the op 'mine.Foo' \(node 'n1'\) is custom"):
            checked(1, 2, ops=(op,))
        with pytest.raises(UsageError, match="and 2 more are custom"):
            checked(1, 2, ops=(op,) * 5)

    def test_integers(self) -> None:
        op = Op(0, "QuantizeLinear", "q1", ())
        with pytest.raises(UsageError, match=r"is quantized \(the op 'QuantizeLinear' \(node 'q1'"):
            checked(1, 2, ops=(op,))

    def test_no_python_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        status = Status("onnx2tf", False, "", "needs Python 3.12", "install one")
        monkeypatch.setattr(isolated, "status", lambda requirements: status)
        with pytest.raises(UsageError, match="needs Python 3.12") as error:
            checked(1, 2)
        assert error.value.hint == "install one"


class TestConvert:
    def test_the_layout_of_the_onnx_model_is_kept(
        self, fake: Fake, source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        fake.gives(with_output_last((1, 3, 4, 5)))
        work, result = convert(source, tmp_path)
        signature = work.describe(result).signature
        assert [(spec.name, spec.shape) for spec in signature.inputs] == [("image:0", (1, 3, 4, 5))]
        assert [(spec.name, spec.shape) for spec in signature.outputs] == [("out", (1, 3, 4, 5))]
        assert [note.item for note in work.noted("layout")] == ["input 'image:0'", "output 'out'"]
        assert all(note.is_evidence for note in work.notes)
        assert (work.folder / "made" / "asked.json").read_text() == '["edgekit_in_0"]'
        assert not list((tmp_path / "here").iterdir())
        assert (work.folder / "left_behind").exists()

    def test_channels_last(self, fake: Fake, source: Artifact, tmp_path: Path) -> None:
        fake.gives(relu((1, 4, 5, 3)))
        work, result = convert(source, tmp_path, Parameters(layout="nhwc"))
        assert work.describe(result).signature.outputs[0].shape == (1, 4, 5, 3)
        note = work.noted("layout")[0]
        assert note.reason == "?x3x4x5 in the ONNX model is ?x4x5x3 in the .tflite (NCHW to NHWC)"
        assert not note.is_evidence
        assert (work.folder / "made" / "asked.json").read_text() == "[]"

    def test_values_decide_where_the_shape_does_not(self, fake: Fake, tmp_path: Path) -> None:
        source = artifact(image_model(tmp_path / "cube.onnx", ("N", 4, 4, 4)), "onnx")
        fake.gives(with_output_last((1, 4, 4, 4)))
        convert(source, tmp_path)

    def test_a_fixed_batch_stays(self, fake: Fake, tmp_path: Path) -> None:
        source = artifact(image_model(tmp_path / "four.onnx", (16, 7)), "onnx")
        fake.gives(relu((16, 7)))
        work = work_on(source, tmp_path)
        conversion.apply(None, source, work)
        assert work.noted("batch")[0].reason == "it stays at 16, which the ONNX model fixes"
        assert work.describe(artifact(work.output)).signature.inputs[0].shape == (16, 7)

    def test_a_signature_and_metadata(self, fake: Fake, source: Artifact, tmp_path: Path) -> None:
        model = onnx.load(str(source.path))
        model.metadata_props.add(key="labels", value="cat\ndog")
        model.metadata_props.add(key="edgekit", value="{}")
        save(source.path, model)
        fake.gives(relu((1, 3, 4, 5)))
        work, result = convert(source, tmp_path)
        content = result.path.read_bytes()
        assert read_metadata(content, "labels") == b"cat\ndog"
        assert read_metadata(content, "edgekit") is None
        assert len(work.noted("carried over")) == 1
        runner = Interpreter(str(result.path)).get_signature_list()["serving_default"]
        assert runner == {"inputs": ["image:0"], "outputs": ["out"]}

    def test_it_fails_at_an_op(self, fake: Fake, source: Artifact, tmp_path: Path) -> None:
        fake.tells('{"error": "op=Foo node=n1 reason_code=r message=of edgekit_in_0 no rank"}')
        with pytest.raises(
            PromiseError, match=r"cannot convert the op 'Foo' \(node 'n1'\): of image:0 no rank"
        ) as error:
            convert(source, tmp_path)
        assert "cpu-onnxruntime" in error.value.hint

    def test_it_fails_elsewhere(self, fake: Fake, source: Artifact, tmp_path: Path) -> None:
        fake.tells('{"error": "no idea"}')
        with pytest.raises(PromiseError, match="model 'model': onnx2tf fails: no idea"):
            convert(source, tmp_path)

    def test_it_crashes(self, fake: Fake, source: Artifact, tmp_path: Path) -> None:
        fake.tells('{"exit": 3}')
        with pytest.raises(PromiseError, match="onnx2tf ended with exit code 3: something bad"):
            convert(source, tmp_path)

    def test_it_takes_too_long(
        self, fake: Fake, source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_onnx2tf_run, "_LIMIT_SECONDS", 0.05)
        with pytest.raises(PromiseError, match=r"onnx2tf did not end within 0.05 s"):
            convert(source, tmp_path)

    def test_it_loses_an_output(self, fake: Fake, source: Artifact, tmp_path: Path) -> None:
        fake.gives(relu((1, 3, 4, 5), names=("edgekit_in_0", "other")))
        with pytest.raises(PromiseError, match="onnx2tf lost the output 'out'"):
            convert(source, tmp_path)

    def test_another_tensor_with_the_name_of_an_end(self, fake: Fake, tmp_path: Path) -> None:
        edges = Edges.open(relu((1, 2), names=("edgekit_in_0", "edgekit_out_0")))
        edges.model.subgraphs[0].tensors.append(schema.TensorT())
        edges.model.subgraphs[0].tensors[-1].name = b"out"
        edges.arrange({"edgekit_in_0": "in"}, {"edgekit_out_0": "out"})
        names = [tensor.name for tensor in edges.model.subgraphs[0].tensors]
        assert names == [b"in", b"out", b"inner/out"]

    def test_it_writes_a_custom_op(self, fake: Fake, source: Artifact, tmp_path: Path) -> None:
        fake.gives(relu((1, 3, 4, 5), opcode=32, custom="ONNX_CONCAT"))
        work = work_on(source, tmp_path)
        with pytest.raises(PromiseError, match="onnx2tf wrote the op 'ONNX_CONCAT'"):
            conversion.apply(None, source, work)

    def test_not_simplified_is_said(self, fake: Fake, source: Artifact, tmp_path: Path) -> None:
        (fake.folder / "site" / "onnxsim.py").write_text("def simplify(model): raise ValueError(1)")
        fake.gives(relu((1, 3, 4, 5)))
        work, _ = convert(source, tmp_path)
        assert work.noted("not simplified")[0].reason == "1"


class TestVerify:
    def verify(self, source: Artifact, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "made.tflite"
        path.write_bytes(content)
        conversion.verify(None, source, artifact(path), work_on(source, tmp_path))

    def test_another_value(self, source: Artifact, tmp_path: Path) -> None:
        relu6 = relu((1, 3, 4, 5), names=("image:0", "out"), opcode=20)  # RELU_N1_TO_1
        with pytest.raises(PromiseError, match=r"output 'out' of the .tflite differs .* by 0\.\d"):
            self.verify(source, tmp_path, relu6)

    def test_another_name(self, source: Artifact, tmp_path: Path) -> None:
        with pytest.raises(PromiseError, match=r"its outputs are out, and those .* other"):
            self.verify(source, tmp_path, relu((1, 3, 4, 5), names=("image:0", "other")))

    def test_another_shape(self) -> None:
        with pytest.raises(PromiseError, match="has the shape"):
            difference("out", np.zeros((1, 2)), np.zeros((1, 3)))

    def test_not_finite(self) -> None:
        good, bad = np.ones((1, 2)), np.asarray([[np.nan, 1]])
        with pytest.raises(PromiseError, match=r"the .tflite has 1 of 2 values NaN"):
            difference("out", good, bad)
        with pytest.raises(UsageError, match="the ONNX model has 1 of 2 values NaN"):
            difference("out", bad, good)

    def test_nearly_nothing_from_a_sigmoid(self, tmp_path: Path) -> None:
        low, other = np.full((1, 2), 1e-6), np.full((1, 2), 1.5e-6)
        assert difference("out", low, other) == pytest.approx(0.5)
        assert difference("out", low, other, is_bounded=True) == pytest.approx(5e-5)
        assert difference("out", low * 0, low) == float("inf")
        path = image_model(tmp_path / "s.onnx", (1, 2), op="Sigmoid")
        assert conversion.bounded_outputs(path) == {"out"}


class TestPrepare:
    def prepared(self, path: Path, *shapes: tuple[int, ...], batch: int = 1) -> Any:
        to = path.with_name("copy.onnx")
        prepare(path, to, batch=batch, outputs=shapes)
        model = onnx.load(str(to))
        onnx.checker.check_model(model, full_check=True)
        return model

    def test_shapes_and_names(self, tmp_path: Path) -> None:
        model = self.prepared(image_model(tmp_path / "m.onnx"), (2, 3, 4, 5), batch=2)
        ends = [*model.graph.input, *model.graph.output]
        assert [value.name for value in ends] == ["edgekit_in_0", "edgekit_out_0"]
        sizes = [[size.dim_value for size in v.type.tensor_type.shape.dim] for v in ends]
        assert sizes == [[2, 3, 4, 5]] * 2
        assert model.graph.node[0].name == "out"

    def test_an_input_that_is_an_output(self, tmp_path: Path) -> None:
        value = helper.make_tensor_value_info("x", FLOAT, (1, 2))
        graph = helper.make_graph([], "g", [value], [value, value])
        path = save(tmp_path / "m.onnx", helper.make_model(graph))
        model = self.prepared(path, (1, 2), (1, 2))
        assert [node.op_type for node in model.graph.node] == ["Identity"] * 2

    def test_inside_if(self, tmp_path: Path) -> None:
        def branch(op: str) -> Any:
            node = helper.make_node(op, ["x"], [f"{op}_made"])
            out = helper.make_tensor_value_info(f"{op}_made", FLOAT, (1, 2))
            return helper.make_graph([node], op, [], [out])

        node = helper.make_node(
            "If", ["c"], ["y"], then_branch=branch("Relu"), else_branch=branch("Neg")
        )
        ends = [
            helper.make_tensor_value_info("c", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("x", FLOAT, (1, 2)),
            helper.make_tensor_value_info("y", FLOAT, (1, 2)),
        ]
        graph = helper.make_graph([node], "g", ends[:2], ends[2:])
        opset = [helper.make_opsetid("", 17)]
        path = save(tmp_path / "m.onnx", helper.make_model(graph, opset_imports=opset))
        model = self.prepared(path, (1, 2))
        inner = model.graph.node[0].attribute[0].g.node[0]
        assert list(inner.input) == ["edgekit_in_1"]

    def test_functions_are_inlined(self, tmp_path: Path) -> None:
        opset = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
        body = [helper.make_node("Relu", ["a"], ["b"])]
        function = helper.make_function("mine", "Twice", ["a"], ["b"], body, opset[:1])
        ends = [helper.make_tensor_value_info(name, FLOAT, (1, 2)) for name in "xy"]
        node = helper.make_node("Twice", ["x"], ["y"], domain="mine")
        graph = helper.make_graph([node], "g", ends[:1], ends[1:])
        model = helper.make_model(graph, opset_imports=opset, functions=[function])
        model = self.prepared(save(tmp_path / "m.onnx", model), (1, 2))
        assert [node.op_type for node in model.graph.node] == ["Relu"]

    def test_external_data_comes_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        weight = numpy_helper.from_array(np.ones((1, 300), np.float32), "w")
        ends = [helper.make_tensor_value_info(name, FLOAT, ("N", 300)) for name in "xy"]
        node = helper.make_node("Mul", ["x", "w"], ["y"])
        graph = helper.make_graph([node], "g", ends[:1], ends[1:], [weight])
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset)
        model.ir_version = 8
        path = tmp_path / "m.onnx"
        onnx.save(model, str(path), save_as_external_data=True, location="m.data", size_threshold=0)
        made = self.prepared(path, (1, 300))
        assert numpy_helper.to_array(made.graph.initializer[0]).sum() == 300
        monkeypatch.setattr(_onnx2tf_model, "_MOST_BYTES", 1000)
        with pytest.raises(UsageError, match=r"holds at most 2 GB"):
            self.prepared(path, (1, 300))


class Node:
    op, name = "Softmax", "n7"


class TestChild:
    """What runs in the other environment, run here with stand-ins for its packages."""

    @pytest.fixture
    def asked(self, tmp_path: Path) -> dict[str, Any]:
        path = image_model(tmp_path / "m.onnx")
        return {"model": str(path), "folder": str(tmp_path / "made"), "keep": []}

    @pytest.fixture(autouse=True)
    def _simplifier(self, monkeypatch: pytest.MonkeyPatch) -> None:
        package = types.SimpleNamespace(simplify=lambda model: (model, True))
        monkeypatch.setitem(sys.modules, "onnxsim", package)

    def answers(self, asked: dict[str, Any], convert: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setitem(sys.modules, "onnx2tf", types.SimpleNamespace(convert=convert))
        return child.answer(asked)

    def test_the_node_is_found(
        self, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def lower(node: Node) -> None:
            raise ValueError("axis is\nout of range.")

        def convert(**options: Any) -> None:
            lower(Node())

        assert self.answers(asked, convert, monkeypatch) == {
            "error": "axis is out of range",
            "op": "Softmax",
            "node": "n7",
        }

    def test_it_gives_up(self, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        def convert(**options: Any) -> None:
            sys.exit()

        found = self.answers(asked, convert, monkeypatch)
        assert found == {"error": "SystemExit", "op": "", "node": ""}

    def test_it_writes_nothing(
        self, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = self.answers(asked, lambda **options: None, monkeypatch)
        assert found["error"] == "it wrote no .tflite"

    def test_main(
        self, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        import json

        def convert(output_folder_path: str, **options: Any) -> None:
            Path(output_folder_path).mkdir()
            (Path(output_folder_path) / "m_float32.tflite").touch()

        monkeypatch.setitem(sys.modules, "onnx2tf", types.SimpleNamespace(convert=convert))
        ask = tmp_path / "ask.json"
        ask.write_text(json.dumps({**asked, "answer": str(tmp_path / "answer.json")}))
        monkeypatch.setattr(sys, "argv", ["child", str(ask)])
        child.main()
        found = json.loads((tmp_path / "answer.json").read_text())
        assert found["tflite"].endswith("m_float32.tflite")


RANKS = st.integers(1, 5).flatmap(lambda rank: st.permutations(range(rank)))


class TestAxes:
    @given(RANKS, st.data())
    def test_between(self, have: list[int], data: st.DataObject) -> None:
        want = tuple(data.draw(st.permutations(have)))
        array = np.arange(720).reshape((2, 3, 4, 5, 6)).reshape((*range(2, len(have) + 1), -1))
        had = np.transpose(array, have)
        turned = np.transpose(had, between(tuple(have), want))
        assert np.array_equal(turned, np.transpose(array, want))

    def test_last(self) -> None:
        assert [last(rank) for rank in (1, 2, 3, 4)] == [(0,), (0, 1), (0, 2, 1), (0, 2, 3, 1)]

    def test_axes_of(self) -> None:
        array = np.random.default_rng(0).random((1, 3, 3, 3))
        assert axes_of(array, array) == (0, 1, 2, 3)
        assert axes_of(array, np.transpose(array, (0, 2, 3, 1))) == (0, 2, 3, 1)
        assert axes_of(array, np.zeros((1, 2))) == (0, 1, 2, 3)

    def test_transpose_twice(self, tmp_path: Path) -> None:
        path = tmp_path / "m.tflite"
        edges = Edges.open(with_output_last((1, 3, 4, 5)))
        edges.arrange({"edgekit_in_0": "in"}, {"edgekit_out_0": "out"})
        edges.transpose_output(0, (0, 3, 1, 2))
        path.write_bytes(edges.content)
        kinds = [op.kind for op in FakeWork(tmp_path, artifact(path)).describe(artifact(path)).ops]
        assert kinds == ["RELU", "TRANSPOSE", "TRANSPOSE"]
        assert len(read_model(path).signatures) == 1
        x = np.random.default_rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32)
        assert np.array_equal(run(path, (x,))[0], np.maximum(x, 0))
