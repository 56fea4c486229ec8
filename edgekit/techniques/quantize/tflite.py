"""Quantizes a float `.tflite` without TensorFlow; the converter helps where it must."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from edgekit.core.artifact import Artifact
from edgekit.core.description import Description, Op
from edgekit.core.ladder import Rung
from edgekit.core.technique import Models, Work
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.tflite import add_signature, parse, read_bytes, read_model
from edgekit.frameworks.tflite_ops import find_float_ops, names
from edgekit.lazy import version
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize._engine import Calibration, EngineError, quantize
from edgekit.techniques.quantize._opening import opens
from edgekit.techniques.quantize._proof import prove
from edgekit.techniques.quantize._rank import rank_ops
from edgekit.techniques.quantize._refusals import refuse
from edgekit.techniques.quantize._rungs import sparing

if TYPE_CHECKING:
    from edgekit.core.data import Array
    from edgekit.techniques.quantize._engine import Feed

__all__ = ["apply", "check", "rank", "rungs", "verify", "versions"]

_ANCESTOR = "keras"
_SHOWN = 3
_HINTS = {
    True: "skip = [...] leaves ops in float, allow_float = true accepts those that stay float, and "
    'scheme = "dynamic-int8" quantizes the weights alone',
    False: "skip = [...] leaves ops as they are",
}
"""What to do where a scheme does not work, for static schemes and the others."""


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return {name: version(name) for name in ("litert-quantizer", "ai-edge-litert")}


def check(parameters: Parameters, source: Artifact, models: Models) -> None:
    """Raises UsageError for a model that the scheme cannot treat, and a `skip` without a match."""
    refuse(parameters, models.describe(source))


def apply(parameters: Parameters, source: Artifact, work: Work) -> None:
    """Writes the quantized model: the engine's, or the converter's where the engine cannot."""
    try:
        content = _by_engine(parameters, source, work)
    except EngineError as error:
        content = _by_converter(parameters, source, work, str(error))
    work.output.write_bytes(content)


def verify(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where the result is not what the scheme says; notes what stayed wide."""
    prove(parameters, source, result, work, _in_float(parameters, source, work))


def _left(parameters: Parameters, source: Artifact, work: Work) -> frozenset[str]:
    """The output tensors of the ops that stay as they are, for `skip` or `op_types`."""
    if not parameters.skip and not parameters.op_types:
        return frozenset()
    return _made_by(
        lambda op: (
            any(fnmatchcase(op.name, pattern) for pattern in parameters.skip)
            or bool(parameters.op_types and op.kind not in parameters.op_types)
        ),
        source,
        work,
    )


def _light(parameters: Parameters, source: Artifact, work: Work) -> frozenset[str]:
    """The output tensors of the ops of which the weights alone become int8."""
    if not parameters.weights_only:
        return frozenset()
    return _made_by(
        lambda op: any(fnmatchcase(op.name, pattern) for pattern in parameters.weights_only),
        source,
        work,
    ) - _left(parameters, source, work)


def _in_float(parameters: Parameters, source: Artifact, work: Work) -> frozenset[str]:
    """The output tensors of the ops that compute in float because the parameters say so."""
    return _left(parameters, source, work) | _light(parameters, source, work)


def _made_by(chosen: Callable[[Op], bool], source: Artifact, work: Work) -> frozenset[str]:
    model = read_model(source.path)
    made = [names(graph, op) for graph in model.subgraphs for op in graph.operations]
    return frozenset(
        name for op in work.describe(source).ops if chosen(op) for name in made[op.index]
    )


def rungs(parameters: Parameters) -> tuple[Rung, ...]:
    """All ops, then all but the most sensitive ones, then schemes that lose less."""
    first = (Rung("all ops", parameters),)
    plain = replace(
        parameters, scheme="dynamic-int8", io="integer", allow_float=False, ranges="min-max"
    )
    half = Rung("float16", replace(plain, scheme="float16", per_channel=True))
    if parameters.scheme == "float16":
        return first
    if parameters.scheme != "int8":
        return (*first, half)
    mixed = replace(parameters, allow_float=True)
    return (
        *first,
        *sparing(mixed),
        Rung("int16x8", replace(parameters, scheme="int16x8")),
        Rung("dynamic-int8", plain),
        Rung("weights alone", replace(plain, scheme="weight-only-int8")),
        half,
    )


def rank(parameters: Parameters, source: Artifact, work: Work) -> tuple[tuple[str, float], ...]:
    """Ops with weights by the error of the outputs where each alone is quantized, worst first."""
    skipped = _in_float(parameters, source, work)
    calibration = _calibration(parameters, source, work)
    return rank_ops(calibration, parameters, source, work, skipped)


def _feed(parameters: Parameters, source: Description, work: Work) -> Feed:
    """Calibration samples by input name; as many at once as a static batch holds."""
    import numpy as np

    inputs = source.signature.inputs
    batch = next((spec.shape[0] for spec in inputs if spec.shape and spec.shape[0]), None) or 1

    count = -(-parameters.samples // batch) * batch

    def feed() -> Iterator[dict[str, Array]]:
        held: list[tuple[Array, ...]] = []
        used = 0
        with work.progress("calibrate", count) as bar:
            for sample in work.samples("calibrate", count):
                held.append(sample)
                if len(held) == batch:
                    used += batch
                    yield {
                        spec.name: np.concatenate(arrays).astype(spec.dtype, copy=False)
                        for spec, arrays in zip(inputs, zip(*held, strict=True), strict=True)
                    }
                    bar.advance(batch)
                    held.clear()
        _check_count(count, used, work)

    return feed


def _check_count(count: int, used: int, work: Work) -> None:
    if not used:
        raise UsageError(
            "quantize: the data has no sample to calibrate on", hint="give more data with --data"
        )
    if used < count:
        verb = "was" if used == 1 else "were"
        work.note("fewer samples", "calibration", f"{used} {verb} used, and {count} are asked for")


def _by_engine(parameters: Parameters, source: Artifact, work: Work) -> bytes:
    """The engine's result, where the runtime can open it and no op stays float unasked.

    Raises:
        EngineError: the engine raised, or its result is not that.
    """
    content, calibration = read_bytes(source.path), None
    if parameters.is_static:
        calibration = _calibration(parameters, source, work)
        content = add_signature(content, where=source.name)
    left, light = (find(parameters, source, work) for find in (_left, _light))
    made = quantize(content, parameters, calibration=calibration, skipped=left, weights_only=light)
    reason = _flaw(parameters, made.content, left | light, work)
    if reason:
        raise EngineError(reason)
    if made.widened:
        shown = ", ".join(name.partition(";")[0] for name in made.widened[:_SHOWN])
        more = " ..." if len(made.widened) > _SHOWN else ""
        reason = "calibration saw all but zero, a range too narrow for the kernels"
        noun = "tensor" if len(made.widened) == 1 else "tensors"
        work.note("widened", f"{len(made.widened)} {noun}: {shown}{more}", reason)
    return made.content


def _calibration(parameters: Parameters, source: Artifact, work: Work) -> Calibration:
    signature = parse(read_bytes(source.path), where=source.name).signature()
    key = signature.key if signature else "serving_default"
    return Calibration(key, _feed(parameters, work.describe(source), work))


def _flaw(parameters: Parameters, content: bytes, skipped: frozenset[str], work: Work) -> str:
    """Why a quantized file cannot be taken: the runtime does not open it, or an op is in float."""
    try:
        model = parse(content, where="the quantized model")
    except UsageError as error:
        return error.message
    reason = opens(content, model, folder=work.folder)
    if reason or not parameters.is_static or parameters.allow_float:
        return reason
    return find_float_ops(model, skipped, float_io=parameters.io == "float").sentence


def _by_converter(parameters: Parameters, source: Artifact, work: Work, reason: str) -> bytes:
    """The converter's result from the Keras ancestor; `reason` is why the engine's is not used.

    Raises:
        PromiseError: there is no Keras ancestor, or the converter cannot either.
    """
    from edgekit.techniques.quantize._converter import ConverterError, convert, obstacle

    ancestor = work.ancestor(_ANCESTOR)
    failed = f"quantize: {parameters.scheme} does not work on this model: {reason}"
    hint = _HINTS[parameters.is_static]
    if ancestor is None or obstacle(parameters):
        why = obstacle(parameters) or "there is no Keras model to convert again"
        raise PromiseError(f"{failed}; TFLiteConverter cannot help: {why}", hint=hint)
    description = work.describe(source)
    feed, batch = _feed(parameters, description, work), description.signature.inputs[0].shape[0]
    try:
        content = convert(ancestor.path, parameters, batch=batch, feed=feed, folder=work.folder)
    except ConverterError as error:
        raise PromiseError(f"{failed}; nor does TFLiteConverter: {error}", hint=hint) from error
    left = _flaw(parameters, content, _in_float(parameters, source, work), work)
    if left:
        raise PromiseError(f"{failed}; nor does TFLiteConverter: {left}", hint=hint)
    work.note("fallback", "quantized by TFLiteConverter from the Keras model", reason)
    return content
