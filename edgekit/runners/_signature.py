"""The inputs and outputs of an opened model, as specs with names, and what fits them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Quantization, Signature, TensorSpec
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["checked", "is_dynamic", "ordered", "shape_text", "tensors"]


def tensors(interpreter: Any, side: str) -> list[tuple[int, TensorSpec]]:
    """Tensor numbers and specs of a LiteRT interpreter, in the model's order.

    The names are those of its first signature.
    """
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


def is_dynamic(signature: Signature) -> bool:
    """True where every input has an open batch axis."""
    return all(spec.shape[0] is None for spec in signature.inputs)


def checked(signature: Signature, inputs: tuple[Array, ...], path: Path) -> list[Array]:
    """The inputs as contiguous arrays, once they are what the model takes.

    Raises:
        UsageError: another number of inputs, or one of another shape or dtype.
    """
    import numpy as np

    specs = signature.inputs
    if len(inputs) != len(specs):
        raise UsageError(f"{path}: takes {len(specs)} inputs, not {len(inputs)}")
    for spec, array in zip(specs, inputs, strict=True):
        fits = len(spec.shape) == array.ndim and all(
            want in (None, have)
            for want, have in zip(spec.sample_shape, array.shape[1:], strict=True)
        )
        if not fits or array.dtype != spec.dtype:
            raise UsageError(
                f"{path}: the input '{spec.name}' takes {spec.dtype} of shape "
                f"{shape_text(spec.shape)}, not {array.dtype} of shape {shape_text(array.shape)}"
            )
    return [np.ascontiguousarray(array) for array in inputs]


def shape_text(shape: tuple[int | None, ...]) -> str:
    """Writes 'Nx8x8x1', with N for an open axis."""
    return "x".join("N" if size is None else str(size) for size in shape) or "one value"
