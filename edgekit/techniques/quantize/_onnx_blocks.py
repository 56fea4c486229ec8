"""Weights in blocks of 4 or 8 bits, as MatMulNBits of com.microsoft reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.techniques.quantize._onnx_model import require

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["pack_blocks"]


def pack_blocks(values: Array, *, bits: int, block: int) -> tuple[Array, Array, Array]:
    """(columns, blocks, bytes) of packed values, and the scales and zero points of the blocks.

    The engine's own kernel, on one matrix (inputs, outputs). Its Python class around it needs one
    more package (onnx_ir) and adds only the zeros that fill the last block.
    """
    import numpy as np

    engine = require("onnxruntime.capi._pybind_state")
    rows, columns = values.shape
    blocks, each = -(-rows // block), 8 // bits
    filled = np.zeros((blocks * block, columns), np.float32)
    filled[:rows] = values
    packed = np.zeros((columns, blocks, block // each), np.uint8)
    zero_points = np.zeros((columns, -(-blocks // each)), np.uint8)
    scales = np.zeros((columns, blocks), np.float32)
    pack = engine.quantize_matmul_4bits if bits == 4 else engine.quantize_matmul_8bits
    pack(packed, filled, scales, zero_points, block, columns, rows, False)
    return packed, scales.reshape(-1), zero_points.reshape(-1)
