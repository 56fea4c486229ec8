"""Which op of a model runs on the NPU: read from what Vela left of it, with Vela's own reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgekit.devices._vela_compile import NPU_OP

if TYPE_CHECKING:
    from edgekit.devices._vela_report import Refusal
    from edgekit.frameworks.tflite import Operation, Subgraph, TfliteModel

__all__ = ["FOLDED", "Row", "advice", "place"]

Row = tuple[int, str, str, str, str]
"""index, kind, where, dtype and reason, as run.py gives them."""

FOLDED = "compiled away"
"""Where an op is that Vela computed itself, or that nothing needs."""
_CPU = "CPU"
_EDGES = ("QUANTIZE", "DEQUANTIZE")
_INTEGER_IO = 'take integer inputs and outputs: io = "integer" in the recipe\'s quantize step'
_QUANTIZE = "quantize it with the recipe int8"
_RULES = (
    (r"DataType Float|Float32|Float16", _QUANTIZE),
    (r"shapeless|constant shape|dynamic", "fix the shapes of the model's inputs"),
    (r"opType|operator", "replace the op by one that `vela --supported-ops-report` lists"),
    (r"quantization param", "quantize all tensors of the op with the recipe int8"),
    (r"Int16|Int32|Int64|\d\d-bit", "quantize its activations to int8 with the recipe int8"),
)
"""What helps against the words of a reason or a constraint; the first that fits."""


def place(
    original: TfliteModel, made: TfliteModel, refusals: Sequence[Refusal], npu: str
) -> list[Row]:
    """Every op of the model, and ops on the CPU that Vela added.

    An op is on the CPU where the compiled file still has one that makes the same tensor.
    """
    left = dict(_left(made))
    by_output: dict[str, list[Refusal]] = {}
    for refusal in refusals:
        by_output.setdefault(refusal.output, []).append(refusal)
    rows: list[Row] = []
    for graph in original.subgraphs:
        for op in graph.operations:
            names = _makes(graph, op)
            kind = op.custom_code or op.kind
            on_cpu = left.pop(names, None) is not None
            refused = _refusal(kind, names, by_output)
            where = _CPU if on_cpu else FOLDED if refused else npu
            reason = _reason(graph, op, refused) if on_cpu else ""
            rows.append((len(rows), kind, where, _dtype(graph, op), reason))
    for kind in left.values():
        rows.append((len(rows), kind, _CPU, "", "Vela added it, and gives no reason"))
    return rows


def _left(made: TfliteModel) -> Iterator[tuple[tuple[str, ...], str]]:
    """The ops of a compiled file that are not the NPU's, by the tensors that they make."""
    for graph in made.subgraphs:
        for op in graph.operations:
            if op.custom_code != NPU_OP:
                yield _makes(graph, op), op.custom_code or op.kind


def _makes(graph: Subgraph, op: Operation) -> tuple[str, ...]:
    """The names of an op's outputs; an op without any is known by its place."""
    names = tuple(graph.tensors[index].name for index in op.outputs if index >= 0)
    return names or (f"{graph.name}/{op.index}",)


def _refusal(
    kind: str, names: Sequence[str], by_output: dict[str, list[Refusal]]
) -> Refusal | None:
    """Why an op was refused: Vela may take one apart (RELU), which then has the same output."""
    found = [refusal for name in names for refusal in by_output.get(name, ())]
    same = [refusal for refusal in found if refusal.kind == kind]
    return next(iter(same or found), None)


def _reason(graph: Subgraph, op: Operation, refusal: Refusal | None) -> str:
    if refusal is None or not refusal.reason:
        return "Vela gives no reason"
    edges = {*graph.inputs, *graph.outputs}
    at_edge = op.kind in _EDGES and bool(edges & {*op.inputs, *op.outputs})
    return f"{refusal.reason}: {_INTEGER_IO if at_edge else advice(refusal)}"


def advice(refusal: Refusal) -> str:
    """What to change, by the words of Vela's reason; else what it would take."""
    for words, change in _RULES:
        if re.search(words, refusal.reason):
            return change
    if refusal.constraint:
        return f"change it so that it fits: {refusal.constraint}"
    return "replace the op"


def _dtype(graph: Subgraph, op: Operation) -> str:
    """The dtypes of the first activation in and the first one out, as run.py says them."""
    tensors = graph.tensors
    first = [i for i in op.inputs if i >= 0 and not tensors[i].is_constant][:1]
    kinds = dict.fromkeys(tensors[i].dtype for i in (*first, *op.outputs[:1]) if i >= 0)
    return " to ".join(kinds)
