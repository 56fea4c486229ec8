"""Holds a quantized file against what its scheme promises, and notes what stayed wide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.core.artifact import Artifact, Signature, TensorSpec
from edgekit.core.description import Description
from edgekit.core.technique import Work
from edgekit.errors import PromiseError
from edgekit.frameworks.tflite import TfliteModel, read_model
from edgekit.frameworks.tflite_ops import FloatOps, find_float_ops
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize._promises import OutputRange, output_ranges, wide_weights

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["prove"]

_PROBES = 8
_IO = {"int8": "int8", "int16x8": "int16"}


def prove(
    parameters: Parameters,
    source: Artifact,
    result: Artifact,
    work: Work,
    skipped: frozenset[str],
) -> None:
    """Checks ops, inputs and outputs, size, weights, and outputs on probes, in this order.

    Raises:
        PromiseError: one of them is not what the scheme says.
    """
    model = read_model(result.path)
    before, after = work.describe(source), work.describe(result)
    if parameters.is_static:
        float_ops = find_float_ops(model, skipped, float_io=parameters.io == "float")
        _prove_integer(parameters, float_ops, work)
        _prove_io(parameters, before.signature, after.signature)
    _prove_weights(parameters, model, work)
    _prove_smaller(parameters, before, after)
    probes = work.probes(_PROBES)
    ranges = output_ranges(model) if parameters.is_static else {}
    places = _places(before.signature.inputs, after.signature.inputs)
    expected = work.predict(source, probes)
    made = work.predict(result, tuple(probes[place] for place in places))
    places = _places(before.signature.outputs, after.signature.outputs)
    for spec, place, values in zip(after.signature.outputs, places, made, strict=True):
        _prove_finite(parameters, spec.name, expected[place], values)
        if spec.name in ranges:
            _record_range(ranges[spec.name], expected[place], values, work)


def _places(before: tuple[TensorSpec, ...], after: tuple[TensorSpec, ...]) -> list[int]:
    """For each tensor of the result its place in the source: by name where both have the same
    names, for the converter may have another order than the source; else by position."""
    names = [spec.name for spec in before]
    if len(set(names)) == len(names) and set(names) == {spec.name for spec in after}:
        return [names.index(spec.name) for spec in after]
    return list(range(len(after)))


def _broken(parameters: Parameters, text: str, hint: str = "") -> PromiseError:
    return PromiseError(f"quantize: {parameters.scheme}: {text}", hint=hint)


def _prove_integer(parameters: Parameters, float_ops: FloatOps, work: Work) -> None:
    if float_ops.sentence and not parameters.allow_float:
        raise _broken(
            parameters, float_ops.sentence, "allow_float = true accepts them, and notes each"
        )
    for kind, name in float_ops.skipped:
        work.note("skipped", f"{kind} '{name}'", _as_asked(parameters))
    for kind, name in float_ops.left + float_ops.conversions:
        work.note("left in float", f"{kind} '{name}'", "the quantizer has no integer form of it")
    if not float_ops.skipped + float_ops.left + float_ops.conversions:
        edges = (
            ", a QUANTIZE and a DEQUANTIZE at the edges aside" if parameters.io == "float" else ""
        )
        work.evidence("all integer", "the ops of the model", f"none computes in float{edges}")


def _as_asked(parameters: Parameters) -> str:
    keys = ("skip", "op_types", "weights_only")
    said = [key for key in keys if getattr(parameters, key)]
    return f"stays float, as {' and '.join(said)} say{'s' if len(said) == 1 else ''}"


def _prove_io(parameters: Parameters, before: Signature, after: Signature) -> None:
    wanted = _IO[parameters.scheme] if parameters.io == "integer" else "float32"
    for noun, old, new in (
        ("input", before.inputs, after.inputs),
        ("output", before.outputs, after.outputs),
    ):
        made = {spec.name: spec.dtype for spec in new}
        for spec in old:
            expected = wanted if spec.dtype == "float32" else spec.dtype
            if made.get(spec.name) != expected:
                is_now = made.get(spec.name, "gone")
                raise _broken(parameters, f"{noun} '{spec.name}' is {is_now}, not {expected}")


def _prove_weights(parameters: Parameters, model: TfliteModel, work: Work) -> None:
    narrow, wide = wide_weights(model)
    if not narrow:
        kind = "float16" if parameters.scheme == "float16" else "int8"
        raise _broken(parameters, f"no weight of the model became {kind}")
    flat = [tensor for tensor in wide if len(tensor.shape) < 2]
    for tensor in wide:
        if len(tensor.shape) >= 2:
            work.note("left in float32", tensor.name, f"{tensor.size_bytes} bytes of constants")
    if flat:
        total = sum(tensor.size_bytes for tensor in flat)
        noun = "bias or other vector" if len(flat) == 1 else "biases and other vectors"
        work.note("left in float32", f"{len(flat)} {noun}", f"{total} bytes")


def _prove_smaller(parameters: Parameters, before: Description, after: Description) -> None:
    if after.size_bytes < before.size_bytes:
        return
    old, new = dict(before.bytes_by), dict(after.bytes_by)
    changes = ", ".join(
        f"{kind} {old.get(kind, 0)} -> {new.get(kind, 0)}" for kind in {**old, **new}
    )
    raise _broken(
        parameters,
        f"the file did not get smaller: {before.size_bytes} -> {after.size_bytes} bytes "
        f"({changes})",
        "the model has too few weights for this scheme to pay off",
    )


def _prove_finite(parameters: Parameters, name: str, before: Array, after: Array) -> None:
    import numpy as np

    count = int(np.count_nonzero(~np.isfinite(after)))
    if count:
        own = int(np.count_nonzero(~np.isfinite(before)))
        raise _broken(
            parameters,
            f"output '{name}' has {count} of {after.size} values NaN or infinite on "
            f"{len(after)} probes (the float model: {own})",
        )


def _record_range(held: OutputRange, before: Array, after: Array, work: Work) -> None:
    """Says how much of an output is cut off: the best class can stay right while values do not.

    One step beyond the range is rounding: SOFTMAX in int8 holds 0.9961 for 1.
    """
    import numpy as np

    values = np.asarray(before, np.float64)
    cut = float(np.mean((values < held.low - held.step) | (values > held.high + held.step)))
    worst = np.max(np.abs(np.asarray(after, np.float64) - values), initial=0.0)
    found = (
        f"holds {held.low:.4g} to {held.high:.4g}; on {len(before)} probes the float model gives "
        f"{values.min():.4g} to {values.max():.4g}: {100 * cut:.1f} % of its values are cut off, "
        f"and the largest difference is {worst:.4g}"
    )
    if cut > 0:
        work.note("output cut off", held.name, found)
    else:
        work.evidence("output range", held.name, found)
