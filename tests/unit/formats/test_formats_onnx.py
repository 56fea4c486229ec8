"""The format onnx: sniff, check, digest, describe, scaling; never TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.core.artifact import InputScaling, TensorSpec
from edgekit.errors import UsageError
from edgekit.formats import onnx as format_onnx

onnx = pytest.importorskip("onnx")


def _model(**changes: Any) -> Any:
    """conv 3x3, flatten, gemm on (N, 1, 8, 8); the reshape target is a Constant node."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)

    def values(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)

    shape = numpy_helper.from_array(np.array([-1, 256], np.int64), "shape")
    nodes = [
        helper.make_node("Conv", ["image", "k"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Constant", [], ["shape"], value=shape),
        helper.make_node("Reshape", ["c", "shape"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "w", "b"], ["scores"], transB=1),
        *changes.get("nodes", []),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
        [values("k", 4, 1, 3, 3), values("w", 3, 256), values("b", 3)],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "m.onnx"
    onnx.save_model(_model(), str(file))
    return file


def _error(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        format_onnx.check(path)
    assert "\n" not in caught.value.message
    return caught.value.message.removeprefix(f"{path}: ")


def test_describe(path: Path) -> None:
    format_onnx.check(path)
    assert format_onnx.sniff(path)
    description = format_onnx.describe(path)
    assert description.signature.inputs == (TensorSpec("image", (None, 1, 8, 8), "float32"),)
    assert description.signature.outputs == (TensorSpec("scores", (None, 3), "float32"),)
    assert [(op.kind, op.name, op.macs, op.dtypes) for op in description.ops] == [
        ("Conv", "conv", 4 * 8 * 8 * 9, ("float32",)),
        ("Reshape", "flatten", None, ("float32",)),
        ("Gemm", "scores", 3 * 256, ("float32",)),
    ]
    assert description.parameters == 36 + 768 + 3
    assert sum(size for _, size in description.bytes_by) == description.size_bytes
    assert description.size_bytes == path.stat().st_size
    assert dict(description.bytes_by)["weights"] == 4 * (36 + 768 + 3) + 16


def test_an_op_of_another_domain_is_custom(path: Path) -> None:
    node = onnx.helper.make_node("MyOp", ["scores"], ["more"], domain="my.domain")
    onnx.save_model(_model(nodes=[node]), str(path))
    custom = [op.kind for op in format_onnx.describe(path).ops if op.is_custom]
    assert custom == ["my.domain.MyOp"]


def test_what_is_no_model(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(b"")
    assert _error(path) == "the file is empty"
    path.write_bytes(b"hello world")
    assert _error(path) == "is no ONNX model (its first bytes are not those of one)"
    assert not format_onnx.sniff(path)
    path.write_bytes(data[:100])
    assert _error(path).startswith("is cut off: 100 bytes of at least ")
    assert format_onnx.sniff(path)
    path.write_bytes(data[:2] + b"\x12\x01x")
    assert _error(path) == "is an ONNX file without a graph in it, or cut off"
    path.unlink()
    assert _error(path) == "cannot be read: No such file or directory"


def test_an_unknown_op_is_named(path: Path) -> None:
    onnx.save_model(_model(nodes=[onnx.helper.make_node("NoSuchOp", ["c"], ["d"])]), str(path))
    message = _error(path)
    assert message.startswith("is no valid ONNX model: ")
    assert "NoSuchOp" in message


def test_external_data_counts(path: Path) -> None:
    inside = format_onnx.describe(path)
    plain = format_onnx.digest(path)
    onnx.save_model(
        _model(), str(path), save_as_external_data=True, location="m.data", size_threshold=0
    )
    format_onnx.check(path)
    description = format_onnx.describe(path)
    assert description.parameters == inside.parameters
    assert description.size_bytes == path.stat().st_size + (path.parent / "m.data").stat().st_size
    assert sum(size for _, size in description.bytes_by) == description.size_bytes
    before = format_onnx.digest(path)
    assert before != plain
    data = bytearray((path.parent / "m.data").read_bytes())
    data[0] ^= 1
    (path.parent / "m.data").write_bytes(data)
    assert format_onnx.digest(path) != before
    (path.parent / "m.data").unlink()
    assert _error(path) == "its external data 'm.data' is missing"


def test_external_data_may_not_lie_outside(path: Path) -> None:
    model = _model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    path.write_bytes(model.SerializeToString())
    assert _error(path) == "its external data '../../etc/passwd' lies outside its folder"


def test_scaling_travels(path: Path) -> None:
    assert format_onnx.read_scaling(path) is None
    value = InputScaling((0.5, 1.0), (0.0, -1.0))
    format_onnx.write_scaling(path, InputScaling())
    format_onnx.write_scaling(path, value)
    assert format_onnx.read_scaling(path) == value
    format_onnx.check(path)
    model = onnx.load(str(path))
    model.metadata_props[0].value = "{"
    onnx.save_model(model, str(path))
    with pytest.raises(UsageError, match="the input scaling stored in it is damaged"):
        format_onnx.read_scaling(path)


@given(edits=st.lists(st.tuples(st.integers(0, 3900), st.integers(0, 255)), min_size=1, max_size=5))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_bytes(tmp_path: Path, edits: list[tuple[int, int]]) -> None:
    data = bytearray(_model().SerializeToString())
    for position, value in edits:
        data[position % len(data)] = value
    file = tmp_path / "damaged.onnx"
    file.write_bytes(data)
    try:
        format_onnx.check(file)
        format_onnx.digest(file)
        description = format_onnx.describe(file)
        assert sum(size for _, size in description.bytes_by) == len(data)
    except UsageError as error:
        assert "\n" not in error.message


def test_parts_are_the_external_data(path: Path) -> None:
    assert format_onnx.parts(path) == ()
    onnx.save_model(
        _model(), str(path), save_as_external_data=True, location="m.data", size_threshold=0
    )
    assert format_onnx.parts(path) == (path.with_name("m.data"),)


def test_big_weights_are_described_without_being_read(path: Path) -> None:
    from onnx import numpy_helper

    model = _model()
    big = np.zeros((300, 100), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(big, "big"))
    onnx.save_model(model, str(path))
    found = format_onnx.describe(path)
    weight = next(weight for weight in found.weights if weight.name == "big")
    assert (weight.shape, weight.size_bytes, weight.dtype) == ((300, 100), 120_000, "float32")
    assert sum(size for _, size in found.bytes_by) == found.size_bytes == path.stat().st_size
    assert dict(found.bytes_by)["weights"] == 4 * (36 + 768 + 3) + 16 + 120_000


def test_notes(path: Path) -> None:
    from onnx import TensorProto, helper

    branch = helper.make_graph(
        [helper.make_node("Relu", ["scores"], ["o"])],
        "b",
        [],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, ["N", 3])],
    )
    model = _model(
        nodes=[
            helper.make_node("Mine", ["scores"], ["m"], domain="my.domain"),
            helper.make_node("Custom", ["m"], ["q"], name="own", domain="my.domain"),
            helper.make_node("If", ["flag"], ["i"], then_branch=branch, else_branch=branch),
        ]
    )
    model.producer_name, model.producer_version = "pytorch", "2.9"
    model.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    model.graph.input.append(helper.make_tensor_value_info("any", TensorProto.INT64, None))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    inner = [helper.make_node("Abs", ["a"], ["t"]), helper.make_node("Abs", ["t"], ["b"])]
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("my.domain", "Mine", ["a"], ["b"], inner, imports))
    onnx.save_model(model, str(path))
    found = format_onnx.describe(path)
    assert found.facts == (
        "opset 17 (my.domain 1), IR version 9, made by pytorch 2.9",
        "input 'image': axes 0, 2 are open (N, height); fix with `--input image=1x1x?x8`, a size "
        "for each ?",
        "input 'any' has no shape; `--input any=SIZExSIZE` gives it one",
        "2 ops in the graphs inside 1 If",
        "function 'my.domain.Mine' of 2 ops (2 Abs)",
    )
    assert found.notes == (
        "multiply-accumulates are not counted while sizes are open",
        "custom op 'my.domain.Custom' (node 'own'): only a runtime that has it can run the model",
    )


def test_many_notes_of_a_kind_are_cut_short(path: Path) -> None:
    from onnx import helper

    nodes = [helper.make_node(f"Op{i}", ["c"], [f"o{i}"], domain="my.domain") for i in range(10)]
    onnx.save_model(_model(nodes=nodes), str(path))
    assert format_onnx.describe(path).notes[-1] == "2 more custom ops"


def test_several_inputs_and_whole_numbers(path: Path) -> None:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Where", ["mask", "ids", "ids"], ["out"])],
        "g",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 4]),
            helper.make_tensor_value_info("mask", TensorProto.BOOL, ["n", 4]),
        ],
        [helper.make_tensor_value_info("out", TensorProto.INT64, ["n", 4])],
    )
    imports = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=9)
    onnx.save_model(model, str(path))
    format_onnx.check(path)
    assert format_onnx.describe(path).signature.inputs == (
        TensorSpec("ids", (None, 4), "int64"),
        TensorSpec("mask", (None, 4), "bool"),
    )


def test_what_is_no_plain_tensor(path: Path) -> None:
    from onnx import TensorProto, helper

    model = _model()
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    model.graph.input.append(helper.make_value_info("many", kind))
    model.graph.initializer.append(helper.make_tensor("typed", TensorProto.FLOAT, [2], [1.0, 2.0]))
    model.graph.initializer.append(helper.make_tensor("odd", TensorProto.FLOAT, [1], [1.0]))
    model.graph.initializer[-1].data_type = 99
    path.write_bytes(model.SerializeToString())
    found = format_onnx.describe(path)
    assert found.signature.inputs[-1] == TensorSpec("many", (), "sequence_type")
    dtypes = {weight.name: weight.dtype for weight in found.weights}
    assert (dtypes["typed"], dtypes["odd"]) == ("float32", "type99")
    assert sum(size for _, size in found.bytes_by) == found.size_bytes


def test_nothing_of_tensorflow_is_imported(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgekit.formats import onnx as f; "
        "p = Path(sys.argv[1]); f.sniff(p); print('onnx' in sys.modules); f.check(p); "
        "f.describe(p); print(sorted({'tensorflow', 'keras', 'torch'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["False", "[]"]
