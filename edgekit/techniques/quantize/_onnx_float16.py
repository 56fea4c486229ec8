"""float16 weights and arithmetic; inputs and outputs stay float32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Work
from edgekit.frameworks import onnx_files
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize._onnx_calibrated import activations, typed
from edgekit.techniques.quantize._onnx_calibration import Feed, collect
from edgekit.techniques.quantize._onnx_model import array, is_treated, require, visits
from edgekit.techniques.quantize._onnx_quiet import promised, quiet

__all__ = ["probe_batches", "to_float16"]

_LARGEST, _SMALLEST = 65504.0, 2.0**-24
"""What float16 holds; the engine by itself cuts off at 1e4 and 1e-7, silently."""
_FLOAT, _FLOAT16 = 1, 10
_PROBES = 4
_SHOWN = 3


def to_float16(parameters: Parameters, source: Artifact, work: Work) -> Any:
    """The model in float16, but for the ops that are left out or whose values do not fit.

    Raises:
        PromiseError: the engine cannot.
    """
    engine = require("onnxruntime.transformers.float16")
    model = typed(source)
    kept = {
        v.name for v in visits(model) if not is_treated(v, parameters.op_types, parameters.skip)
    }
    large = _too_large(model, source, work)
    wide = {v.name for v in visits(model) if large.keys() & {*v.node.input, *v.node.output}}
    if wide:
        shown = [f"'{name}' reaches {large[name]:.4g}" for name in sorted(large)]
        text = ", ".join(shown[:_SHOWN]) + (" ..." if len(shown) > _SHOWN else "")
        noun = "op" if len(wide) == 1 else "ops"
        work.note("left in float32", f"{len(wide)} {noun}", f"float16 ends at 65504: {text}")
    with promised("float16", "convert the model"), quiet(work.folder):
        made = engine.convert_float_to_float16(
            model,
            min_positive_val=_SMALLEST,
            max_finite_val=_LARGEST,
            keep_io_types=True,
            node_block_list=sorted(kept | wide),
        )
    del made.graph.value_info[:]
    _join_wide(made.graph)
    onnx_files.sort_nodes(made.graph)  # The engine puts its Casts behind everything.
    return made


def _join_wide(graph: Any) -> None:
    """The engine narrows what runs from one float32 op to the next, and widens it again: there a
    value that float16 does not hold would become infinite."""
    helper = require("onnx.helper")
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    ends = {item.name for item in graph.output}
    direct: dict[str, str] = {}
    for name, node in casts.items():
        before = casts.get(node.input[0])
        if before is not None and _target(node) == _FLOAT and _target(before) == _FLOAT16:
            direct[name] = before.input[0]
    for node in graph.node:
        if node.output[0] in direct and node.output[0] in ends:
            name = node.name
            made = helper.make_node("Identity", [direct[node.output[0]]], node.output, name)
            node.CopyFrom(made)
        for place, name in enumerate(node.input):
            node.input[place] = direct.get(name, name)
    used = {name for node in graph.node for name in node.input} | ends
    kept = [n for n in graph.node if n.op_type != "Cast" or n.output[0] in used]
    del graph.node[:]
    graph.node.extend(kept)


def _target(cast: Any) -> int:
    return next((int(item.i) for item in cast.attribute if item.name == "to"), 0)


def probe_batches(source: Artifact, work: Work, count: int) -> Iterator[Feed]:
    """Inputs to compare on, by name; as many at once as a static batch holds."""
    import numpy as np

    specs = work.describe(source).signature.inputs
    batch = next((spec.shape[0] for spec in specs if spec.shape and spec.shape[0]), None) or 1
    probes = work.probes(-(-count // batch) * batch)
    for start in range(0, len(probes[0]) - batch + 1, batch):
        yield {
            spec.name: (
                np.rint(values[start : start + batch])
                if np.dtype(spec.dtype).kind in "iu"
                else values[start : start + batch]
            ).astype(spec.dtype)
            for spec, values in zip(specs, probes, strict=True)
        }


def _too_large(model: Any, source: Artifact, work: Work) -> dict[str, float]:
    """Tensors with values that float16 does not hold: weights, and activations on probes."""
    import numpy as np

    found: dict[str, float] = {}
    for tensor in onnx_files.all_tensors(model):
        if tensor.data_type == tensor.FLOAT and tensor.name:
            peak = float(np.max(np.abs(array(tensor, source.path.parent)), initial=0.0))
            found |= {tensor.name: peak} if peak > _LARGEST else {}
    everything = [visit for visit in visits(model) if visit.graph is model.graph]
    with quiet(work.folder):
        spans = collect(
            model, activations(model, everything), probe_batches(source, work, _PROBES), "min-max"
        )
    peaks = {name: max(-low, high) for name, (low, high) in spans.items()}
    return found | {name: peak for name, peak in peaks.items() if peak > _LARGEST}
