"""What an .onnx file holds in integers: read from the file, whoever wrote it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.frameworks import onnx_files
from edgekit.techniques.quantize._onnx_model import (
    WEIGHT_INPUTS,
    Visit,
    array,
    float_weights,
    op_name,
    visits,
)

__all__ = ["Found", "Treated", "bad_scale", "find"]

_INTEGER = {"ConvInteger": 1, "MatMulInteger": 1, "QLinearConv": 3, "QLinearMatMul": 3}
_BLOCKED = "com.microsoft.MatMulNBits"
_LARGEST_SCALE = 1e15


@dataclass(frozen=True)
class Treated:
    """An op with narrow weights: how it computes, how many values they are, and their scales."""

    name: str
    kind: str
    how: str
    values: int
    scales: int
    channels: int


@dataclass(frozen=True)
class Found:
    """The ops with narrow weights; those with float32 ones; ops without weights that compute in
    integers; and the number of float32 values in weights."""

    treated: tuple[Treated, ...]
    left: tuple[Visit, ...]
    others: int
    left_values: int


def find(path: Path) -> Found:
    """Walks every graph of the file."""
    model = onnx_files.load(path)
    nodes = list(visits(model))
    makers = {(id(v.graph), name): v for v in nodes for name in v.node.output}
    treated = [made for visit in nodes if (made := _treated(visit, makers)) is not None]
    left = [visit for visit in nodes if float_weights(visit)]
    weighted = {made.name for made in treated} | {visit.name for visit in left}
    others = sum(1 for v in nodes if v.name not in weighted and _is_fake_quantized(v, makers))
    tensors = {name: v.scope[name] for v in left for name in float_weights(v)}
    values = sum(math.prod(tensor.dims) for tensor in tensors.values())
    return Found(tuple(treated), tuple(left), others, values)


def _treated(visit: Visit, makers: dict[tuple[int, str], Visit]) -> Treated | None:
    node = visit.node
    if visit.kind == _BLOCKED:
        packed, scales = visit.scope[node.input[1]], visit.scope[node.input[2]]
        sizes = {item.name: item.i for item in node.attribute}
        values = sizes["K"] * sizes["N"]
        how = f"{sizes['bits']}-bit blocks"
        assert packed.dims
        return Treated(visit.name, "MatMul", how, values, math.prod(scales.dims), 0)
    if visit.kind in _INTEGER:
        tensor = visit.scope.get(node.input[_INTEGER[visit.kind]])
        return None if tensor is None else _of(visit, "integers on the fly", tensor, None, None)
    for place in WEIGHT_INPUTS.get(visit.kind, ()):
        if place >= len(node.input):
            continue
        direct = visit.scope.get(node.input[place])
        if direct is not None and direct.data_type in _codes(direct):
            how = "float16" if direct.data_type == direct.FLOAT16 else "integer table"
            return _of(visit, how, direct, None, None)
        maker = makers.get((id(visit.graph), node.input[place]))
        if maker is not None and maker.node.op_type == "DequantizeLinear":
            tensor = visit.scope.get(maker.node.input[0])
            if tensor is not None and tensor.data_type in (tensor.INT8, tensor.UINT8):
                how = "integers" if _is_fake_quantized(visit, makers) else "integer weights"
                return _of(visit, how, tensor, visit.scope.get(maker.node.input[1]), maker.node)
    return None


def _codes(tensor: Any) -> tuple[int, ...]:
    return tensor.INT8, tensor.UINT8, tensor.FLOAT16


def _of(visit: Visit, how: str, tensor: Any, scale: Any, maker: Any) -> Treated:
    count = 0 if scale is None else math.prod(scale.dims)
    axis = next((item.i for item in maker.attribute if item.name == "axis"), 1) if maker else 0
    channels = tensor.dims[axis] if maker is not None and len(tensor.dims) > 1 else 0
    values = math.prod(tensor.dims)
    return Treated(visit.name, visit.kind, how, values, count, channels)


def _is_fake_quantized(visit: Visit, makers: dict[tuple[int, str], Visit]) -> bool:
    """Its data comes out of a DequantizeLinear of what is computed, not of a constant."""
    node = visit.node
    if not node.input or "QuantizeLinear" in node.op_type or node.op_type == "DequantizeLinear":
        return False
    maker = makers.get((id(visit.graph), node.input[0]))
    return (
        maker is not None
        and maker.node.op_type == "DequantizeLinear"
        and maker.node.input[0] not in visit.scope
    )


def bad_scale(path: Path) -> str:
    """The first scale that is zero, negative, NaN, infinite or absurdly large: op and value."""
    import numpy as np

    for visit in visits(onnx_files.load(path)):
        kind, node = visit.node.op_type, visit.node
        place = {"QuantizeLinear": 1, "DequantizeLinear": 1, "MatMulNBits": 2}.get(kind)
        tensor = visit.scope.get(node.input[place]) if place is not None else None
        if tensor is None:
            continue
        values: Any = array(tensor, path.parent)
        # A block of zeros has the scale 0; a block with a negative scale counts downwards.
        least = (
            -_LARGEST_SCALE if kind == "MatMulNBits" else np.finfo(np.float32).smallest_subnormal
        )
        wrong = values[~((values >= least) & (values < _LARGEST_SCALE))]
        if wrong.size:
            return f"{kind} '{op_name(node)}' has the scale {float(wrong.flat[0]):g}"
    return ""
