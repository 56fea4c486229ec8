"""What each op of a .tflite becomes in C; a kind that is not in EMITTERS is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgekit.mcu._code import Code
from edgekit.mcu._graph import Node
from edgekit.mcu.ops import (
    arithmetic,
    convolution,
    copies,
    fully_connected,
    mean,
    pooling,
    softmax,
    tables,
)

__all__ = ["EMITTERS", "VIEWS", "Emitter"]

Emitter = Callable[[Node, Code], None]

VIEWS = frozenset({"EXPAND_DIMS", "RESHAPE", "SQUEEZE"})
"""Ops whose output is their first input under another shape: nothing is computed or copied."""

EMITTERS: Mapping[str, Emitter] = {
    "ADD": arithmetic.add,
    "AVERAGE_POOL_2D": pooling.average_pool_2d,
    "CONCATENATION": copies.concatenation,
    "CONV_2D": convolution.conv_2d,
    "DEPTHWISE_CONV_2D": convolution.depthwise_conv_2d,
    "FULLY_CONNECTED": fully_connected.fully_connected,
    "LOGISTIC": tables.logistic,
    "MAX_POOL_2D": pooling.max_pool_2d,
    "MEAN": mean.mean,
    "MUL": arithmetic.mul,
    "PAD": copies.pad,
    "PADV2": copies.pad,
    "QUANTIZE": tables.quantize,
    "RELU": tables.relu,
    "RELU6": tables.relu6,
    "RELU_N1_TO_1": tables.relu_n1_to_1,
    "SOFTMAX": softmax.softmax,
    "SUB": arithmetic.sub,
    "TANH": tables.tanh,
    "TRANSPOSE": copies.transpose,
}
