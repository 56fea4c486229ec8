"""Refuses the .onnx models and options that a scheme cannot treat, before any work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase

from edgekit.core.artifact import Artifact
from edgekit.core.description import Description
from edgekit.errors import UsageError
from edgekit.frameworks import onnx_files
from edgekit.techniques.quantize import STATIC, Parameters
from edgekit.techniques.quantize._onnx_calibrated import static_kinds
from edgekit.techniques.quantize._onnx_model import WEIGHT_INPUTS, Visit, float_weights, visits

__all__ = ["refuse"]

_QUANTIZED = frozenset(
    {"ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv"}
    | {"QLinearMatMul", "QuantizeLinear"}
)
_MICROSOFT = "com.microsoft."
_FLOAT_AS_IT_IS = "use it as it is with the recipe 'float32'"
_FROM_FLOAT = f"start from the float model, or {_FLOAT_AS_IT_IS}"


def refuse(parameters: Parameters, source: Artifact, description: Description) -> None:
    """Holds a model against the parameters.

    Raises:
        UsageError: an option is not for the scheme; the model is quantized already, has ops or
            tensors that cannot be treated, or no weight to quantize; `op_types`, `skip` or
            `weights_only` name what is not there.
    """
    _refuse_options(parameters)
    ops = list(visits(onnx_files.load(source.path)))
    _refuse_quantized(ops)
    _refuse_unknown(description)
    _refuse_weightless(parameters, ops)
    _refuse_kinds(parameters, ops)
    known = [op.name for op in ops if op.kind != "Constant"]
    _refuse_idle("skip", parameters.skip, known)
    _refuse_idle("weights_only", parameters.weights_only, known)


def _refuse_options(parameters: Parameters) -> None:
    scheme = parameters.scheme
    if parameters.ranges != "min-max" and not parameters.is_static:
        raise UsageError(
            f"quantize: ranges '{parameters.ranges}' is for {' and '.join(sorted(STATIC))}: "
            f"{scheme} needs no ranges",
            hint="leave `ranges` out",
        )
    if not parameters.per_channel and scheme == "weight-only-int4":
        raise UsageError(
            "quantize: per_channel = false is not for weight-only-int4, which has a scale for "
            "each block of 32 values",
            hint="leave `per_channel` out",
        )


def _refuse_quantized(ops: list[Visit]) -> None:
    narrow = next((op for op in ops if op.kind in _QUANTIZED or _is_contrib_narrow(op)), None)
    if narrow is not None:
        raise UsageError(
            f"quantize: the model is quantized already ({narrow.kind} '{narrow.name}')",
            hint=_FROM_FLOAT,
        )
    half = next((name for op in ops for name in _half_weights(op)), None)
    if half is not None:
        raise UsageError(
            f"quantize: the weights of the model are float16 already ('{half}')", hint=_FROM_FLOAT
        )


def _is_contrib_narrow(op: Visit) -> bool:
    name = op.kind.removeprefix(_MICROSOFT)
    return op.kind.startswith(_MICROSOFT) and (
        name in _QUANTIZED or name.startswith(("QLinear", "MatMulNBits", "QGemm", "DynamicQuant"))
    )


def _half_weights(op: Visit) -> list[str]:
    places = WEIGHT_INPUTS.get(op.kind, ())
    names = [op.node.input[place] for place in places if place < len(op.node.input)]
    found = [(name, op.scope.get(name)) for name in names]
    return [name for name, t in found if t is not None and t.data_type == t.FLOAT16]


def _refuse_unknown(description: Description) -> None:
    custom = next((op for op in description.ops if op.is_custom), None)
    if custom is not None:
        raise UsageError(
            f"quantize: the model has the custom op {custom.kind} ('{custom.name}'), and no "
            "runtime here has a kernel for it",
            hint="replace it by operations that ONNX has",
        )
    signature = description.signature
    inputs = {spec.name for spec in signature.inputs}
    outputs = [spec.name for spec in signature.outputs]
    odd = next((n for n in outputs if outputs.count(n) > 1 or n in inputs), None)
    if odd is not None:
        what = "an input as well" if odd in inputs else "there twice"
        raise UsageError(
            f"quantize: output '{odd}' of the model is {what}, which quantizers do not take",
            hint="export the model again with outputs of their own",
        )
    for noun, specs in (("input", signature.inputs), ("output", signature.outputs)):
        text = next((spec for spec in specs if spec.dtype in ("string", "object")), None)
        if text is not None:
            raise UsageError(
                f"quantize: {noun} '{text.name}' of the model holds text, and only models of "
                "numbers can be quantized",
                hint="leave the part that reads or writes text out of the model",
            )


def _refuse_weightless(parameters: Parameters, ops: list[Visit]) -> None:
    weighted = [op for op in ops if float_weights(op)]
    if not weighted:
        raise UsageError(
            "quantize: the model has no constant float32 weight to quantize", hint=_FLOAT_AS_IT_IS
        )
    if parameters.is_static:
        kinds = static_kinds()
        if all(op.kind not in kinds for op in weighted):
            found = weighted[0]
            raise UsageError(
                f"quantize: {parameters.scheme} has no form of {found.kind} ('{found.name}'), and "
                "no other op of the model has weights",
                hint='scheme = "dynamic-int8" quantizes its weights, and needs no calibration',
            )


def _refuse_kinds(parameters: Parameters, ops: list[Visit]) -> None:
    """`op_types` may name what the model has not, as long as it has one of them."""
    present = {op.kind for op in ops if op.kind != "Constant"}
    able = present if parameters.scheme == "float16" else _able(parameters)
    for kind in parameters.op_types:
        if kind not in able and kind not in present:
            raise UsageError(
                f"quantize: op_types '{kind}' is no kind of op of the model",
                hint=_near(kind, present & able),
            )
        if kind not in able:
            raise UsageError(
                f"quantize: op_types '{kind}' has no {parameters.scheme} form",
                hint=f"{parameters.scheme} treats {', '.join(sorted(present & able))}",
            )
    if parameters.op_types and not present & set(parameters.op_types):
        shown = ", ".join(f"'{kind}'" for kind in parameters.op_types)
        raise UsageError(
            f"quantize: op_types {shown}: the model has no such op",
            hint=f"it has {', '.join(sorted(present & able))}",
        )


def _able(parameters: Parameters) -> frozenset[str]:
    return static_kinds() if parameters.is_static else frozenset(WEIGHT_INPUTS)


def _near(word: str, names: Iterable[str]) -> str:
    """The nearest names, whatever their case: `conv` is Conv."""
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(repr(by_lower[name]) for name in near)}?"
    return f"the model has {', '.join(sorted(by_lower.values()))}"


def _refuse_idle(option: str, patterns: tuple[str, ...], known: list[str]) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            near = difflib.get_close_matches(pattern.strip("*"), known, n=3, cutoff=0.3)
            raise UsageError(
                f"quantize: {option} '{pattern}' matches no op of the model",
                hint=f"did you mean {' or '.join(repr(name) for name in near)}?"
                if near
                else "`edgekit inspect MODEL --json` lists the names of its ops",
            )
