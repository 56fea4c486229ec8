"""How far outputs may be from the golden ones: what was measured here, and what is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from edgekit.core.bundle import Measured, Tolerance
from edgekit.core.description import Description

__all__ = ["delegate_tolerance", "floor_of", "tolerance_of", "upwards"]

_MARGIN = 3
_INSIDE = 2e-2
_ACCELERATOR = 1e-2
_DYNAMIC_OPS = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger"})
_PACK, _UNPACK = ("QUANTIZE", "QuantizeLinear"), ("DEQUANTIZE", "DequantizeLinear")
_SMALL_INTEGERS = frozenset({"int8", "uint8", "int16", "uint16", "int4", "uint4"})
_WHY_DYNAMIC = "kernels choose the quantization of the activations as they run, each CPU's another"
_WHY_INTEGERS = "the outputs are floats that were made of integers, a step of which shows in them"
_WHY_DELEGATE = "accelerators may compute floats in 16 bits"


class Floor(NamedTuple):
    """The smallest tolerance of kernels, and what widened it."""

    lsb: int
    relative: float
    why: str = ""


def floor_of(description: Description, kernels: str) -> Floor:
    """What kernels of this name may differ by on another CPU, whatever was measured on this one."""
    exact = kernels == "reference"
    lsb = 0 if exact else 2
    if _is_dynamic(description):
        return Floor(lsb, _INSIDE, _WHY_DYNAMIC)
    if exact:
        return Floor(0, 1e-5)
    if _has_integers_inside(description):
        return Floor(lsb, _INSIDE, _WHY_INTEGERS)
    return Floor(lsb, 1e-4)


def tolerance_of(floor: Floor, seen: Measured | str | None) -> Tolerance:
    """The floor, or three times what was seen; `seen` as a text is why nothing was."""
    if not isinstance(seen, Measured):
        reason = "; ".join(text for text in (floor.why, seen) if text)
        return Tolerance(floor.lsb, floor.relative, None, reason)
    lsb = max(floor.lsb, _MARGIN * seen.lsb)
    relative = max(floor.relative, upwards(_MARGIN * seen.relative))
    return Tolerance(lsb, relative, seen, floor.why)


def delegate_tolerance(known: Mapping[str, Tolerance]) -> Tolerance:
    """That of an accelerator, which cannot be measured here."""
    lsb = max(2, *(tolerance.lsb for tolerance in known.values()))
    relative = max(_ACCELERATOR, *(tolerance.relative for tolerance in known.values()))
    return Tolerance(lsb, relative, None, _WHY_DELEGATE)


def upwards(value: float) -> float:
    """Two digits, rounded up."""
    if value == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step - 1e-9) * step:.2g}")


def _has_float_output(description: Description) -> bool:
    return any(spec.dtype.startswith("float") for spec in description.signature.outputs)


def _has_integers_inside(description: Description) -> bool:
    quantized = any(_SMALL_INTEGERS & set(op.dtypes) for op in description.ops)
    return quantized and _has_float_output(description)


def _is_dynamic(description: Description) -> bool:
    """Integer weights that float activations meet in one op: these are quantized as it runs."""
    counts = description.op_counts
    if not counts.keys().isdisjoint(_DYNAMIC_OPS):
        return True
    held = sum(w.dtype in _SMALL_INTEGERS and len(w.shape) > 1 for w in description.weights)
    unpacked = sum(counts.get(kind, 0) for kind in _UNPACK)
    is_static = not counts.keys().isdisjoint(_PACK)
    return held > unpacked and not is_static and _has_float_output(description)
