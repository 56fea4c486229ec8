"""ONNX files: parsed without their weights, with external data, saved with it, checked in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.frameworks import _onnx_save, _onnx_wire, onnx_files

onnx = pytest.importorskip("onnx")

_BIG = (300, 100)


def _model(
    nodes: list[Any] | None = None, weights: dict[str, Any] | None = None, **changes: Any
) -> Any:
    """y = x w + b; w has more bytes than an outline keeps."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    values = {
        "w": rng.normal(size=_BIG).astype(np.float32),
        "b": rng.normal(size=_BIG[1:]).astype(np.float32),
    } | (weights or {})
    graph = helper.make_graph(
        nodes
        or [
            helper.make_node("MatMul", ["x", "w"], ["p"], name="mm"),
            helper.make_node("Add", ["p", "b"], ["y"], name="add"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", _BIG[0]])],
        [helper.make_tensor_value_info(changes.get("output", "y"), TensorProto.FLOAT, ["N", "M"])],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    imports = [helper.make_opsetid(*item) for item in changes.get("imports", [("", 17)])]
    return helper.make_model(graph, opset_imports=imports, ir_version=changes.get("ir", 9))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "m.onnx"
    onnx.save_model(_model(), str(file))
    return file


@pytest.fixture
def apart(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same model with its tensors in the data file."""
    monkeypatch.setattr(_onnx_save, "_MOST_INLINE", 1000)
    file = path.with_name("apart.onnx")
    onnx_files.save(onnx_files.load(path), file)
    return file


def _values(model: Any) -> dict[str, Any]:
    return {t.name: onnx.numpy_helper.to_array(t).tolist() for t in model.graph.initializer}


def _error(path: Path) -> UsageError:
    with pytest.raises(UsageError) as caught:
        onnx_files.check_model(path)
    assert "\n" not in caught.value.message
    return caught.value


def test_an_outline_leaves_big_values_in_the_file(path: Path) -> None:
    found = onnx_files.outline(path)
    tensor = found.model.graph.initializer[0]
    assert (tensor.name, list(tensor.dims), tensor.raw_data) == ("w", list(_BIG), b"")
    offset, length = found.cut[0]
    inside = path.read_bytes()[offset : offset + length]
    assert inside == onnx.load(str(path)).graph.initializer[0].raw_data
    assert set(found.cut) == {0}
    assert onnx_files.outline(path) is found


def test_an_outline_is_made_anew_where_the_file_changed(path: Path) -> None:
    first = onnx_files.outline(path)
    onnx.save_model(_model(ir=8), str(path))
    assert onnx_files.outline(path) is not first
    assert onnx_files.outline(path).model.ir_version == 8


def test_only_a_few_outlines_are_kept(path: Path) -> None:
    first = onnx_files.outline(path)
    for number in range(2):
        other = path.with_name(f"{number}.onnx")
        other.write_bytes(path.read_bytes())
        onnx_files.outline(other)
    assert onnx_files.outline(path) is not first


def test_load_gives_a_model_of_ones_own(path: Path) -> None:
    model = onnx_files.load(path)
    assert model == onnx.load(str(path))
    model.ir_version = 3
    model.graph.initializer[0].raw_data = b""
    assert onnx_files.load(path) == onnx.load(str(path))


def test_two_graphs_in_one_file_are_merged_as_protobuf_does_it(path: Path) -> None:
    model = _model()
    more = onnx.ModelProto()
    more.graph.initializer.append(
        onnx.numpy_helper.from_array(np.zeros(30_000, np.float32), "more")
    )
    path.write_bytes(model.SerializeToString() + more.SerializeToString())
    assert not onnx_files.outline(path).cut
    assert [t.name for t in onnx_files.load(path).graph.initializer] == ["w", "b", "more"]


def test_bytes_that_only_protobuf_may_judge(path: Path) -> None:
    graph = _model().graph.SerializeToString()
    size = len(graph) + 2
    head = b"\x08\x09\x3a" + bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    path.write_bytes(head + graph + b"\xfb\x01")  # A group that begins and never ends.
    with pytest.raises(UsageError, match="is a damaged ONNX model"):
        onnx_files.load(path)


@pytest.mark.parametrize("tail", [b"\xff" * 12, b"\x1a\xff\xff\x7f", b"\x08", b"\x0d\x00"])
def test_a_graph_that_is_cut_off_inside(path: Path, tail: bytes) -> None:
    graph = _model().graph.SerializeToString() + tail
    size = len(graph)
    head = b"\x08\x09\x3a" + bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    path.write_bytes(head + graph)
    with pytest.raises(UsageError, match="is a damaged ONNX model"):
        onnx_files.load(path)


def test_a_file_that_is_too_big_for_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_onnx_wire, "MOST_BYTES", 1000)
    with pytest.raises(UsageError, match="an ONNX file may have 1000"):
        onnx_files.load(path)


def test_save_keeps_small_models_in_one_file(path: Path) -> None:
    out = path.with_name("out.onnx")
    model = onnx_files.load(path)
    onnx_files.save(model, out)
    assert sorted(item.name for item in path.parent.iterdir()) == ["m.onnx", "out.onnx"]
    first = out.read_bytes()
    onnx_files.save(model, out)
    assert out.read_bytes() == first
    assert onnx.load(str(out)) == model


def test_save_puts_many_bytes_beside_the_model(path: Path, apart: Path) -> None:
    import onnxruntime

    model = onnx.load(str(apart), load_external_data=False)
    external = [t.name for t in model.graph.initializer if onnx_files.is_external(t)]
    assert external == ["w"]  # `b` is small.
    assert onnx_files.external_files(apart, model) == [apart.with_name("apart.onnx.data")]
    assert _values(onnx_files.load_full(apart)) == _values(onnx.load(str(path)))
    assert onnx_files.load_full(apart) == onnx_files.load(path)
    onnx_files.check_model(apart)
    session = onnxruntime.InferenceSession(str(apart), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.ones((1, _BIG[0]), np.float32)})
    weights = onnx.load(str(path)).graph.initializer
    w, b = (onnx.numpy_helper.to_array(tensor) for tensor in weights)
    np.testing.assert_allclose(found, w.sum(axis=0)[None] + b, rtol=1e-4, atol=1e-4)


def test_save_does_not_change_the_model(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_onnx_save, "_MOST_INLINE", 1000)
    model = onnx_files.load(path)
    onnx_files.save(model, path.with_name("out.onnx"))
    assert model == onnx.load(str(path))


def test_save_takes_external_data_along_without_loading_it(apart: Path) -> None:
    other = apart.parent / "other"
    other.mkdir()
    model = onnx_files.load(apart)
    onnx_files.save(model, other / "moved.onnx", folder=apart.parent)
    data = (other / "moved.onnx.data").read_bytes()
    assert data == apart.with_name("apart.onnx.data").read_bytes()
    assert onnx_files.load_full(other / "moved.onnx") == onnx_files.load_full(apart)
    onnx_files.save(model, apart, folder=apart.parent)
    assert onnx_files.load_full(apart) == onnx_files.load_full(other / "moved.onnx")


def test_a_tensor_without_values_at_the_end_of_the_data(apart: Path) -> None:
    model = onnx_files.load(apart)
    empty = model.graph.initializer.add(name="none", dims=[0, 3], data_type=1)
    empty.data_location = empty.EXTERNAL
    for key, value in (("location", "apart.onnx.data"), ("length", "0")):
        empty.external_data.add(key=key, value=value)
    onnx_files.save(model, apart, folder=apart.parent)
    onnx_files.check_model(apart)
    tensor = onnx_files.load(apart).graph.initializer[-1]
    assert onnx_files.tensor_array(tensor, apart.parent).shape == (0, 3)


def test_a_model_too_big_without_its_initializers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_onnx_save, "MOST_BYTES", 100)
    with pytest.raises(UsageError, match="fold the constants|outside its initializers"):
        onnx_files.save(onnx_files.load(path), path.with_name("out.onnx"))
    assert not path.with_name("out.onnx").exists()


def test_external_values_stay_in_their_file(path: Path, apart: Path) -> None:
    w, b = onnx_files.load(apart).graph.initializer
    found = onnx_files.tensor_array(w, apart.parent)
    assert isinstance(found, np.memmap)
    expected = onnx.load(str(path)).graph.initializer
    np.testing.assert_array_equal(found, onnx.numpy_helper.to_array(expected[0]))
    np.testing.assert_array_equal(
        onnx_files.tensor_array(b, apart.parent), onnx.numpy_helper.to_array(expected[1])
    )


def test_external_values_of_four_bits(tmp_path: Path) -> None:
    tensor = onnx.helper.make_tensor("q", onnx.TensorProto.INT4, [3], [1, -2, 7])
    expected = onnx.numpy_helper.to_array(tensor)
    (tmp_path / "q.data").write_bytes(tensor.raw_data or bytes(tensor.int32_data))
    tensor.ClearField("raw_data")
    tensor.ClearField("int32_data")
    tensor.data_location = tensor.EXTERNAL
    tensor.external_data.add(key="location", value="q.data")
    found = onnx_files.tensor_array(tensor, tmp_path)
    np.testing.assert_array_equal(found.astype(int), expected.astype(int))


def test_an_inline_tensor_that_is_damaged(tmp_path: Path) -> None:
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[2, 3], raw_data=b"abcd")
    with pytest.raises(UsageError, match="tensor 'w' is damaged"):
        onnx_files.tensor_array(tensor, tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("offset", "-1", "tensor 'w': its external data has no valid offset"),
        ("offset", "many", "tensor 'w': its external data has no valid offset"),
        ("offset", "4096", "ends at byte 120000, and the tensor at 124096"),
        ("length", "119996", "tensor 'w' has 119996 bytes of external data, and its shape"),
        ("length", str(10**30), "bytes of external data, and its shape [300, 100] takes 120000"),
        ("location", "no.data", "its external data 'no.data' is missing"),
        ("location", "", "its external data '' lies outside its folder"),
        ("location", "a\0b", "lies outside its folder"),
        ("location", "/etc/passwd", "its external data '/etc/passwd' lies outside its folder"),
        ("location", "../x/../../y", "lies outside its folder"),
        ("location", "apart.onnx", "its external data 'apart.onnx' is the model file itself"),
        ("dims", "-3", "tensor 'w' has the shape [-3]"),
        ("dims", str(2**62), f"and its shape [{2**62}] takes {2**64}"),
        ("dtype", "8", "tensor 'w' is of a dtype that no external data can have"),
        ("dtype", "77", "tensor 'w' is of a dtype that no external data can have"),
    ],
)
def test_hostile_external_data(apart: Path, key: str, value: str, message: str) -> None:
    model = onnx_files.load(apart)
    tensor = model.graph.initializer[0]
    if key == "dims":
        tensor.dims[:] = [int(value)]
    elif key == "dtype":
        tensor.data_type = int(value)
    else:
        next(entry for entry in tensor.external_data if entry.key == key).value = value
    apart.write_bytes(model.SerializeToString())
    assert message in _error(apart).message
    with pytest.raises(UsageError):
        onnx_files.load_full(apart)


def test_a_tensor_whose_file_is_not_there(apart: Path) -> None:
    tensor = onnx_files.load(apart).graph.initializer[0]
    apart.with_name("apart.onnx.data").unlink()
    with pytest.raises(UsageError, match="tensor 'w': its external data 'apart.onnx.data' is not"):
        onnx_files.tensor_array(tensor, apart.parent)
    next(entry for entry in tensor.external_data if entry.key == "location").value = "../x"
    with pytest.raises(UsageError, match="tensor 'w': its external data '../x' is not in"):
        onnx_files.tensor_array(tensor, apart.parent)


def test_a_link_may_not_lead_out_of_the_folder(apart: Path, tmp_path: Path) -> None:
    data = apart.with_name("apart.onnx.data")
    away = tmp_path.parent / f"{tmp_path.name}-away"
    data.rename(away)
    data.symlink_to(away)
    assert "lies outside its folder" in _error(apart).message


def test_links_of_a_download_cache_may_lead_to_where_the_model_lies(apart: Path) -> None:
    blobs, snapshot = apart.parent / "blobs", apart.parent / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for name, blob in (("apart.onnx", "1"), ("apart.onnx.data", "2")):
        (apart.parent / name).rename(blobs / blob)
        (snapshot / name).symlink_to(blobs / blob)
    onnx_files.check_model(snapshot / "apart.onnx")
    assert len(onnx_files.digests(snapshot / "apart.onnx")) == 2


def test_values_that_an_outline_leaves_out_are_as_many_as_the_shape_says(path: Path) -> None:
    model = _model()
    model.graph.initializer[0].dims[:] = [300, 101]
    path.write_bytes(model.SerializeToString())
    assert "tensor 'w' has 120000 bytes, and its shape [300, 101] takes" in _error(path).message


def test_opset() -> None:
    assert onnx_files.opset(_model()) == 17
    assert onnx_files.opset(_model(imports=[("com.microsoft", 1), ("ai.onnx", 9)])) == 9
    assert onnx_files.opset(onnx.ModelProto()) == 1


def _node(kind: str, *inputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs, ["y"], name="n", **attributes)


_WRONG: dict[str, dict[str, Any]] = {
    "node 'n' (Rellu): opset 17 has no op 'Rellu'": {"nodes": [("Rellu", "x")]},
    "node 'n' (LayerNormalization): opset 11 has no op 'LayerNormalization'": {
        "nodes": [("LayerNormalization", "x", "b")],
        "imports": [("", 11)],
    },
    "node 'n' (Upsample): opset 17 has no op 'Upsample' any more": {
        "nodes": [("Upsample", "x", "b")]
    },
    "node 'mm' (MatMul): opset 999 is none of 1 to ": {"imports": [("", 999)]},
    "node 'mm' (MatMul): the model does not say its opset of the default domain": {
        "imports": [("my.domain", 1)]
    },
    "its IR version 99 is newer than ": {"ir": 99},
    "node 'n' (Relu): nothing before it makes its input 'zz'": {"nodes": [("Relu", "zz")]},
    "node 'n' (MatMul): it has 1 inputs, where 2 are allowed": {"nodes": [("MatMul", "x")]},
    "node 'n' (Conv): it has 1 inputs, where 2 to 3 are allowed": {"nodes": [("Conv", "x")]},
    "node 'n' (Concat): it has 0 inputs, where 1 or more are allowed": {
        "nodes": [("Concat",)],
    },
    "the value 'y' is made more than once": {"nodes": [("Relu", "x"), ("Relu", "x")]},
    "Graph output 'q' is not an output of any node in graph": {"output": "q"},
}


@pytest.mark.parametrize("message", _WRONG)
def test_what_is_wrong_is_said_in_one_sentence(path: Path, message: str) -> None:
    wrong = dict(_WRONG[message])
    nodes = [_node(kind, *inputs) for kind, *inputs in wrong.pop("nodes", [])]
    for node in nodes:
        if node.op_type == "Concat":
            node.attribute.append(onnx.helper.make_attribute("axis", 0))
    onnx.save_model(_model(nodes, **wrong), str(path))
    found = _error(path).message
    assert found.startswith(f"{path}: is no valid ONNX model: {message}"), found


def test_hints_name_what_is_near(path: Path) -> None:
    onnx.save_model(_model([_node("Rellu", "x")]), str(path))
    assert _error(path).hint == "did you mean 'Relu' or 'PRelu' or 'Elu'?"
    onnx.save_model(_model([_node("Bonkers", "x")]), str(path))
    assert _error(path).hint == "a custom op needs a domain of its own"
    onnx.save_model(_model([_node("Mish", "x")], imports=[("", 17)]), str(path))
    assert _error(path).hint == "opset 22 has it: export the model with that one"


def test_an_op_of_a_domain_that_the_model_does_not_import(path: Path) -> None:
    onnx.save_model(_model([_node("Op", "x", domain="my.own")]), str(path))
    found = _error(path).message
    assert found.endswith("node 'n' (my.own.Op): the model does not say its opset of the "
                          "domain 'my.own'")  # fmt: skip


def test_a_function_that_the_model_brings_along_is_looked_into(path: Path) -> None:
    imports = [onnx.helper.make_opsetid("", 17)]
    model = _model([_node("Mine", "x", domain="my.own")], imports=[("", 17), ("my.own", 1)])
    inner = onnx.helper.make_node("Relu", ["a"], ["b"], name="inner")
    model.functions.append(
        onnx.helper.make_function("my.own", "Mine", ["a"], ["b"], [inner], imports)
    )
    onnx.save_model(model, str(path))
    onnx_files.check_model(path)
    model.functions[0].node[0].op_type = "Nothing"
    onnx.save_model(model, str(path))
    assert "node 'inner' (Nothing): opset 17 has no op 'Nothing'" in _error(path).message


def test_what_runs_everywhere_is_accepted(path: Path) -> None:
    old = _model(ir=3, imports=[("", 9)])
    old.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save_model(old, str(path))
    onnx_files.check_model(path)
    assert onnx_files.load(path).ir_version == 3


def test_words_that_are_not_text(path: Path) -> None:
    data = _model([_node("Relu", "x")], output="y").SerializeToString()
    path.write_bytes(data.replace(b"Relu", b"Rel\xff"))
    with pytest.raises(UsageError, match="not UTF-8|is a damaged ONNX model"):
        onnx_files.load(path)


def test_no_graph(path: Path) -> None:
    path.write_bytes(b"\x08\x09\x3a\x00")
    assert onnx_files.load(path).HasField("graph")
    path.write_bytes(b"\x08\x09\x12\x01x")
    with pytest.raises(UsageError, match="is an ONNX file without a graph in it"):
        onnx_files.load(path)


def test_nodes_and_tensors_of_graphs_inside_functions(path: Path) -> None:
    helper = onnx.helper
    value = helper.make_tensor("t", onnx.TensorProto.FLOAT, [1], [1.0])
    inside = helper.make_graph(
        [helper.make_node("Constant", [], ["k"], value=value)],
        "inside",
        [],
        [helper.make_tensor_value_info("k", onnx.TensorProto.FLOAT, [1])],
    )
    node = helper.make_node("If", ["a"], ["b"], then_branch=inside, else_branch=inside)
    model = _model()
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("my", "F", ["a"], ["b"], [node], imports))
    kinds = [node.op_type for node in onnx_files.all_nodes(model)]
    assert kinds == ["MatMul", "Add", "If", "Constant", "Constant"]
    assert [tensor.name for tensor in onnx_files.all_tensors(model)] == ["w", "b", "t", "t"]
    sparse = model.graph.sparse_initializer.add()
    sparse.values.name = "s"
    assert [tensor.name for tensor in onnx_files.all_tensors(model)][2:4] == ["s", ""]
