"""The inputs and outputs of a LiteRT interpreter, as specs with names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.core.artifact import Quantization, TensorSpec

__all__ = ["ordered", "tensors"]


def tensors(interpreter: Any, side: str) -> list[tuple[int, TensorSpec]]:
    """Tensor numbers and specs, in the model's order, by the names of its first signature."""
    details = (
        interpreter.get_input_details() if side == "inputs" else interpreter.get_output_details()
    )
    names: dict[int, str] = {}
    for definition in interpreter._get_full_signature_list().values():
        found = {index: name for name, index in definition[side].items()}
        if set(found) == {detail["index"] for detail in details}:
            names = found
            break
    return [(d["index"], _spec(d, names.get(d["index"], d["name"]))) for d in details]


def _spec(detail: Mapping[str, Any], name: str) -> TensorSpec:
    import numpy as np

    sizes = [int(n) for n in detail["shape"]]
    flexible = [int(n) for n in detail["shape_signature"]]
    shape = tuple(
        None if f < 0 else n
        for n, f in zip(sizes, flexible if len(flexible) == len(sizes) else sizes, strict=True)
    )
    scale, zero_point = detail["quantization"]
    quantization = Quantization(float(scale), int(zero_point)) if scale else None
    return TensorSpec(name, shape, np.dtype(detail["dtype"]).name, quantization)


def ordered(
    own: list[tuple[int, TensorSpec]], wanted: tuple[TensorSpec, ...]
) -> list[tuple[int, TensorSpec]]:
    """The order of the signature that was passed in, where it has the same names."""
    by_name = {spec.name: (index, spec) for index, spec in own}
    names = [spec.name for spec in wanted]
    if set(names) != set(by_name) or len(names) != len(own):
        return own
    return [by_name[name] for name in names]
