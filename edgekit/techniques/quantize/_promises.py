"""What a quantized file must be, held against the file itself."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.frameworks.tflite import Tensor, TensorQuantization, TfliteModel

__all__ = [
    "OutputRange",
    "output_ranges",
    "wide_weights",
]

_NARROW = frozenset({"int8", "uint8", "int16", "int4", "int2"})
_BITS = {"int8": 8, "int16": 16}


@dataclass(frozen=True)
class OutputRange:
    """What a quantized output can hold: from `low` to `high` in steps of `step`."""

    name: str
    low: float
    high: float
    step: float


def wide_weights(model: TfliteModel) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The constants that are narrow now, and those still float32 (scalars are not worth a word)."""
    constants = [t for graph in model.subgraphs for t in graph.tensors if t.is_constant]
    narrow = tuple(t for t in constants if t.dtype in {*_NARROW, "float16"})
    return narrow, tuple(t for t in constants if t.dtype == "float32" and t.size_bytes > 4)


def output_ranges(model: TfliteModel) -> dict[str, OutputRange]:
    """The range of each quantized output by name, behind a DEQUANTIZE too."""
    graph = model.subgraphs[0]
    makers = {index: op for op in graph.operations for index in op.outputs}
    signature = model.signature()
    named = signature.outputs if signature else [(graph.tensors[i].name, i) for i in graph.outputs]
    found = {}
    for name, index in named:
        maker = makers.get(index)
        inner = maker.inputs[0] if maker is not None and maker.kind == "DEQUANTIZE" else index
        tensor = graph.tensors[inner]
        if tensor.quantization is not None and tensor.dtype in _BITS:
            found[name] = _range(name, tensor, tensor.quantization)
    return found


def _range(name: str, tensor: Tensor, quantization: TensorQuantization) -> OutputRange:
    step, zero = quantization.scales[0], quantization.zero_points[0]
    half = 2 ** (_BITS[tensor.dtype] - 1)
    return OutputRange(name, (-half - zero) * step, (half - 1 - zero) * step, step)
