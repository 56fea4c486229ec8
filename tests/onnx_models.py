"""Small `.onnx` files as exporters write them, and data on which they are right by construction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = [
    "answers",
    "clear",
    "cnn",
    "images",
    "save_model",
    "tensor",
    "token_model",
    "tokens",
    "value",
]

_IR_VERSION = 8


def tensor(name: str, values: Any, dtype: type = np.float32) -> onnx.TensorProto:
    """An initializer."""
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def value(name: str, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT) -> Any:
    """An input or output of a graph."""
    return helper.make_tensor_value_info(name, dtype, list(shape))


def save_model(path: Path, graph: onnx.GraphProto, opset: int = 17, **domains: int) -> Path:
    """Writes a graph as a model."""
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(name, version) for name, version in domains.items()]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = _IR_VERSION
    onnx.save(model, str(path))
    return path


def answers(path: Path, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What a model says: labels made of it are what the float model gets all right."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(path)).run(None, feed)


def images(count: int) -> np.ndarray:
    """Noisy versions of four patterns, NCHW, the patterns in turn."""
    patterns = np.random.default_rng(7).random((4, 1, 12, 12), np.float32)
    noise = np.random.default_rng(8).normal(size=(count, 1, 12, 12)).astype(np.float32)
    return np.clip(patterns[np.arange(count) % 4] + noise / 10, 0, 1)


def cnn(
    path: Path, *, size: Sequence[int | str] = (12, 12), channels: int = 16, offset: float = 0.0
) -> Path:
    """NCHW, opset 12, an open batch, `Constant` nodes and BatchNorm: work for `simplify`.

    Its last layer tells the patterns of `images` apart: each goes to the nearest of four means.
    `offset` is the level of a channel that it does not look at.
    """
    level = np.zeros(channels)
    level[0] = offset
    _cnn(path, size, level, np.eye(channels), np.zeros(channels))
    pooled = answers(path, {"image": images(64)})[0] * (level == 0 if offset else 1)
    means = np.stack([pooled[kind::4].mean(axis=0) for kind in range(4)])
    centre = means.mean(axis=0)
    means -= centre
    scale = 10 / (means**2).sum(axis=1).mean()
    bias = -means @ centre - (means**2).sum(axis=1) / 2
    return _cnn(path, size, level, scale * means, scale * bias)


def _cnn(
    path: Path, size: Sequence[int | str], level: np.ndarray, head: np.ndarray, bias: np.ndarray
) -> Path:
    rng, channels = np.random.default_rng(0), len(level)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return tensor(name, rng.normal(size=shape) / np.sqrt(np.prod(shape[1:])))

    norm = {
        "norm0.scale": rng.uniform(0.5, 1.5, channels),
        "norm0.bias": rng.normal(size=channels) / 4,
        "norm0.mean": rng.normal(size=channels) / 4,
        "norm0.var": rng.uniform(0.5, 1.5, channels),
    }
    nodes = [
        helper.make_node("Constant", [], ["shift"], "shift", value=tensor("", [0.5])),
        helper.make_node("Sub", ["image", "shift"], ["centred"], "centre"),
        helper.make_node("Conv", ["centred", "w0"], ["c0"], "conv0", pads=[1] * 4),
        helper.make_node("BatchNormalization", ["c0", *norm], ["n0"], "norm0"),
        helper.make_node("Relu", ["n0"], ["r0"], "relu0"),
        helper.make_node("MaxPool", ["r0"], ["p0"], "pool0", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p0", "w1", "b1"], ["c1"], "conv1", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("GlobalAveragePool", ["r1"], ["g"], "mean"),
        helper.make_node("Flatten", ["g"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w2", "b2"], ["logits"], "dense", transB=1),
    ]
    weights = [
        weight("w0", channels, 1, 3, 3),
        *(tensor(name, held) for name, held in norm.items()),
        weight("w1", channels, channels, 3, 3),
        tensor("b1", rng.normal(size=channels) / 4 + level),
        tensor("w2", head),
        tensor("b2", bias),
    ]
    ends = [value("image", ["N", 1, *size])], [value("logits", ["N", len(bias)])]
    return save_model(path, helper.make_graph(nodes, "cnn", *ends, weights), opset=12)


def clear(classes: np.ndarray, count: int) -> np.ndarray:
    """The samples that are classified with the largest margins: rounding changes none of them."""
    ranked = np.sort(classes, axis=1)
    return np.sort(np.argsort(ranked[:, -2] - ranked[:, -1])[:count])


def tokens(count: int) -> dict[str, np.ndarray]:
    """Six token numbers a sample, of which the first three to six count."""
    rng = np.random.default_rng(2)
    mask = (np.arange(6) < rng.integers(3, 7, (count, 1))).astype(np.int64)
    return {"input_ids": rng.integers(0, 50, (count, 6)), "attention_mask": mask}


def token_model(path: Path) -> Path:
    """Two int64 inputs; a mean of embeddings and classes of it, of which the second is judged."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"], "embed"),
        helper.make_node("Cast", ["attention_mask"], ["mask"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"], "widen"),
        helper.make_node("Mul", ["words", "wide"], ["kept"], "keep"),
        helper.make_node("MatMul", ["kept", "w0"], ["hidden"], "project"),
        helper.make_node("ReduceMean", ["hidden"], ["embedding"], "pool", axes=[1], keepdims=0),
        helper.make_node("MatMul", ["embedding", "w1"], ["classes"], "head"),
    ]
    inputs = [
        value(name, ["batch", "length"], TensorProto.INT64)
        for name in ("input_ids", "attention_mask")
    ]
    graph = helper.make_graph(
        nodes,
        "tokens",
        inputs,
        [value("embedding", ["batch", 32]), value("classes", ["batch", 3])],
        [
            tensor("table", rng.normal(size=(50, 32))),
            tensor("last", [2], np.int64),
            tensor("w0", rng.normal(size=(32, 32)) / 6),
            tensor("w1", rng.normal(size=(32, 3))),
        ],
    )
    return save_model(path, graph)
