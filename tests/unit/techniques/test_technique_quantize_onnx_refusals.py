"""What `quantize` refuses on an .onnx before any work, each with its sentence and hint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fake_work import FakeWork, artifact
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import UsageError
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize import onnx as quantize


def value(name: str, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, ["n", 16])


def refused(folder: Path, nodes: list[Any], inputs: Any = None, **settings: Any) -> UsageError:
    """What `check` says about a model of these nodes; `w` is its weight, `half` one in float16."""
    ones = np.ones((16, 16), np.float32)
    tensors = [
        numpy_helper.from_array(ones, "w"),
        numpy_helper.from_array(ones.astype(np.float16), "half"),
    ]
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in tensors if tensor.name in used]
    graph = helper.make_graph(nodes, "tiny", inputs or [value("x")], [value("y")], kept)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    opsets.append(helper.make_opsetid("my.domain", 1))
    path = folder / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    work = FakeWork(folder, artifact(path, "onnx"), suffix=".onnx")
    with pytest.raises(UsageError) as caught:
        quantize.check(Parameters(**{"scheme": "int8"} | settings), work.source, work)
    assert caught.value.message.startswith("quantize: ")
    return caught.value


def product(weight: str = "w", **attributes: Any) -> list[Any]:
    return [helper.make_node("MatMul", ["x", weight], ["y"], "encoder/product", **attributes)]


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"skip": ("encode/prod",)}, "skip 'encode/prod' matches no op", "'encoder/product'"),
        ({"skip": ("zzz",)}, "skip 'zzz' matches no op", "edgekit inspect MODEL --json"),
        (
            {"weights_only": ("encode/prod",)},
            "weights_only 'encode/prod' matches no op",
            "'encoder/product'",
        ),
        ({"op_types": ("matmull",)}, "op_types 'matmull' is no kind", "did you mean 'MatMul'?"),
        ({"op_types": ("Blah",)}, "op_types 'Blah' is no kind", "the model has MatMul"),
        ({"op_types": ("Conv",)}, "op_types 'Conv': the model has no such op", "it has MatMul"),
        (
            {"scheme": "dynamic-int8", "ranges": "entropy"},
            "ranges 'entropy' is for int16x8 and int8: dynamic-int8 needs no ranges",
            "leave `ranges` out",
        ),
        (
            {"scheme": "weight-only-int4", "per_channel": False},
            "per_channel = false is not for weight-only-int4",
            "leave `per_channel` out",
        ),
    ],
)
def test_options_that_do_not_fit(
    settings: dict[str, Any], message: str, hint: str, tmp_path: Path
) -> None:
    error = refused(tmp_path, product(), **settings)
    assert message in error.message
    assert hint in error.hint


def test_a_kind_that_has_no_integer_form(tmp_path: Path) -> None:
    nodes = [*product(), helper.make_node("Erf", ["y"], ["z"], "erf")]
    error = refused(tmp_path, nodes, op_types=("Erf",))
    assert "op_types 'Erf' has no int8 form" in error.message
    assert error.hint == "int8 treats MatMul"


def test_a_model_that_is_quantized_already(tmp_path: Path) -> None:
    inner = helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "quantize_x")
    error = refused(tmp_path, [inner, *product()])
    assert "quantized already (DynamicQuantizeLinear 'quantize_x')" in error.message
    blocks = helper.make_node(
        "MatMulNBits", ["x", "w", "w"], ["y"], "nbits", domain="com.microsoft", K=16, N=16
    )
    assert "com.microsoft.MatMulNBits 'nbits'" in refused(tmp_path, [blocks]).message


def test_a_model_of_float16_weights(tmp_path: Path) -> None:
    error = refused(tmp_path, product("half"), scheme="float16")
    assert "the weights of the model are float16 already ('half')" in error.message


def test_a_model_without_weights(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    assert "no constant float32 weight" in refused(tmp_path, nodes).message


def test_a_custom_op(tmp_path: Path) -> None:
    nodes = [*product(), helper.make_node("Magic", ["y"], ["z"], "trick", domain="my.domain")]
    assert "custom op my.domain.Magic ('trick')" in refused(tmp_path, nodes).message


def test_text_inputs(tmp_path: Path) -> None:
    inputs = [value("x"), value("words", TensorProto.STRING)]
    assert "input 'words' of the model holds text" in refused(tmp_path, product(), inputs).message
