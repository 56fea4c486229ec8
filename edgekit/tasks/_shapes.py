"""What the shapes of a signature say about the kind of task."""

from __future__ import annotations

from edgekit.core.artifact import Signature, TensorSpec

__all__ = ["class_count", "holds_integers", "is_autoencoder", "without_ones"]


def holds_integers(dtype: str | None) -> bool:
    """True for the dtypes that class indices come in."""
    return dtype is not None and dtype.startswith(("int", "uint", "bool"))


def without_ones(spec: TensorSpec) -> tuple[int | None, ...]:
    """The sample shape without its axes of size 1."""
    return tuple(size for size in spec.sample_shape if size != 1)


def is_autoencoder(signature: Signature) -> bool:
    """True where the first output has the shape of the first input, and both are real-valued."""
    if not signature.inputs or not signature.outputs:
        return False
    source = signature.inputs[0]
    if holds_integers(source.dtype) and source.quantization is None:
        return False
    shape = without_ones(source)
    return bool(shape) and shape == without_ones(signature.outputs[0])


def class_count(signature: Signature) -> int | None:
    """The classes of the first output: its only axis, 2 for a single value, None where unknown.

    Raises:
        ValueError: the first output has more than one axis.
    """
    shape = without_ones(signature.outputs[0])
    if len(shape) > 1:
        raise ValueError(f"{signature.outputs[0].sample_shape}")
    return shape[0] if shape else 2
