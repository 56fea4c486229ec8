"""Generates the C sources of an int8 .tflite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from edgekit.core.artifact import Quantization, TensorSpec
from edgekit.errors import UsageError
from edgekit.frameworks._tflite_parse import damage_is_an_error
from edgekit.mcu._arena import Lifetime, plan
from edgekit.mcu._code import Code
from edgekit.mcu._graph import Activation, Graph, Node, read_graph
from edgekit.mcu._text import header_text, model_text, weights_texts
from edgekit.mcu.ops import EMITTERS, VIEWS

__all__ = ["Sources", "generate"]


@dataclass(frozen=True)
class Sources:
    """C files by name, and what they need: RAM for activations, flash for constants, in bytes.

    `inputs` and `outputs` are in the order of ek_input() and ek_output(); `ops` are the kinds in
    the order in which they run.
    """

    files: Mapping[str, bytes]
    arena_bytes: int
    constant_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ops: tuple[str, ...]


def generate(path: Path) -> Sources:
    """Generates C that gives, bit by bit, what LiteRT's reference kernels give.

    Raises:
        UsageError: an op, dtype or shape is not supported (it is named, with what to do).
    """
    graph = read_graph(path)
    nodes = graph.nodes()
    _check_kinds(path, nodes)
    inputs = tuple(graph.edge(index, "input") for index in graph.subgraph.inputs)
    outputs = tuple(graph.edge(index, "output") for index in graph.subgraph.outputs)
    roots = _roots(graph, nodes)
    offsets, arena_bytes = _offsets(graph, nodes, roots)
    code = Code(graph, {i: f"ek_arena + {offsets[r]}" for i, r in roots.items() if r in offsets})
    with damage_is_an_error(graph.where):
        for node in nodes:
            _emit(node, code)
    texts = {
        "ek_model.h": header_text(arena_bytes, inputs, outputs),
        "ek_model.c": model_text(code, inputs, outputs),
        **weights_texts(code),
    }
    kernels = {name: _kernel(name) for name in ("ek_kernels.h", *sorted(code.kernels))}
    return Sources(
        {**{name: text.encode() for name, text in texts.items()}, **kernels},
        arena_bytes,
        code.constant_bytes,
        _specs(graph, inputs, side=0),
        _specs(graph, outputs, side=1),
        tuple(node.kind for node in nodes),
    )


def _check_kinds(path: Path, nodes: Sequence[Node]) -> None:
    """Refuses all ops without a kernel in one sentence, so that nobody fixes them one by one."""
    known = EMITTERS.keys() | VIEWS
    strange = [node for node in nodes if node.kind not in known]
    if not strange:
        return
    listed = ", ".join(f"op {node.operation.index} ({_title(node)})" for node in strange[:5])
    more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
    raise UsageError(
        f"{path}: generated C does not have {listed}{more}",
        hint="quantize the inputs and outputs to int8 too"
        if {node.kind for node in strange} == {"DEQUANTIZE"}
        else f"it has {', '.join(sorted(known))}; or use TensorFlow Lite Micro",
    )


def _title(node: Node) -> str:
    operation = node.operation
    return operation.custom_code or "CUSTOM" if operation.is_custom else operation.kind


def _roots(graph: Graph, nodes: Sequence[Node]) -> dict[int, int]:
    """For each computed tensor the one whose bytes it has: its own, or what a view looks at."""
    roots = {index: index for index in graph.subgraph.inputs}
    for node in nodes:
        for index in node.operation.inputs:
            if index >= 0 and index not in roots and not graph.tensors[index].is_constant:
                node.refuse(
                    f"reads '{graph.tensors[index].name}', which no op before it makes",
                    hint="the file is damaged",
                )
        for index in node.operation.outputs:
            if index in roots or graph.tensors[index].is_constant:
                node.refuse(
                    f"makes '{graph.tensors[index].name}', which is there already",
                    hint="the file is damaged",
                )
            is_view = node.kind in VIEWS and node.has_input(0)
            seen = node.operation.inputs[0] if is_view else index
            roots[index] = roots.get(seen, seen)
    for index in graph.subgraph.outputs:
        if index not in roots:
            raise UsageError(
                f"{graph.where}: no op makes the output '{graph.tensors[index].name}'",
                hint="the file is damaged",
            )
    return roots


def _offsets(
    graph: Graph, nodes: Sequence[Node], roots: Mapping[int, int]
) -> tuple[dict[int, int], int]:
    """Where in the arena the computed tensors lie; inputs live from before the first op."""
    uses = [(-1, index) for index in graph.subgraph.inputs]
    uses += [(len(nodes), index) for index in graph.subgraph.outputs]
    for step, node in enumerate(nodes):
        uses += [(step, index) for index in (*node.operation.inputs, *node.operation.outputs)]
    steps: dict[int, list[int]] = {}
    for step, index in uses:
        root = roots.get(index)
        if root is not None and not graph.tensors[root].is_constant:
            steps.setdefault(root, []).append(step)
    lifetimes = [
        Lifetime(_size(graph, index), min(used), max(used)) for index, used in steps.items()
    ]
    offsets, arena_bytes = plan(lifetimes)
    return dict(zip(steps, offsets, strict=True)), arena_bytes


def _size(graph: Graph, index: int) -> int:
    size = 1
    for axis in graph.tensors[index].shape:
        size *= max(axis, 1)
    return size


def _emit(node: Node, code: Code) -> None:
    if node.kind in VIEWS:
        source = node.input(0)
        output = node.output(node.graph.tensors[node.operation.outputs[0]].shape)
        if source.size != output.size:
            node.refuse(f"makes {list(output.shape)} of {list(source.shape)}")
        code.places[output.index] = code.place(source)
        return
    before = len(code.calls)
    EMITTERS[node.kind](node, code)
    code.calls[before:before] = [f"/* op {node.operation.index}: {node.kind} */"]


def _kernel(name: str) -> bytes:
    return (resources.files("edgekit.mcu") / "kernels" / name).read_bytes()


def _specs(graph: Graph, edges: Sequence[Activation], *, side: int) -> tuple[TensorSpec, ...]:
    signature = graph.model.signature()
    pairs = (signature.inputs, signature.outputs)[side] if signature else ()
    names = {index: name for name, index in pairs}
    return tuple(
        TensorSpec(
            names.get(edge.index) or edge.name,
            edge.shape,
            "int8",
            Quantization(edge.scale, edge.zero_point),
        )
        for edge in edges
    )
