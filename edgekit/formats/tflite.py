"""TensorFlow Lite (LiteRT): a .tflite file."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.artifact import InputScaling, Quantization, Signature, TensorSpec
from edgekit.core.description import Description, Op, Weight
from edgekit.formats import _tflite_macs
from edgekit.frameworks import files, scaling, tflite
from edgekit.frameworks.tflite import Operation, Subgraph, Tensor, TfliteModel

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

SUFFIXES = (".tflite",)

_INDEX_DTYPES = frozenset({"int32", "int64", "uint32", "uint64", "bool", "string", "resource"})
"""Constants of these dtypes are shapes, axes and tables, unless they are quantized."""


def sniff(path: Path) -> bool:
    """A TFLite flatbuffer says TFL3 in bytes 4 to 8."""
    try:
        with path.open("rb") as file:
            return file.read(8)[4:] == tflite.IDENTIFIER
    except OSError:
        return False


def check(path: Path) -> None:
    """Follows every offset in the file."""
    tflite.read_model(path)


def digest(path: Path) -> str:
    """The file has no time stamps, so its digest is that of its bytes."""
    return files.sha256(path)


def parts(path: Path) -> tuple[Path, ...]:
    """None: everything lies in the one file or folder."""
    return ()


def describe(path: Path) -> Description:
    """Reads signature, ops of all subgraphs, weights (a shared buffer once), and bytes."""
    model = tflite.read_model(path)
    weights = _weights(model)
    return Description(
        format="tflite",
        signature=_signature(model),
        ops=_ops(model),
        weights=tuple(_weight(tensor) for tensor in weights),
        size_bytes=len(model.data),
        bytes_by=model.bytes_by,
        parameters=sum(_weight(tensor).parameters for tensor in weights if _is_trained(tensor)),
        notes=_notes(model),
    )


def read_scaling(path: Path) -> InputScaling | None:
    """Reads the metadata entry 'edgekit'."""
    payload = tflite.read_metadata(tflite.read_bytes(path), scaling.KEY, where=str(path))
    return None if payload is None else scaling.load(payload, where=str(path))


def write_scaling(path: Path, value: InputScaling) -> None:
    """Writes the metadata entry 'edgekit'; everything else in the file stays as it is."""
    data = tflite.read_bytes(path)
    changed = tflite.with_metadata(data, scaling.KEY, scaling.dump(value), where=str(path))
    with files.replacing(path) as temporary:
        temporary.write_bytes(changed)


def _signature(model: TfliteModel) -> Signature:
    """Tensors in the order of the graph, under the names of the signature where it has them."""
    main, named = model.subgraphs[0], model.signature()
    inputs = {index: name for name, index in named.inputs} if named else {}
    outputs = {index: name for name, index in named.outputs} if named else {}
    return Signature(
        tuple(_spec(main.tensors[index], inputs.get(index)) for index in main.inputs),
        tuple(_spec(main.tensors[index], outputs.get(index)) for index in main.outputs),
    )


def _spec(tensor: Tensor, name: str | None) -> TensorSpec:
    quantization = None
    if tensor.quantization is not None and len(tensor.quantization.scales) == 1:
        scale, zero_point = tensor.quantization.scales[0], tensor.quantization.zero_points[0]
        quantization = Quantization(scale, zero_point)
    return TensorSpec(name or tensor.name, tensor.shape_signature, tensor.dtype, quantization)


def _ops(model: TfliteModel) -> tuple[Op, ...]:
    pairs = [(graph, operation) for graph in model.subgraphs for operation in graph.operations]
    return tuple(_op(index, operation, graph) for index, (graph, operation) in enumerate(pairs))


def _op(index: int, operation: Operation, graph: Subgraph) -> Op:
    ends = [graph.tensors[i] for i in (*operation.inputs, *operation.outputs) if i >= 0]
    dtypes = dict.fromkeys(tensor.dtype for tensor in ends if not tensor.is_constant)
    return Op(
        index=index,
        kind=operation.custom_code or operation.kind,
        name=_name(operation, graph),
        dtypes=tuple(dtypes),
        macs=_tflite_macs.count(operation, graph.tensors),
        is_custom=operation.is_custom,
        version=operation.version,
    )


def _name(operation: Operation, graph: Subgraph) -> str:
    """The output's name; a fused op carries those of its parts, and the first one is enough."""
    if operation.outputs and operation.outputs[0] >= 0:
        first = graph.tensors[operation.outputs[0]].name.partition(";")[0]
        if first:
            return first
    return f"{operation.kind}_{operation.index}"


def _weights(model: TfliteModel) -> list[Tensor]:
    """The constant tensors, the first of those that share a buffer."""
    found: dict[int, Tensor] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.is_constant:
                found.setdefault(tensor.buffer, tensor)
    return list(found.values())


def _weight(tensor: Tensor) -> Weight:
    return Weight(tensor.name, tensor.shape, tensor.dtype, tensor.size_bytes)


def _is_trained(tensor: Tensor) -> bool:
    return tensor.dtype not in _INDEX_DTYPES or tensor.quantization is not None


def _notes(model: TfliteModel) -> tuple[str, ...]:
    notes = []
    if len(model.subgraphs) > 1:
        notes.append(f"it has {len(model.subgraphs)} graphs; inputs and outputs are of the first")
    details = {
        tensor.quantization.details
        for graph in model.subgraphs
        for tensor in graph.tensors
        if tensor.quantization is not None and tensor.quantization.details
    }
    notes += [f"quantization by {name} is not taken apart" for name in sorted(details)]
    return tuple(notes)
