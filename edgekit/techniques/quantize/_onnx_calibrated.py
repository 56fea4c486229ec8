"""A float model with the ranges of its tensors: what the static schemes are made from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Work
from edgekit.frameworks import onnx_files
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize._onnx_calibration import (
    Channels,
    Feed,
    Span,
    calibration_batches,
    collect,
)
from edgekit.techniques.quantize._onnx_model import (
    Visit,
    is_treated,
    matches,
    op_name,
    require,
    visits,
)
from edgekit.techniques.quantize._onnx_quiet import quiet
from edgekit.techniques.quantize._onnx_smooth import (
    groups_of,
    largest_gap,
    outputs_of,
    smooth,
)

__all__ = ["Calibrated", "activations", "calibrate", "quantizable", "static_kinds", "typed"]

_FLOAT = 1
"""TensorProto.FLOAT."""
_COMPARED, _TOLERANCE = 2, 1e-4


@dataclass(frozen=True)
class Calibrated:
    """A float model with inferred types, and the ranges of its tensors.

    `smoothed` names the nodes that divide channels, `gap` is what they changed of the outputs.
    """

    model: Any
    spans: Mapping[str, Span]
    smoothed: frozenset[str] = frozenset()
    gap: float = 0.0


def static_kinds() -> frozenset[str]:
    """The kinds of op that the engine can give integer inputs and outputs."""
    registry = require("onnxruntime.quantization.registry")
    return frozenset(registry.QDQRegistry) | frozenset(registry.QLinearOpsRegistry)


def calibrate(
    parameters: Parameters,
    source: Artifact,
    work: Work,
    batches: Iterable[Feed] | None = None,
) -> Calibrated:
    """Opens the model and finds the ranges of what its treated ops read and write.

    Raises:
        UsageError: no sample, or NaN.
    """
    model = typed(source)
    asked = quantizable(model, parameters)
    # The outputs too: a NaN that only they have would go unseen.
    ends = {item.name for item in model.graph.output if item.type.tensor_type.elem_type == _FLOAT}
    tensors = {*activations(model, asked), *ends}
    groups = [group for group in groups_of(asked, parameters) if group.tensor in tensors]
    channels = {group.tensor: Channels(group.channels) for group in groups}
    first: list[Feed] = []
    feeds = calibration_batches(parameters, source, work) if batches is None else batches
    with quiet(work.folder):
        spans = collect(model, tensors, _kept(feeds, first), parameters.ranges, channels)
        before = outputs_of(model, first) if groups else []
        smoothed = smooth(model, groups, channels, spans)
        gap = largest_gap(before, outputs_of(model, first)) if smoothed else 0.0
    if not gap <= _TOLERANCE:
        reason = f"the float outputs would differ by {gap:.2g} of their largest value"
        work.note("not smoothed", "the inputs of products", reason)
        return Calibrated(typed(source), spans)
    return Calibrated(model, spans, smoothed, gap)


def _kept(feeds: Iterable[Feed], first: list[Feed]) -> Iterator[Feed]:
    """Passes inputs on, and keeps some to compare outputs on."""
    for feed in feeds:
        if len(first) < _COMPARED:
            first.append(feed)
        yield feed


def quantizable(model: Any, parameters: Parameters) -> list[Visit]:
    """The ops of the main graph whose activations become integers, and embeddings."""
    kinds, inner = static_kinds(), model.graph
    return [
        visit
        for visit in visits(model)
        if visit.graph is inner
        and visit.kind in kinds
        and is_treated(visit, parameters.op_types, parameters.skip)
        and not matches(visit.name, parameters.weights_only)
    ]


def typed(source: Artifact) -> Any:
    """The whole model with the types of its tensors, which the engine looks at.

    Types are inferred without external data, whose size could be over what protobuf takes.
    """
    inference, external = require("onnx.shape_inference"), require("onnx.external_data_helper")
    model = onnx_files.load(source.path)
    with contextlib.suppress(Exception):  # What is not known is not quantized; `verify` says so.
        model = inference.infer_shapes(model)
    external.load_external_data_for_model(model, str(source.path.parent))
    for node in model.graph.node:
        node.name = op_name(node)
    return model


def activations(model: Any, asked: list[Visit]) -> set[str]:
    """What these ops read and write in float32, constants aside."""
    graph = model.graph
    types = {
        item.name: item.type.tensor_type.elem_type
        for item in (*graph.value_info, *graph.input, *graph.output)
    }
    constants = {tensor.name for tensor in graph.initializer}
    ends = {name for visit in asked for name in (*visit.node.input, *visit.node.output)}
    is_float = require("onnx").TensorProto.FLOAT
    return {name for name in ends - constants if types.get(name) == is_float}
