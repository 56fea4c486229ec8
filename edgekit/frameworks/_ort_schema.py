"""The tables of an .ort flatbuffer, read by their schema."""

from __future__ import annotations

from typing import Any

from edgekit.frameworks._flat import DamagedError, Flat, Table

__all__ = ["EDGE", "IDENTIFIER", "SCHEMA", "UNION", "Node", "read"]

IDENTIFIER = b"ORTM"

Node = dict[str, Any]
"""One table: the fields that are there, by name."""

_MAX_DEPTH = 64
SCHEMA: dict[str, tuple[tuple[str, str], ...]] = {
    "InferenceSession": (
        ("ort_version", "text"),
        ("model", "Model"),
        ("session_state", ""),
        ("kernels", "KernelTypeStrResolver"),
    ),
    "Model": (
        ("ir_version", "q"),
        ("opset_import", "[OperatorSetId]"),
        ("producer_name", "text"),
        ("producer_version", "text"),
        ("domain", "text"),
        ("model_version", "q"),
        ("doc_string", "text"),
        ("graph", "Graph"),
        ("graph_doc_string", "text"),
        ("metadata_props", "[StringStringEntry]"),
    ),
    "OperatorSetId": (("domain", "text"), ("version", "q")),
    "StringStringEntry": (("key", "text"), ("value", "text")),
    "Graph": (
        ("initializers", "[Tensor]"),
        ("node_args", "[ValueInfo]"),
        ("nodes", "[Node]"),
        ("max_node_index", "I"),
        ("node_edges", "[NodeEdge]"),
        ("inputs", "[text]"),
        ("outputs", "[text]"),
        ("sparse_initializers", "[SparseTensor]"),
        ("runtime_optimizations", "RuntimeOptimizations"),
    ),
    "Tensor": (
        ("name", "text"),
        ("doc_string", "text"),
        ("dims", "[q]"),
        ("data_type", "i"),
        ("raw_data", "raw"),
        ("string_data", "[text]"),
        ("external_data_offset", "q"),
    ),
    "SparseTensor": (("values", "Tensor"), ("indices", "Tensor"), ("dims", "[q]")),
    "ValueInfo": (("name", "text"), ("doc_string", "text"), ("type", "TypeInfo")),
    "TypeInfo": (("denotation", "text"), ("value_type", "B"), ("value", "union")),
    "TensorTypeAndShape": (("elem_type", "i"), ("shape", "Shape")),
    "SequenceType": (("elem_type", "TypeInfo"),),
    "MapType": (("key_type", "i"), ("value_type", "TypeInfo")),
    "Shape": (("dim", "[Dimension]"),),
    "Dimension": (("value", "DimensionValue"), ("denotation", "text")),
    "DimensionValue": (("dim_type", "b"), ("dim_value", "q"), ("dim_param", "text")),
    "Node": (
        ("name", "text"),
        ("doc_string", "text"),
        ("domain", "text"),
        ("since_version", "i"),
        ("index", "I"),
        ("op_type", "text"),
        ("type", "i"),
        ("execution_provider_type", "text"),
        ("inputs", "[text]"),
        ("outputs", "[text]"),
        ("attributes", "[Attribute]"),
        ("input_arg_counts", "[i]"),
        ("implicit_inputs", "[text]"),
    ),
    "Attribute": (
        ("name", "text"),
        ("doc_string", "text"),
        ("type", "i"),
        ("f", "f"),
        ("i", "q"),
        ("s", "text"),
        ("t", "Tensor"),
        ("g", "Graph"),
        ("floats", "[f]"),
        ("ints", "[q]"),
        ("strings", "[text]"),
        ("tensors", "[Tensor]"),
        ("graphs", "[Graph]"),
    ),
    "NodeEdge": (("node_index", "I"), ("input_edges", "edges"), ("output_edges", "edges")),
    "KernelTypeStrResolver": (("ops", "[OpKernels]"),),
    "OpKernels": (("op_id", "text"), ("kernel_type_str_args", "[KernelArgs]")),
    "KernelArgs": (("kernel_type_str", "text"), ("args", "[ArgTypeAndIndex]")),
    "ArgTypeAndIndex": (("arg_type", "b"), ("index", "I")),
    "RuntimeOptimizations": (("records", "[Optimizer]"),),
    "Optimizer": (("optimizer_name", "text"), ("records", "[Optimization]")),
    "Optimization": (
        ("action_id", "text"),
        ("nodes", "NodesToOptimize"),
        ("", ""),
        ("produced_op_ids", "[text]"),
    ),
    "NodesToOptimize": (
        ("node_indices", "[I]"),
        ("num_inputs", "I"),
        ("num_outputs", "I"),
        ("has_variadic_input", "B"),
        ("has_variadic_output", "B"),
        ("num_variadic_inputs", "I"),
        ("num_variadic_outputs", "I"),
    ),
}
"""Fields in the order of their slots: (name, kind). A kind is a struct code, a table's name, text,
raw (bytes of values), edges (structs of 12 bytes), or a list of those."""
UNION = {1: "TensorTypeAndShape", 2: "SequenceType", 3: "MapType"}
_UNORDERED = {
    "initializers": "name",
    "node_args": "name",
    "opset_import": "domain",
    "metadata_props": "key",
    "attributes": "name",
    "ops": "op_id",
    "kernel_type_str_args": "kernel_type_str",
}
"""Lists that the runtime keeps in hash tables: their order differs from process to process."""
EDGE = 12


def read(flat: Flat) -> Node:
    """The outermost table with all that it holds, lists without an order of their own sorted.

    Raises:
        DamagedError: an offset leads out of the file, or something is there that has no name.
    """
    return _table(flat.root(), "InferenceSession", 0)


def _table(table: Table, name: str, depth: int) -> Node:
    if depth > _MAX_DEPTH:
        raise DamagedError("its graphs lie in each other without end")
    fields = SCHEMA[name]
    if any(table.field(slot) is not None for slot in range(len(fields), table.slots)):
        raise DamagedError(f"a table of the kind {name} has fields that edgekit does not know")
    found: Node = {}
    for slot, (label, kind) in enumerate(fields):
        if table.field(slot) is not None and kind:
            kind = UNION.get(found.get("value_type", 0), "") if kind == "union" else kind
            if not kind:
                raise DamagedError("a type in it is of no known kind")
            found[label] = _field(table, slot, kind, depth)
    for label, key in _UNORDERED.items():
        if label in found:
            found[label].sort(key=lambda item: item.get(key, ""))
    return found


def _field(table: Table, slot: int, kind: str, depth: int) -> Any:
    if len(kind) == 1:
        return table.flat.read(kind, _there(table, slot))
    if kind == "text":
        return table.text(slot)
    if kind in ("raw", "edges"):
        return _bytes(table, slot, kind)
    if kind == "[text]":
        return [_text(table.flat, position) for position in table.targets(slot)]
    if kind[0] != "[":
        inner = table.table(slot)
        assert inner is not None
        return _table(inner, kind, depth + 1)
    if len(kind) == 3:
        return list(table.numbers(slot, kind[1]))
    return [_table(inner, kind[1:-1], depth + 1) for inner in table.tables(slot)]


def _there(table: Table, slot: int) -> int:
    position = table.field(slot)
    assert position is not None
    return position


def _bytes(table: Table, slot: int, kind: str) -> memoryview:
    flat = table.flat
    if kind == "raw":
        start, end = table.extent(slot, "weights")
    else:
        position = flat.follow(_there(table, slot))
        length, start = flat.span(position, EDGE, "", len(flat.data))
        end = start + EDGE * length
        flat.spend(end - start)
    return memoryview(flat.data)[start:end]


def _text(flat: Flat, position: int) -> str:
    length, start = flat.span(position, 1, "strings", len(flat.data))
    flat.spend(length)
    return flat.data[start : start + length].decode("utf-8", "replace")
