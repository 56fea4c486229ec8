"""Small rewrites of an ONNX graph: constants, names, what nobody uses, and a light copy."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from edgekit.frameworks.onnx_files import all_graphs, is_external
from edgekit.techniques.simplify._files import copied

__all__ = [
    "QUANTIZED",
    "constants_to_initializers",
    "drop_unused",
    "light_copy",
    "name_nodes",
    "quantized_kinds",
    "take_over",
]

QUANTIZED = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"}
    | {"MatMulNBits", "GatherBlockQuantized", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
)
_STANDARD = ("", "ai.onnx")
_LIGHT_ELEMENTS = 512
"""Larger initializers are weights: neither the converter nor shape inference looks at values."""


def quantized_kinds(model: Any) -> list[str]:
    """The kinds of ops that only a quantized model has."""
    kinds = {node.op_type for graph in all_graphs(model) for node in graph.node}
    return sorted(kind for kind in kinds if kind in QUANTIZED or kind.startswith("QLinear"))


def constants_to_initializers(model: Any) -> Any:
    """Constant nodes become initializers, and initializers are no inputs any more."""
    model.ir_version = max(model.ir_version, 4)  # Older ones list initializers as inputs too.
    for graph in all_graphs(model):
        held = {tensor.name for tensor in graph.initializer}
        for index in reversed(range(len(graph.input))):
            if graph.input[index].name in held:
                del graph.input[index]
        outputs = {value.name for value in graph.output}
        for index in reversed(range(len(graph.node))):
            node = graph.node[index]
            if node.op_type != "Constant" or node.domain not in _STANDARD:
                continue
            tensor = None if node.output[0] in outputs else _value(node)
            if tensor is not None:
                tensor.name = node.output[0]
                graph.initializer.append(tensor)
                del graph.node[index]
    return model


def _value(node: Any) -> Any:
    """The tensor of a Constant node; None of a sparse one."""
    from onnx import helper

    for attribute in node.attribute:
        if attribute.name == "value":
            return attribute.t
        kind = attribute.name.removeprefix("value_").rstrip("s")
        if kind in ("float", "int", "string"):
            value = helper.get_attribute_value(attribute)
            values, dims = (value, [len(value)]) if isinstance(value, list) else ([value], [])
            dtype = {"float": 1, "int": 7, "string": 8}[kind]
            return helper.make_tensor(node.output[0], dtype, dims, values)
    return None


def drop_unused(model: Any) -> Any:
    """Drops nodes, initializers and shapes that no output of the model needs."""
    graph = model.graph
    used = {value.name for value in graph.output}
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if used.isdisjoint(name for name in node.output if name):
            del graph.node[index]
        else:
            used.update(_reads(node))
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in used:
            del graph.initializer[index]
    made = {name for node in graph.node for name in node.output}
    for index in reversed(range(len(graph.value_info))):
        if graph.value_info[index].name not in made:
            del graph.value_info[index]
    return model


def _reads(node: Any) -> Iterator[str]:
    """The names that a node and the graphs inside it read."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from _reads(inner)


def name_nodes(model: Any) -> Any:
    """Every node gets a name that no other has: its own, else that of its first output."""
    nodes = [node for graph in all_graphs(model) for node in graph.node]
    taken: set[str] = set()
    unnamed = []
    for node in nodes:
        if node.name and node.name not in taken:
            taken.add(node.name)
        else:
            unnamed.append(node)
    for node in unnamed:
        stem = node.name or next((name for name in node.output if name), node.op_type)
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        node.name = name
        taken.add(name)
    return model


def light_copy(model: Any) -> Any:
    """A copy whose weights are inputs: for what looks at nodes and shapes, but not at weights."""
    import onnx

    light = copied(model, onnx.ModelProto(), {"graph", "metadata_props"})
    copied(model.graph, light.graph, {"initializer"})
    for tensor in model.graph.initializer:
        if _is_light(tensor):
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return light


def take_over(model: Any, light: Any) -> None:
    """Puts what became of a light copy into the model: all but its weights."""
    graph = model.graph
    for index in reversed(range(len(graph.initializer))):
        if _is_light(graph.initializer[index]):
            del graph.initializer[index]
    graph.initializer.extend(light.graph.initializer)
    for held, made in (
        (graph.node, light.graph.node),
        (graph.value_info, light.graph.value_info),
        (model.opset_import, light.opset_import),
        (model.functions, light.functions),
    ):
        del held[:]
        held.extend(made)


def _is_light(tensor: Any) -> bool:
    return not is_external(tensor) and prod(tensor.dims) <= _LIGHT_ELEMENTS
