"""The copy of an ONNX model that onnx2tf gets: a static batch, known shapes, plain names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.frameworks import onnx_files
from edgekit.lazy import require

__all__ = ["COPY", "Prepared", "prepare"]

COPY = "model.onnx"
"""What the copy is called."""

_MOST_BYTES = 1_900_000_000
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Prepared:
    """The names in the copy: onnx2tf changes those of many inputs and outputs, but not these."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def prepare(source: Path, to: Path, *, batch: int, outputs: Iterable[Shape]) -> Prepared:
    """Writes the copy. `outputs` are the shapes that the outputs really have, batch included.

    Raises:
        UsageError: the model is more than a .tflite can hold.
    """
    onnx = require("onnx", extra="onnx", needed_for=f"{source}")
    model = _loaded(onnx, source)
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    for value in inputs:
        _fix_batch(value, batch)
    _separate(onnx, model, {value.name for value in inputs})
    _name_nodes(model)
    prepared = Prepared(
        tuple(f"edgekit_in_{place}" for place in range(len(inputs))),
        tuple(f"edgekit_out_{place}" for place in range(len(model.graph.output))),
    )
    for value, shape in zip(model.graph.output, outputs, strict=True):
        _set_shape(value, shape)
    del model.graph.value_info[:]
    ends = zip((*inputs, *model.graph.output), (*prepared.inputs, *prepared.outputs), strict=True)
    _rename(model, {value.name: name for value, name in ends})
    to.write_bytes(model.SerializeToString(deterministic=True))
    return prepared


def _loaded(onnx: Any, source: Path) -> Any:
    """The whole model in one piece, with functions inlined: onnx2tf knows none."""
    bare = onnx_files.load(source)
    files = (source, *onnx_files.external_files(source, bare))
    if sum(file.stat().st_size for file in files) > _MOST_BYTES:
        raise UsageError(
            f"{source}: is over {_MOST_BYTES / 1e9:g} GB, and a .tflite holds at most 2 GB",
            hint="compress it as .onnx, or make a smaller one",
        )
    if len(files) > 1:
        onnx.load_external_data_for_model(bare, str(source.resolve().parent))
    if bare.functions:
        from onnx.inliner import inline_local_functions

        return inline_local_functions(bare)
    return bare


def _fix_batch(value: Any, batch: int) -> None:
    sizes = value.type.tensor_type.shape.dim
    if sizes and not sizes[0].dim_value:
        sizes[0].dim_value = batch


def _set_shape(value: Any, shape: Shape) -> None:
    kind = value.type.tensor_type
    kind.ClearField("shape")
    for size in shape:
        kind.shape.dim.add().dim_value = size


def _separate(onnx: Any, model: Any, inputs: set[str]) -> None:
    """Puts an Identity before an output that is an input, or that was there already."""
    taken = set(inputs)
    for place, value in enumerate(model.graph.output):
        if value.name in taken:
            name = f"edgekit_copy_{place}"
            model.graph.node.append(onnx.helper.make_node("Identity", [value.name], [name]))
            value.name = name
        taken.add(value.name)


def _name_nodes(model: Any) -> None:
    """Gives nameless nodes the name that `edgekit inspect` shows: that of their first output."""
    for graph in onnx_files.all_graphs(model):
        for node in graph.node:
            node.name = node.name or next(iter(node.output), node.op_type)


def _rename(model: Any, names: dict[str, str]) -> None:
    """Renames inputs and outputs everywhere, inside If and Loop too."""
    for graph in onnx_files.all_graphs(model):
        for node in graph.node:
            for ends in (node.input, node.output):
                for place, name in enumerate(ends):
                    ends[place] = names.get(name, name)
        for value in (*graph.input, *graph.output):
            value.name = names.get(value.name, value.name)
