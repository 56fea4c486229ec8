"""Holds the .tflite file against what was trained: integers, zeros, clusters, ranges, outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Artifact, Signature
from edgekit.core.description import Description
from edgekit.core.technique import Work
from edgekit.errors import PromiseError
from edgekit.frameworks.keras import graph_names
from edgekit.frameworks.sparsity import distinct_values, zero_share
from edgekit.frameworks.tflite import TfliteModel, read_model
from edgekit.frameworks.tflite_ops import FloatOps, find_float_ops
from edgekit.techniques.quantize_aware_train import Parameters
from edgekit.techniques.quantize_aware_train._file import by_channel, find_kernel, flaw
from edgekit.techniques.quantize_aware_train._kernels import Kept
from edgekit.techniques.quantize_aware_train._model import TrainedKernel
from edgekit.techniques.quantize_aware_train._outputs import compare
from edgekit.techniques.quantize_aware_train._plan import LayerPlan
from edgekit.techniques.quantize_aware_train._ranges import match_ranges

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = ["prove", "record", "refuse_float"]

_SHOWN = 5
_SCHEMES = ("QAT", "PQAT", "CQAT", "PCQAT")
_MEANINGS = {
    "QAT": "no zeros and no equal weights to keep",
    "PQAT": "pruned: zeros stay zero",
    "CQAT": "clustered: equal weights stay equal",
    "PCQAT": "pruned and clustered: zeros stay zero, equal weights stay equal",
}


def record(
    work: Work,
    kernels: list[TrainedKernel],
    ranges: NDArray[np.float64],
    probes: tuple[Array, ...],
    outputs: tuple[Array, ...],
) -> None:
    """Keeps trained kernels and ranges, and the trained model's outputs on probes, for `prove`."""
    import numpy as np

    table = [{"plan": asdict(kernel.plan), "kept": asdict(kernel.kept)} for kernel in kernels]
    arrays: dict[str, Any] = {"kernels": np.array(json.dumps(table)), "ranges": ranges}
    for index, kernel in enumerate(kernels):
        arrays[f"values{index}"] = kernel.values
    arrays |= {f"probes{index}": values for index, values in enumerate(probes)}
    arrays |= {f"outputs{index}": values for index, values in enumerate(outputs)}
    np.savez(_record_file(work), **arrays)


def _record_file(work: Work) -> Path:
    return work.folder / "trained.npz"


def prove(
    parameters: Parameters,
    before: Any,
    plans: tuple[LayerPlan, ...],
    source: Artifact,
    result: Artifact,
    work: Work,
) -> None:
    """Checks ops, inputs and outputs, kernels, ranges, size, and outputs on probes, in this order.

    Raises:
        PromiseError: one of them is not what was promised.
    """
    import numpy as np

    with np.load(_record_file(work)) as file:
        held = dict(file)
    model = read_model(result.path)
    _prove_integer(parameters, plans, model, work)
    old, new = work.describe(source), work.describe(result)
    _prove_io(parameters, old.signature, new.signature)
    _prove_kernels(before, model, list(_kernels(held)), work)
    _prove_ranges(held["ranges"], plans, model, work)
    _prove_smaller(old, new, work)
    _prove_outputs(held, old.signature, result, new.signature, work)


def _kernels(held: Mapping[str, Any]) -> Iterator[TrainedKernel]:
    for index, entry in enumerate(json.loads(str(held["kernels"]))):
        yield TrainedKernel(
            LayerPlan(**entry["plan"]),
            Kept(**entry["kept"]),
            held[f"values{index}"],
        )


def _broken(text: str, hint: str = "") -> PromiseError:
    return PromiseError(f"quantize-aware-train: {text}", hint=hint)


def _prove_integer(
    parameters: Parameters, plans: tuple[LayerPlan, ...], model: TfliteModel, work: Work
) -> None:
    """No op computes in float, but for those of layers that stay float."""
    for plan in plans:
        if plan.reason:
            work.note("skipped" if plan.asked else "left in float", plan.item, plan.reason)
    found, other = refuse_float(parameters, plans, model)
    for kind, name in other:
        work.note("left in float", f"{kind} '{name}'", "the converter has no 8-bit form of it")
    if not found.left and not found.conversions:
        edges = ", QUANTIZE and DEQUANTIZE at the edges aside" if parameters.io == "float" else ""
        work.evidence("all integer", "the ops of the model", f"none computes in float{edges}")


def refuse_float(
    parameters: Parameters, plans: tuple[LayerPlan, ...], model: TfliteModel
) -> tuple[FloatOps, tuple[tuple[str, str], ...]]:
    """The float ops of a file, and those of them that are not of a float layer (kind and name).

    Raises:
        PromiseError: there are such, and `allow_float` is not set.
    """
    owners = _float_layers(plans)
    found = find_float_ops(model, frozenset(), float_io=parameters.io == "float")
    other = [op for op in found.left if not owners.intersection(op[1].split("/"))]
    other += found.conversions
    if other and not parameters.allow_float:
        left = ", ".join(f"{kind} '{name}'" for kind, name in other[:_SHOWN])
        raise _broken(
            f"ops of quantized layers stay float: {left}",
            "allow_float = true accepts them, and notes each",
        )
    return found, tuple(other)


def _float_layers(plans: tuple[LayerPlan, ...]) -> frozenset[str]:
    return frozenset(plan.name for plan in plans if plan.reason)


def _prove_io(parameters: Parameters, before: Signature, after: Signature) -> None:
    wanted = "int8" if parameters.io == "integer" else "float32"
    for noun, old, new in (
        ("input", before.inputs, after.inputs),
        ("output", before.outputs, after.outputs),
    ):
        if len(old) != len(new):
            raise _broken(f"the file has {len(new)} {noun}s, and the model {len(old)}")
        for spec in new:
            if spec.dtype != wanted:
                raise _broken(f"{noun} '{spec.name}' is {spec.dtype}, not {wanted}")


def _prove_kernels(
    before: Any, model: TfliteModel, kernels: list[TrainedKernel], work: Work
) -> None:
    """Every trained kernel is in the file, integer for integer, with its zeros and clusters."""
    import numpy as np

    for kernel in kernels:
        plan, made = kernel.plan, find_kernel(model, kernel)
        if made is None:
            raise _broken(f"the integers of {plan.item} in the file are not the trained ones")
        layer = before.get_layer(plan.name)
        values = by_channel(plan.kind, np.asarray(getattr(layer, plan.kernel)))
        lost = flaw(kernel, values, made)
        if lost:
            raise _broken(f"{plan.item}: {lost}")
        if kernel.kept.scheme != "QAT":
            work.evidence(f"kept ({kernel.kept.scheme})", plan.item, _survived(kernel, made))
    for scheme in _SCHEMES:
        own = [kernel.plan.name for kernel in kernels if kernel.kept.scheme == scheme]
        if own:
            item = ", ".join(own) if len(own) <= _SHOWN else f"{len(own)} kernels"
            work.evidence(f"trained by {scheme}", item, _MEANINGS[scheme])
    count = sum(kernel.values.size for kernel in kernels)
    work.evidence(
        "proven as trained",
        f"{len(kernels)} kernels, {count} weights",
        "the file has round(weight / scale) of every trained weight",
    )


def _survived(kernel: TrainedKernel, made: Array) -> str:
    """The figures of a kernel in the file."""
    import numpy as np

    parts = []
    if kernel.kept.zeros:
        parts.append(f"{100 * zero_share(made):.1f} % zeros")
    if kernel.kept.clusters and kernel.plan.scales == "channel":
        most = max(len(np.unique(row)) for row in made)
        parts.append(f"at most {most} different integers in a channel")
    elif kernel.kept.clusters:
        parts.append(f"{distinct_values(made)} different integers")
    return ", ".join(parts) + " in the file"


def _prove_ranges(
    trained: NDArray[np.float64], plans: tuple[LayerPlan, ...], model: TfliteModel, work: Work
) -> None:
    """Every scale of an activation is that of a trained range, or one that is prescribed."""
    strange, met = match_ranges(model, trained, _float_layers(plans))
    if strange:
        names = ", ".join(f"'{tensor.name}'" for tensor in strange[:_SHOWN])
        raise _broken(
            f"the scale of {len(strange)} activations in the file is no trained one: {names}",
            "the converter chose a range of its own",
        )
    work.evidence(
        "proven ranges",
        f"{met} of {len(trained)} trained ranges of activations are in the file",
        "no activation in the file has another scale, but for the prescribed ones of softmax, "
        "sigmoid and tanh",
    )


def _prove_smaller(before: Description, after: Description, work: Work) -> None:
    weights, wide = dict(after.bytes_by).get("weights", 0), 4 * before.parameters
    if weights >= wide:
        raise _broken(
            f"the weights did not get smaller: {wide} -> {weights} bytes",
            "the model has too few weights for quantization to pay off",
        )
    work.evidence("smaller", "the weights", f"{wide} bytes as float32, {weights} in the file")


def _prove_outputs(
    held: Mapping[str, Any], before: Signature, result: Artifact, after: Signature, work: Work
) -> None:
    """On the same probes the file gives what the trained model gives, but for rounding."""
    probes = [held[f"probes{index}"] for index in range(len(before.inputs))]
    expected = [held[f"outputs{index}"] for index in range(len(before.outputs))]
    names = graph_names(spec.name for spec in before.inputs)
    places = [names.index(spec.name) for spec in after.inputs]
    made = work.predict(result, tuple(probes[place] for place in places))
    names = graph_names(spec.name for spec in before.outputs)
    for spec, values in zip(after.outputs, made, strict=True):
        wanted = expected[names.index(spec.name)]
        step = spec.quantization.scale if spec.quantization else 0.0
        classes = bool(work.training_data().classes)
        found = compare(wanted, values, step=step, classes=classes)
        if found.flaw:
            raise _broken(
                f"output '{spec.name}' of the file {found.flaw}",
                "an op computes otherwise than its fake quantization",
            )
        figures = f"mean difference {found.mean:.3g}, largest {found.largest:.3g}, "
        figures += f"of values that vary by {found.spread:.3g} over the probes"
        if found.same is not None:
            figures += f"; the same class on {100 * found.same:.1f} % of {len(wanted)} probes"
        work.evidence("proven close to the trained model", f"output '{spec.name}'", figures)
