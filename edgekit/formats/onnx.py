"""ONNX: an .onnx file, with its external data beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit import lazy
from edgekit.core.artifact import InputScaling, Signature, TensorSpec
from edgekit.core.description import Description
from edgekit.formats import _onnx_notes, _onnx_ops, _onnx_weights
from edgekit.frameworks import files, onnx_files, onnx_shapes, scaling

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

SUFFIXES = (".onnx",)

_INDEX_DTYPES = frozenset({"int32", "int64", "uint32", "uint64", "bool", "string"})


def sniff(path: Path) -> bool:
    """By the first protobuf fields."""
    return path.is_file() and onnx_files.looks_like_onnx(path)


def check(path: Path) -> None:
    """Checks the outer fields; with the package onnx, everything."""
    onnx_files.check_wire(path)
    if lazy.is_installed("onnx"):
        onnx_files.check_model(path)


def digest(path: Path) -> str:
    """The digest of the file, or of the file and its external data."""
    found = onnx_files.digests(path)
    return found[""] if len(found) == 1 else files.digest_parts(found)


def parts(path: Path) -> tuple[Path, ...]:
    """The external data files, in `path.parent` as it was given."""
    found = onnx_files.external_files(path, onnx_files.outline(path).model)
    folder = os.path.abspath(path.parent)
    return tuple(path.parent / file.relative_to(folder) for file in found)


def describe(path: Path) -> Description:
    """Reads signature, nodes of all graphs, weights, and bytes; shapes are inferred.

    Big values are not read, wherever they are.
    """
    outline = onnx_files.outline(path)
    model = outline.model
    inferred, problem = onnx_shapes.infer(model, path.parent)
    tensors = _onnx_weights.tensors(outline)
    weights = tuple(_onnx_weights.weight(tensor, size) for tensor, size in tensors)
    size, split = _onnx_weights.bytes_by(path, model, tensors)
    ops = _onnx_ops.ops(model, _onnx_ops.types(inferred), {weight.name for weight in weights})
    trained = _onnx_weights.trained_names(model)
    return Description(
        format="onnx",
        signature=_signature(model),
        ops=ops,
        weights=weights,
        size_bytes=size,
        bytes_by=split,
        parameters=sum(
            weight.parameters
            for weight in weights
            if weight.name in trained or weight.dtype not in _INDEX_DTYPES
        ),
        notes=(*_onnx_notes.notes(ops), *([problem] if problem else [])),
        facts=_onnx_notes.facts(model),
    )


def with_shapes(path: Path, shapes: Sequence[str], output: Path) -> None:
    """Writes the model with the shapes of its open inputs fixed, each as NAME=1x3x224x224.

    Raises:
        UsageError: an input that it has not, or a shape that contradicts its own.
    """
    onnx_shapes.with_shapes(path, onnx_shapes.parse_shapes(shapes), output)


def read_scaling(path: Path) -> InputScaling | None:
    """Reads the metadata property 'edgekit'."""
    properties = {item.key: item.value for item in onnx_files.outline(path).model.metadata_props}
    text = properties.get(scaling.KEY)
    return None if text is None else scaling.load(text, where=str(path))


def write_scaling(path: Path, value: InputScaling) -> None:
    """Writes the metadata property 'edgekit'; external data stays where it is."""
    model = onnx_files.load(path)
    kept = [item for item in model.metadata_props if item.key != scaling.KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=scaling.KEY, value=scaling.dump(value).decode())
    with files.replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def _signature(model: Any) -> Signature:
    return Signature(
        tuple(_spec(value) for value in onnx_shapes.inputs_of(model)),
        tuple(_spec(value) for value in model.graph.output),
    )


def _spec(value: Any) -> TensorSpec:
    if value.type.WhichOneof("value") != "tensor_type":
        return TensorSpec(value.name, (), str(value.type.WhichOneof("value") or "unknown"))
    dtype, shape = _onnx_ops.tensor_type(value)
    return TensorSpec(value.name, shape or (), dtype)
