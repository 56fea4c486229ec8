"""Which ops of a .tflite compute in float."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.frameworks.tflite import Operation, Subgraph, TfliteModel

__all__ = ["FloatOps", "find_float_ops", "names"]

_EDGES = frozenset({"QUANTIZE", "DEQUANTIZE"})
_SHOWN = 5


@dataclass(frozen=True)
class FloatOps:
    """Ops of a file that compute in float: (kind, name) pairs.

    `skipped` are those that were asked for; `left` are not. `conversions` are QUANTIZE and
    DEQUANTIZE ops that no float op explains.
    """

    skipped: tuple[tuple[str, str], ...]
    left: tuple[tuple[str, str], ...]
    conversions: tuple[tuple[str, str], ...]

    @property
    def sentence(self) -> str:
        """Says what is in float though nobody asked for it, '' where nothing is."""
        unasked = self.left + self.conversions
        if not unasked:
            return ""
        shown = ", ".join(f"{kind} '{name}'" for kind, name in unasked[:_SHOWN])
        more = f" and {len(unasked) - _SHOWN} more" if len(unasked) > _SHOWN else ""
        return (
            f"{len(unasked)} {'op stays' if len(unasked) == 1 else 'ops stay'} float: {shown}{more}"
        )


def find_float_ops(model: TfliteModel, skipped: frozenset[str], *, float_io: bool) -> FloatOps:
    """Finds the ops whose activations are float, over all graphs of a file.

    A QUANTIZE or DEQUANTIZE next to a float op follows from it; one at an input or output is what
    `float_io` asks for.
    """
    found: dict[str, list[tuple[str, str]]] = {"skipped": [], "left": [], "conversions": []}
    for graph in model.subgraphs:
        in_float = [op for op in graph.operations if _is_float(graph, op)]
        computing = [op for op in in_float if op.kind not in _EDGES]
        touched = {index for op in computing for index in (*op.inputs, *op.outputs)}
        if float_io:
            touched.update(graph.inputs, graph.outputs)
        for op in computing:
            kind = "skipped" if skipped.intersection(names(graph, op)) else "left"
            found[kind].append((op.kind, _title(graph, op)))
        for op in in_float:
            if op.kind in _EDGES and not touched.intersection((*op.inputs, *op.outputs)):
                found["conversions"].append((op.kind, _title(graph, op)))
    return FloatOps(**{key: tuple(value) for key, value in found.items()})


def _is_float(graph: Subgraph, op: Operation) -> bool:
    tensors = [graph.tensors[index] for index in (*op.inputs, *op.outputs) if index >= 0]
    return any(t.dtype.startswith("float") and not t.is_constant for t in tensors)


def names(graph: Subgraph, op: Operation) -> tuple[str, ...]:
    """The names of the tensors that an op makes, by which an op is known."""
    return tuple(graph.tensors[index].name for index in op.outputs)


def _title(graph: Subgraph, op: Operation) -> str:
    """The first of the names that a fused op carries, as `inspect` lists it."""
    return (*names(graph, op), f"op {op.index}")[0].partition(";")[0]
