"""Prunes an `.onnx` by magnitude, without training, and counts the zeros in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from edgekit.core.artifact import Artifact
from edgekit.core.ladder import Rung
from edgekit.core.technique import Models, Work
from edgekit.core.training import TrainingOptions
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import onnx_files
from edgekit.lazy import version
from edgekit.techniques.prune import Parameters
from edgekit.techniques.prune._onnx_prune import (
    measured,
    present_share,
    pruned,
)
from edgekit.techniques.prune._onnx_weights import make_plan
from edgekit.units import format_share

__all__ = ["PREPARED_BY", "apply", "check", "rungs", "verify", "versions"]

PREPARED_BY = "simplify"
_PROBES = 4
_RUNGS = (1.0, 0.75, 0.5, 0.25)
_OF_TRAINING = (
    *(item.name for item in fields(TrainingOptions)),
    *("ramp", "begin", "end", "allocation", "scan_samples"),
)
_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "MatMulInteger", "ConvInteger"})


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return {name: version(name) for name in ("onnx", "numpy")}


def rungs(parameters: Parameters) -> tuple[Rung, ...]:
    """The sparsity that is asked for, and shares of it; those of single layers fall likewise."""
    return tuple(
        Rung(f"sparsity {part * parameters.sparsity:.3g}", _scaled(parameters, part))
        for part in _RUNGS
    )


def _scaled(parameters: Parameters, part: float) -> Parameters:
    layers = {name: part * share for name, share in parameters.layer_sparsity.items()}
    return replace(
        parameters, sparsity=part * parameters.sparsity, layer_sparsity=layers, ladder=False
    )


def check(parameters: Parameters, source: Artifact, models: Models) -> None:
    """Raises UsageError for settings of training, names without a node, and quantized models."""
    for item in fields(Parameters):
        value = getattr(parameters, item.name)
        if item.name in _OF_TRAINING and value != item.default:
            raise UsageError(
                f"{item.name}: {value!r} is for training, and an onnx model is pruned without",
                hint=f"leave {item.name} out, or prune the Keras model that this one was made from",
            )
    if parameters.ladder and parameters.structure == "2:4":
        raise UsageError(
            "ladder: structure 2:4 makes half of each kernel zero, and there is no less of it",
            hint="leave ladder or structure out",
        )
    if source.format != "onnx":
        return  # It is converted before, and its nodes are not known yet.
    model = onnx_files.outline(source.path).model
    kinds = {node.op_type for graph in onnx_files.all_graphs(model) for node in graph.node}
    if kinds & _QUANTIZED:
        raise UsageError(
            f"{source.name}: is quantized already, and pruning is for float weights",
            hint="prune the float model, and quantize the result",
        )
    make_plan(parameters, model)


def apply(parameters: Parameters, source: Artifact, work: Work) -> None:
    """Writes the model with the weights of least magnitude set to zero."""
    from onnx import numpy_helper

    model = onnx_files.load(source.path)
    plan = make_plan(parameters, model)
    for item, reason in plan.skipped:
        work.note("skipped", item, reason)
    tensors, folder = dict(_initializers(model)), source.path.parent
    for weight, share in plan.weights:
        tensor = tensors[weight.name]
        made = pruned(parameters, weight, onnx_files.tensor_array(tensor, folder), share)
        tensor.CopyFrom(numpy_helper.from_array(made, weight.name))
    onnx_files.save(model, work.output, folder=folder)


def _initializers(model: Any) -> Iterator[tuple[str, Any]]:
    for graph in onnx_files.all_graphs(model):
        yield from ((tensor.name, tensor) for tensor in graph.initializer)


def verify(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where zeros are missing, another weight changed, or it does not run."""
    before, after = (onnx_files.load(item.path) for item in (source, result))
    plan = make_plan(parameters, before)
    roots = source.path.parent, result.path.parent
    old, new = dict(_initializers(before)), dict(_initializers(after))
    treated = {weight.name for weight, _ in plan.weights}
    _prove_untouched(old, new, treated, roots)
    zeros = 0
    for weight, share in plan.weights:
        held, made = (
            onnx_files.tensor_array(old[weight.name], roots[0]),
            onnx_files.tensor_array(new[weight.name], roots[1]),
        )
        had = present_share(parameters, weight, held)
        if made.shape != held.shape or ((made != 0) & (made != held)).any():
            raise PromiseError(f"prune: {weight.item} has weights that are neither 0 nor unchanged")
        found = measured(parameters, weight, made, share, had)
        work.evidence("proven sparsity", weight.item, found)
        zeros += int((made == 0).sum())
    count = sum(weight.size for weight, _ in plan.weights)
    text = f"{format_share(zeros / count)} of {count} are 0"
    work.evidence("proven sparsity", "all pruned weights", text)
    _prove_runs(result, work)


def _prove_untouched(
    old: Mapping[str, Any], new: Mapping[str, Any], treated: set[str], roots: tuple[Path, Path]
) -> None:
    if list(old) != list(new):
        raise PromiseError("prune: the result has other weights than the source")
    for name in old:
        if name in treated:
            continue
        held, made = (
            onnx_files.tensor_array(t[name], r) for t, r in zip((old, new), roots, strict=True)
        )
        if held.dtype != made.dtype or held.tobytes() != made.tobytes():
            raise PromiseError(f"prune: '{name}' was to be left alone, and has other values now")


def _prove_runs(result: Artifact, work: Work) -> None:
    import numpy as np

    for index, array in enumerate(work.predict(result, work.probes(_PROBES))):
        broken = int(array.size - np.isfinite(array).sum())
        if broken:
            raise PromiseError(
                f"prune: output {index} of the result has {broken} values that are not finite"
            )
