"""Strips `.tflite` files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Models, Work
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.keras import quiet
from edgekit.frameworks.tflite import TfliteModel, parse, read_bytes
from edgekit.lazy import version
from edgekit.techniques.strip import Parameters
from edgekit.techniques.strip._layout import compressed, layouts
from edgekit.techniques.strip._reduce import obstacle, reduce_model, share_bias_scales

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["apply", "check", "verify", "versions"]

_PROBES = 8


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return {name: version(name) for name in ("flatbuffers", "ai-edge-litert")}


def check(parameters: Parameters, source: Artifact, models: Models) -> None:
    """Raises UsageError for a file that is no whole TFLite model, or cannot be rewritten."""
    if source.format == "tflite":
        _open(source)


def apply(parameters: Parameters, source: Artifact, work: Work) -> None:
    """Writes the layout that is smallest after xz, or the file as it was where none is smaller."""
    model, content = _open(source), read_bytes(source.path)
    removed = reduce_model(model)
    shared = share_bias_scales(model) if parameters.bias_scales == "share" else 0
    made = [each for each in layouts(model) if len(each) <= len(content)]
    best = min(made, key=compressed, default=content)
    if compressed(best) > compressed(content):
        best = content
    work.output.write_bytes(best)
    if best is content:
        work.note("nothing to strip", source.name, "no other layout of the file is smaller")
        return
    for name in removed.metadata:
        work.note("dropped", f"metadata '{name}'", "no runtime computes with it")
    if shared:
        reason = "they point at their weights' scales: do not make them float by their own"
        work.note("shared scales", f"{shared} biases", reason)
    work.evidence(
        "dropped",
        "parts that no runtime reads",
        f"{removed.names} tensor names, {removed.ranges} ranges, {removed.tensors} unused tensors, "
        f"{removed.buffers} buffers that are empty, unused or there twice",
    )


def verify(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where an op reads something else, an output bit differs, or it grew."""
    before, after = (read_bytes(artifact.path) for artifact in (source, result))
    old, new = (parse(data, where=a.name) for data, a in ((before, source), (after, result)))
    _prove_same_graph(old, new, parameters)
    if work.describe(source).signature != work.describe(result).signature:
        raise PromiseError("strip: the inputs or outputs of the model are not what they were")
    if len(after) > len(before):
        raise PromiseError(f"strip: the file grew: {len(before)} -> {len(after)} bytes")
    _prove_opens(before, after)
    probes = work.probes(_PROBES)
    _prove_outputs(work.predict(source, probes), work.predict(result, probes))
    work.evidence("proven", "outputs", f"bit for bit the same on {len(probes[0])} probes")
    work.evidence(
        "smaller",
        "the file",
        f"{len(before)} -> {len(after)} bytes, after xz {compressed(before)} -> "
        f"{compressed(after)}",
    )


def _open(source: Artifact) -> Any:
    """The schema's object form, once every offset has been checked.

    Raises:
        UsageError: it is damaged, or keeps data outside its tables.
    """
    from ai_edge_litert.tools.flatbuffer_utils import convert_bytearray_to_object

    content = read_bytes(source.path)
    parse(content, where=str(source.path))
    model = convert_bytearray_to_object(bytearray(content))
    reason = obstacle(model)
    if reason:
        raise UsageError(
            f"{source.name}: cannot be stripped: {reason}",
            hint="convert the source model again, smaller than 2 GB",
        )
    return model


def _prove_same_graph(old: TfliteModel, new: TfliteModel, parameters: Parameters) -> None:
    """Each op is of the same kind and has operands of the same type, values and scales."""
    shared = parameters.bias_scales == "share"
    pairs = zip(_operations(old, shared), _operations(new, shared), strict=False)
    for index, (before, after) in enumerate(pairs):
        if before != after:
            raise PromiseError(f"strip: op {index} ({before[0]}) does not read what it did")
    counts = [sum(len(graph.operations) for graph in model.subgraphs) for model in (old, new)]
    if counts[0] != counts[1]:
        raise PromiseError(f"strip: the model has {counts[1]} ops and had {counts[0]}")


def _operations(model: TfliteModel, shared: bool) -> Iterator[tuple[Any, ...]]:
    """What each op is and reads. Where bias scales are shared, those of int32 vectors count only
    by their number."""
    for graph in model.subgraphs:
        for op in graph.operations:
            facts: list[Any] = [op.kind, op.custom_code]
            for index in (*op.inputs, *op.outputs):
                tensor = graph.tensors[index] if index >= 0 else None
                if tensor is None:
                    facts.append(None)
                    continue
                scales = tensor.quantization
                loose = shared and tensor.dtype in ("int32", "int64") and len(tensor.shape) == 1
                held = len(scales.scales) if loose and scales else scales
                facts.append((tensor.shape, tensor.shape_signature, tensor.dtype, held))
                facts.append(bytes(model.buffer(tensor.buffer)) if tensor.is_constant else b"")
            yield tuple(facts)


def _prove_opens(before: bytes, after: bytes) -> None:
    """Kernels that open the source open the result: the optimized, delegated and reference ones."""
    for name in ("AUTO", "BUILTIN_REF"):
        if not _failure(before, name):
            reason = _failure(after, name)
            if reason:
                raise PromiseError(f"strip: the runtime ({name}) does not open it now: {reason}")


def _failure(content: bytes, resolver: str) -> str:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = getattr(OpResolverType, resolver)
    try:
        with quiet():
            made = Interpreter(model_content=content, experimental_op_resolver_type=kind)
            made.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        return " ".join(str(error).split())[:200] or type(error).__name__
    return ""


def _prove_outputs(before: tuple[Array, ...], after: tuple[Array, ...]) -> None:
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        if old.tobytes() != new.tobytes():
            raise PromiseError(f"strip: output {index} is not bit for bit what it was")
