"""ONNX Runtime's own format: an .ort file, for its full and its reduced builds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgekit.core.artifact import InputScaling, Signature, TensorSpec
from edgekit.core.description import Description, Op, Weight
from edgekit.formats import _onnx_macs
from edgekit.formats._onnx_macs import Shape
from edgekit.frameworks import ort_files, scaling
from edgekit.frameworks.ort_files import OrtModel

__all__ = [
    "SUFFIXES",
    "check",
    "describe",
    "digest",
    "parts",
    "read_scaling",
    "sniff",
    "write_scaling",
]

SUFFIXES = (".ort",)

_STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
_STANDARD |= {"com.ms.internal.nhwc"}
_INDEX_DTYPES = frozenset({"int32", "int64", "uint32", "uint64", "bool", "string"})
_TRAINED_INPUTS = frozenset({("DequantizeLinear", 0), ("QLinearConv", 8)})
_TENSOR = 1
_VALUE = 1

_Types = dict[str, tuple[str, Shape | None]]


def sniff(path: Path) -> bool:
    """The flatbuffer says ORTM in bytes 4 to 8."""
    return ort_files.looks_like_ort(path)


def check(path: Path) -> None:
    """Follows every offset in the file."""
    ort_files.read(path)


def digest(path: Path) -> str:
    """Of the content: ONNX Runtime writes the same tables in another order each time."""
    return ort_files.content_digest(ort_files.read(path))


def parts(path: Path) -> tuple[Path, ...]:
    """None: everything lies in the one file."""
    return ()


def describe(path: Path) -> Description:
    """Reads signature, ops of all graphs, weights, and bytes."""
    found = ort_files.read(path)
    types = _types(found)
    weights = tuple(_weight(tensor) for tensor in found.tensors)
    trained = {
        name
        for node in _nodes(found)
        for place, name in enumerate(node.get("inputs", []))
        if (node.get("op_type"), place) in _TRAINED_INPUTS
    }
    return Description(
        format="ort",
        signature=_signature(found, types),
        ops=_ops(found, types),
        weights=weights,
        size_bytes=found.size_bytes,
        bytes_by=found.bytes_by,
        parameters=sum(
            weight.parameters
            for weight in weights
            if weight.name in trained or weight.dtype not in _INDEX_DTYPES
        ),
        facts=_facts(found),
    )


def read_scaling(path: Path) -> InputScaling | None:
    """Reads the metadata property 'edgekit', which the ONNX model had."""
    text = ort_files.read(path).metadata.get(scaling.KEY)
    return None if text is None else scaling.load(text, where=str(path))


def write_scaling(path: Path, value: InputScaling) -> None:
    """Writes the metadata property 'edgekit'; everything else in the file stays as it is."""
    found = ort_files.read(path)
    kept = [
        item for item in found.model.get("metadata_props", []) if item.get("key", "") != scaling.KEY
    ]
    added = {"key": scaling.KEY, "value": scaling.dump(value).decode()}
    found.model["metadata_props"] = sorted([*kept, added], key=lambda item: item.get("key", ""))
    ort_files.write(found.root, path)


def _nodes(found: OrtModel) -> list[dict[str, Any]]:
    return [node for graph in found.graphs for node in graph.get("nodes", [])]


def _types(found: OrtModel) -> _Types:
    """dtype and shape of every value that is a tensor."""
    types: _Types = {}
    for graph in found.graphs:
        for value in graph.get("node_args", []):
            known = value.get("type", {})
            if known.get("value_type") == _TENSOR and "value" in known:
                types[value.get("name", "")] = _tensor_type(known["value"])
        for tensor in graph.get("initializers", []):
            types[tensor.get("name", "")] = _dtype(tensor), tuple(tensor.get("dims", []))
    return types


def _tensor_type(known: dict[str, Any]) -> tuple[str, Shape | None]:
    shape = None
    if "shape" in known:
        sizes = [item.get("value", {}) for item in known["shape"].get("dim", [])]
        shape = tuple(
            size.get("dim_value", 0) if size.get("dim_type") == _VALUE else None for size in sizes
        )
    return _name_of(known.get("elem_type", 0)), shape


def _name_of(number: int) -> str:
    known = 0 <= number < len(ort_files.DTYPES)
    return ort_files.DTYPES[number] if known else f"type{number}"


def _dtype(tensor: dict[str, Any]) -> str:
    return _name_of(tensor.get("data_type", 0))


def _weight(tensor: dict[str, Any]) -> Weight:
    size = len(tensor.get("raw_data", b""))
    size += sum(len(text.encode()) for text in tensor.get("string_data", []))
    return Weight(tensor.get("name", ""), tuple(tensor.get("dims", [])), _dtype(tensor), size)


def _signature(found: OrtModel, types: _Types) -> Signature:
    graph = found.graphs[0]
    weights = {tensor.get("name") for tensor in graph.get("initializers", [])}
    inputs = [name for name in graph.get("inputs", []) if name not in weights]
    return Signature(
        tuple(_spec(name, types) for name in inputs),
        tuple(_spec(name, types) for name in graph.get("outputs", [])),
    )


def _spec(name: str, types: _Types) -> TensorSpec:
    dtype, shape = types.get(name, ("unknown", None))
    return TensorSpec(name, shape or (), dtype)


def _ops(found: OrtModel, types: _Types) -> tuple[Op, ...]:
    shapes = {name: shape for name, (_, shape) in types.items() if shape is not None}
    constants = {tensor.get("name", "") for tensor in found.tensors}
    nodes = _nodes(found)
    counts = _onnx_macs.count_all([_plain(node) for node in nodes], shapes)
    return tuple(
        _op(index, node, types, constants, counts[index]) for index, node in enumerate(nodes)
    )


def _op(
    index: int, node: dict[str, Any], types: _Types, constants: set[str], macs: int | None
) -> Op:
    domain, kind = node.get("domain", ""), node.get("op_type", "")
    outputs = node.get("outputs", [])
    ends = [end for end in (*node.get("inputs", []), *outputs) if end not in constants]
    return Op(
        index=index,
        kind=kind if domain in ("", "ai.onnx") else f"{domain}.{kind}",
        name=node.get("name") or next(iter(outputs), f"{kind}_{index}"),
        dtypes=tuple(dict.fromkeys(types[end][0] for end in ends if end in types)),
        macs=macs,
        is_custom=domain not in _STANDARD,
    )


def _plain(node: dict[str, Any]) -> SimpleNamespace:
    """The node as the counting of ONNX takes it; a fused op counts as what it was fused into."""
    kind, domain = node.get("op_type", ""), node.get("domain", "")
    if domain == "com.microsoft" and kind.startswith("Fused"):
        kind, domain = kind.removeprefix("Fused"), ""
    return SimpleNamespace(
        op_type=kind,
        domain=domain,
        input=node.get("inputs", []),
        output=node.get("outputs", []) or [""],
        attribute=[
            SimpleNamespace(name=item.get("name", ""), i=item.get("i", 0))
            for item in node.get("attributes", [])
        ],
    )


def _facts(found: OrtModel) -> tuple[str, ...]:
    opsets = ", ".join(
        f"{item.get('domain') or 'ai.onnx'} {item.get('version', 0)}"
        for item in found.model.get("opset_import", [])
    )
    version = found.root.get("ort_version", "unknown")
    return (f"version {version} of the .ort format, opsets {opsets}",)
