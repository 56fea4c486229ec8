"""A small ONNX model with an If, and what ONNX Runtime makes of it as .ort."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["onnx_model", "save_ort"]


def onnx_model(*, scaling: str = "") -> Any:
    """conv 3x3, relu, an If on the mean, flatten, gemm on (N, 1, 8, 8)."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)

    def values(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)

    def branch(name: str, kind: str) -> Any:
        output = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, ["N", 4, 8, 8])
        return helper.make_graph(
            [helper.make_node(kind, ["r"], [f"{name}_out"], name=name)], name, [], [output]
        )

    nodes = [
        helper.make_node("Conv", ["image", "k"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("ReduceMean", ["r"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "half"], ["high"]),
        helper.make_node(
            "If",
            ["high"],
            ["i"],
            name="if",
            then_branch=branch("then", "Neg"),
            else_branch=branch("else", "Abs"),
        ),
        helper.make_node("Flatten", ["i"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["scores"], name="gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
        [
            values("k", 4, 1, 3, 3),
            values("w", 3, 256),
            values("b", 3),
            numpy_helper.from_array(np.array(0.5, np.float32), "half"),
        ],
    )
    imports = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=9)
    model.metadata_props.add(key="labels", value="a,b,c")
    if scaling:
        model.metadata_props.add(key="edgekit", value=scaling)
    return model


def save_ort(model: Any, path: Path, level: str = "ORT_ENABLE_EXTENDED") -> Path:
    """Lets ONNX Runtime write a model in its own format."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return path
