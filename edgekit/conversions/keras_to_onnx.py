"""Keras to a float .onnx, proven to give equal outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgekit.conversions._keras_source import about, check_batch, refuse_batch, refuse_text
from edgekit.conversions._onnx_affine import fold_affine
from edgekit.conversions._onnx_names import rename
from edgekit.conversions._tf2onnx import OPSETS, trace_to_onnx
from edgekit.core.artifact import Artifact, Signature
from edgekit.core.technique import Models, Work
from edgekit.frameworks._names import unique
from edgekit.frameworks.equality import Sides, order_by_name
from edgekit.frameworks.keras import LoadedModel, concrete_function, graph_names, load_model
from edgekit.frameworks.onnx_files import all_graphs
from edgekit.lazy import version

__all__ = ["Parameters", "apply", "check", "verify", "versions"]

_PROBES = 32
_SIDES = Sides("the Keras model", "the .onnx", "ONNX Runtime")


@dataclass(frozen=True)
class Parameters:
    """How a model is exported. Its inputs keep the layout that they have in Keras (NHWC).

    Attributes:
        batch: the static batch size. 0 leaves it open ('batch'); other open dimensions stay open.
        opset: the version of ONNX's ops, from 13 to 18. int8 needs at least 13.
    """

    batch: int = 1
    opset: int = 17

    def __post_init__(self) -> None:
        check_batch(self.batch)
        lowest, highest = OPSETS
        if not lowest <= self.opset <= highest:
            raise ValueError(f"opset must be from {lowest} to {highest}, not {self.opset}")


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result; '' for those that are not installed."""
    names = ("tensorflow", "keras", "tf-keras", "tf2onnx", "onnx")
    return {name: version(name) for name in names}


def check(parameters: Parameters | None, source: Artifact, models: Models) -> None:
    """Raises UsageError for an input of text, and one with another fixed batch."""
    signature = models.describe(source).signature
    refuse_text(signature)
    refuse_batch(signature, (parameters or Parameters()).batch)


def apply(parameters: Parameters | None, source: Artifact, work: Work) -> None:
    """Writes the float `.onnx`."""
    chosen = parameters or Parameters()
    loaded = load_model(source.path)
    for reason in loaded.notes:
        work.note("opened", source.name, reason)
    with about(source):
        model = _traced(loaded, chosen)
        made = model.SerializeToString(deterministic=True)
    work.output.write_bytes(made)


def _traced(loaded: LoadedModel, chosen: Parameters) -> Any:
    batch = chosen.batch or None
    model, shapes = _engine(loaded, batch, chosen.opset)
    if batch is not None and _has_loop(model):
        # The engine knows an LSTM only by its ops for any batch; else it leaves the loop as it is.
        other, _ = _engine(loaded, None, chosen.opset)
        model = model if _has_loop(other) else other
    _set_shapes(model, shapes)
    fold_affine(model.graph)
    rename(model.graph, _layers(loaded), doubled=loaded.library == "keras")
    _describe(model)
    return model


def _engine(loaded: LoadedModel, batch: int | None, opset: int) -> tuple[Any, dict[str, Any]]:
    """The model as the engine makes it, and the shapes of inputs and outputs as traced."""
    function, module = concrete_function(loaded, batch)
    signature = _named(loaded.signature)
    keys = graph_names(spec.name for spec in loaded.signature.outputs)
    outputs = dict(zip(keys, (spec.name for spec in signature.outputs), strict=True))
    inputs = [spec.name for spec in signature.inputs]
    model = trace_to_onnx(function, inputs, outputs, opset=opset)
    del module  # It held the variables until here.
    # A dict of outputs is flattened in the order of its keys.
    names = [*inputs, *(outputs[key] for key in sorted(outputs))]
    tensors = [*function.inputs[: len(inputs)], *function.outputs]
    return model, dict(zip(names, (tensor.shape for tensor in tensors), strict=True))


def _has_loop(model: Any) -> bool:
    return any(node.op_type == "Loop" for graph in all_graphs(model) for node in graph.node)


def _set_shapes(model: Any, shapes: Mapping[str, Any]) -> None:
    """Writes the sizes that are known from the trace, and a name for each that is open."""
    for value in (*model.graph.input, *model.graph.output):
        shape = shapes[value.name]
        if shape.rank is None:
            continue
        del value.type.tensor_type.shape.dim[:]
        for axis, size in enumerate(shape.as_list()):
            dimension = value.type.tensor_type.shape.dim.add()
            if size is not None:
                dimension.dim_value = size
            else:
                dimension.dim_param = "batch" if axis == 0 else f"{value.name}_{axis}"


def _named(signature: Signature) -> Signature:
    """The model's own names; in ONNX an output must not have the name of an input."""
    specs = (*signature.inputs, *signature.outputs)
    names = unique(spec.name for spec in specs)
    named = tuple(replace(spec, name=name) for spec, name in zip(specs, names, strict=True))
    count = len(signature.inputs)
    return Signature(named[:count], named[count:])


def _layers(loaded: LoadedModel) -> list[str]:
    """The names of all layers, those of inner models too."""
    if loaded.library == "saved_model":
        return []
    return [layer.name for layer in loaded.model._flatten_layers(include_self=False)]


def _describe(model: Any) -> None:
    """Takes out what tells of the process, and ops of domains that are not used."""
    model.graph.name, model.doc_string = "model", ""
    domains = {node.domain for graph in all_graphs(model) for node in graph.node} | {""}
    kept = [item for item in model.opset_import if item.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for graph in all_graphs(model):
        del graph.value_info[:]


def verify(parameters: Parameters | None, source: Artifact, result: Artifact, work: Work) -> None:
    """Runs both models on the same inputs and compares every output, matched by name.

    Raises:
        PromiseError: an output is missing, has another shape, or differs by more than the
            tolerance.
        UsageError: the source's own outputs are not finite, so nothing can be compared.
    """
    before, after = _named(work.describe(source).signature), work.describe(result).signature
    probes = work.probes(_PROBES)
    reference = work.predict(source, probes)
    with about(source):
        order = order_by_name(before.inputs, after.inputs, "input")
    made = work.predict(result, tuple(probes[index] for index in order))
    with about(source):
        _SIDES.compare(reference, made, before, after, work)
