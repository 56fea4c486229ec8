"""What can be refused before any work, and how shapes and ops are written in sentences."""

from __future__ import annotations

from edgekit.core.artifact import TensorSpec
from edgekit.core.description import Op
from edgekit.errors import UsageError
from edgekit.text import clean

__all__ = ["ELSEWHERE", "check_input", "check_ops", "named", "shape_text"]

ELSEWHERE = "`--target cpu-onnxruntime` runs the ONNX model as it is"

_SHOWN = 3
_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}) | {
    *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"),
    "com.microsoft.MatMulNBits",
}
_LIKELY = {4: 224}
_NO_TENSORS = ("string", "sequence_type", "map_type", "optional_type", "unknown")


def named(ops: list[Op]) -> str:
    """The first few ops, each with its node."""
    shown = ", ".join(f"'{clean(op.kind)}' (node '{clean(op.name)}')" for op in ops[:_SHOWN])
    more = f" and {len(ops) - _SHOWN} more" if len(ops) > _SHOWN else ""
    return f"the op{'s' if len(ops) > 1 else ''} {shown}{more}"


def shape_text(shape: tuple[int | None, ...]) -> str:
    """1x3x?x?"""
    return "x".join("?" if size is None else str(size) for size in shape) or "()"


def check_ops(name: str, ops: tuple[Op, ...]) -> None:
    """Raises UsageError for custom ops, and for a model in integers.

    onnx2tf writes every QuantizeLinear as seven float ops and the weights in float: the result
    would be larger and slower than the float model's.
    """
    custom = [op for op in ops if op.is_custom]
    if custom:
        verb = "is" if len(custom) == 1 else "are"
        raise UsageError(
            f"model '{name}': {named(custom)} {verb} custom, and no runtime for .tflite has a "
            "kernel for that",
            hint=f"export the model without it; {ELSEWHERE} where ONNX Runtime knows the op",
        )
    quantized = next((op for op in ops if op.kind in _QUANTIZED), None)
    if quantized is not None:
        raise UsageError(
            f"model '{name}': is quantized ({named([quantized])}), and its .tflite would compute "
            "in float again",
            hint=f"start from the float model and quantize its .tflite; {ELSEWHERE}",
        )


def check_input(spec: TensorSpec, batch: int) -> None:
    """Raises UsageError for an input of no numbers, an open axis, or another batch."""
    if spec.dtype in _NO_TENSORS:
        raise UsageError(
            f"input '{spec.name}' of the model holds {spec.dtype.removesuffix('_type')}, and only "
            "tensors of numbers can be converted",
            hint="cut the model behind what turns it into numbers",
        )
    shape = shape_text(spec.shape)
    if None in spec.sample_shape:
        likely = _LIKELY.get(len(spec.shape), 128)
        sizes = (spec.shape[0] or batch, *spec.sample_shape)
        example = "x".join(str(size or likely) for size in sizes)
        raise UsageError(
            f"input '{spec.name}' of the model has the shape {shape}, and only the batch may be "
            "open",
            hint=f"fix it with the sizes that the device will see: --input {spec.name}={example}",
        )
    fixed = spec.shape[0] if spec.shape else None
    if fixed is not None and batch not in (1, fixed):
        raise UsageError(
            f"input '{spec.name}' of the model has the shape {shape}, and a batch of {batch} is "
            "asked for",
            hint=f"leave batch={batch} away, or export the model with an open batch",
        )
