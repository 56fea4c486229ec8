"""Refuses the models that a scheme cannot treat, before any work."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase

from edgekit.core.description import Description
from edgekit.errors import UsageError
from edgekit.techniques.quantize import Parameters

__all__ = ["refuse"]

_INTEGERS = ("int8", "uint8", "int16", "int4", "int2")
_BUNDLED = frozenset({"TFLite_Detection_PostProcess", "Mfcc", "AudioSpectrogram"})
"""Custom ops whose kernels every TensorFlow Lite runtime brings along (register.cc)."""
_CONTROL_FLOW = frozenset({"WHILE", "IF", "CALL", "STABLEHLO_WHILE", "STABLEHLO_CASE"})
_FLOAT_AS_IT_IS = "use it as it is with the recipe 'float32'"


def refuse(parameters: Parameters, source: Description) -> None:
    """Holds a model against the parameters.

    Raises:
        UsageError: it is quantized already, has ops or tensors that cannot be treated, has no
            weight to quantize, or no op that `skip` matches.
    """
    _refuse_elsewhere(parameters)
    _refuse_quantized(parameters, source)
    _refuse_unknown(source)
    _refuse_weightless(source)
    _refuse_control_flow(parameters, source)
    _refuse_idle_skip(parameters, source)
    _refuse_idle_types(parameters, source)


def _refuse_elsewhere(parameters: Parameters) -> None:
    """What only .onnx files can be quantized with."""
    if parameters.scheme == "weight-only-int4":
        raise UsageError(
            "quantize: scheme 'weight-only-int4' is for .onnx models",
            hint='scheme = "weight-only-int8" works on a .tflite',
        )
    if parameters.ranges in ("entropy", "percentile"):
        raise UsageError(
            f"quantize: ranges '{parameters.ranges}' is for .onnx models",
            hint='ranges = "min-max" or "average" work on a .tflite',
        )


def _refuse_quantized(parameters: Parameters, source: Description) -> None:
    narrow = next((weight for weight in source.weights if weight.dtype in _INTEGERS), None)
    inner = next((op for op in source.ops if op.kind in ("QUANTIZE", "DENSIFY")), None)
    edges = (*source.signature.inputs, *source.signature.outputs)
    edge = next((spec for spec in edges if spec.quantization is not None), None)
    found = (
        f"weight '{narrow.name}' is {narrow.dtype}"
        if narrow
        else f"'{edge.name}' is {edge.dtype}"
        if edge
        else ""
    )
    if found:
        raise UsageError(
            f"quantize: the model is quantized already ({found})",
            hint=f"start from the float model, or {_FLOAT_AS_IT_IS}",
        )
    if inner is not None and inner.kind == "DENSIFY":
        raise UsageError(
            f"quantize: the model keeps weights sparse (DENSIFY '{inner.name}'), which the "
            "quantizer cannot read",
            hint="start from the dense float model",
        )
    if inner is not None:
        raise UsageError(
            f"quantize: the model is partly quantized already (QUANTIZE '{inner.name}')",
            hint="start from the float model",
        )
    if parameters.scheme == "float16" and any(w.dtype == "float16" for w in source.weights):
        raise UsageError(
            "quantize: the weights of the model are float16 already", hint=_FLOAT_AS_IT_IS
        )


def _refuse_unknown(source: Description) -> None:
    """Custom ops, which nothing here can run to calibrate or compare; and texts."""
    custom = next((op for op in source.ops if op.is_custom and op.kind not in _BUNDLED), None)
    if custom is not None:
        raise UsageError(
            f"quantize: the model has the custom op {custom.kind} ('{custom.name}'), and no "
            "runtime here has a kernel for it",
            hint="replace it by operations that TensorFlow Lite has",
        )
    for noun, specs in (("input", source.signature.inputs), ("output", source.signature.outputs)):
        text = next((spec for spec in specs if spec.dtype == "string"), None)
        if text is not None:
            raise UsageError(
                f"quantize: {noun} '{text.name}' of the model holds text, and only models of "
                "numbers can be quantized",
                hint="leave the part that reads or writes text out of the model",
            )


def _refuse_weightless(source: Description) -> None:
    floats = [w for w in source.weights if w.dtype in ("float32", "float16") and w.parameters > 1]
    if not floats:
        raise UsageError(
            "quantize: the model has no float32 weight to quantize", hint=_FLOAT_AS_IT_IS
        )


def _refuse_control_flow(parameters: Parameters, source: Description) -> None:
    """The engine reads no values inside loops and branches, and TensorFlow's calibrator, which
    would be the fallback, crashes on them."""
    loop = next((op for op in source.ops if op.kind in _CONTROL_FLOW), None)
    if loop is not None and parameters.is_static:
        raise UsageError(
            f"quantize: {parameters.scheme} cannot be calibrated inside {loop.kind} "
            f"('{loop.name}'), which recurrent layers become",
            hint='scheme = "dynamic-int8" quantizes the weights, and needs no calibration',
        )


def _refuse_idle_skip(parameters: Parameters, source: Description) -> None:
    known = [op.name for op in source.ops]
    patterns = [("skip", pattern) for pattern in parameters.skip]
    patterns += [("weights_only", pattern) for pattern in parameters.weights_only]
    for key, pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            near = difflib.get_close_matches(pattern.strip("*"), known, n=3, cutoff=0.3)
            raise UsageError(
                f"quantize: {key} '{pattern}' matches no op of the model",
                hint=f"did you mean {' or '.join(repr(name) for name in near)}?"
                if near
                else "`edgekit inspect MODEL --json` lists the names of its ops",
            )


def _refuse_idle_types(parameters: Parameters, source: Description) -> None:
    known = sorted({op.kind for op in source.ops})
    for kind in parameters.op_types:
        if kind not in known:
            raise UsageError(
                f"quantize: op_types '{kind}' is no kind of op in the model",
                hint=f"it has {', '.join(known)}",
            )
