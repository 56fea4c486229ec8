"""What goes from a model, in the schema's object form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from edgekit.frameworks.scaling import KEY

__all__ = ["Removed", "obstacle", "reduce_model", "share_bias_scales"]

_CUSTOM = 32
_INT32, _INT64 = 2, 4


@dataclass(frozen=True)
class Removed:
    """Counts of what went, and the names of metadata entries."""

    names: int
    ranges: int
    tensors: int
    buffers: int
    metadata: tuple[str, ...]


def obstacle(model: Any) -> str:
    """Why a model cannot be rewritten, '' where it can."""
    behind = any((buffer.offset or 0) > 1 for buffer in model.buffers or ()) or any(
        (op.largeCustomOptionsOffset or 0) > 1
        for graph in model.subgraphs
        for op in graph.operators
    )
    if behind or model.externalBuffers or model.externalBufferGroups:
        return "it keeps tensor data outside its tables, as files over 2 GB do"
    return ""


def reduce_model(model: Any) -> Removed:
    """Takes out of a model what its ops do not need."""
    buffers = len(model.buffers)
    names = sum(_drop_names(model, index) for index in range(len(model.subgraphs)))
    ranges = sum(_drop_ranges(graph) for graph in model.subgraphs)
    tensors = sum(_drop_tensors(model, index) for index in range(len(model.subgraphs)))
    gone = _drop_metadata(model)
    _merge_op_codes(model)
    _merge_buffers(model)
    model.description = model.metadataBuffer = None
    return Removed(names, ranges, tensors, buffers - len(model.buffers), gone)


def share_bias_scales(model: Any) -> int:
    """Gives biases with a scale for each channel the scales of their weights; returns how many."""
    import numpy as np

    count = 0
    for graph in model.subgraphs:
        for op in graph.operators:
            if op.inputs is None or len(op.inputs) < 3 or min(op.inputs[1:3]) < 0:
                continue
            weights, bias = (graph.tensors[index].quantization for index in op.inputs[1:3])
            if graph.tensors[op.inputs[2]].type not in (_INT32, _INT64) or not (weights and bias):
                continue
            scales, own = weights.scale, bias.scale
            if scales is None or own is None or not 1 < len(scales) == len(own):
                continue
            if not np.array_equal(scales, own):
                bias.scale = scales
                count += 1
    return count


def _ends(model: Any, index: int) -> set[int]:
    """Tensors that go in and out of a graph, by its own lists and by signatures."""
    graph = model.subgraphs[index]
    found = {int(tensor) for tensor in (*_each(graph.inputs), *_each(graph.outputs))}
    return found | {
        int(item.tensorIndex)
        for signature in model.signatureDefs or ()
        if signature.subgraphIndex == index
        for item in (*_each(signature.inputs), *_each(signature.outputs))
    }


def _each(items: Any) -> Iterable[Any]:
    return () if items is None else items


def _drop_names(model: Any, index: int) -> int:
    """The first graph's inputs and outputs keep their names: programs look tensors up by them."""
    graph = model.subgraphs[index]
    kept = _ends(model, index) if index == 0 else set()
    graph.name = None
    count = 0
    for number, tensor in enumerate(graph.tensors):
        if number not in kept and tensor.name:
            count += 1
            tensor.name = None
    return count


def _drop_ranges(graph: Any) -> int:
    count = 0
    for tensor in graph.tensors:
        if tensor.shapeSignature is not None and list(tensor.shapeSignature) == list(tensor.shape):
            tensor.shapeSignature = None
        held = tensor.quantization
        if held is None:
            continue
        count += held.min is not None or held.max is not None
        held.min = held.max = None
        if not len(_sized(held.scale)) and held.details is None:
            tensor.quantization = None
    return count


def _sized(values: Any) -> Any:
    return () if values is None else values


def _drop_tensors(model: Any, index: int) -> int:
    """Drops tensors that no op, graph end or signature names, and counts the others anew."""
    import numpy as np

    graph = model.subgraphs[index]
    used = _ends(model, index)
    for op in graph.operators:
        used.update(int(t) for each in _operands(op) for t in _each(each) if t >= 0)
    kept = [number for number in range(len(graph.tensors)) if number in used]
    place = {number: new for new, number in enumerate(kept)} | {-1: -1}

    def moved(indices: Any) -> Any:
        return None if indices is None else np.array([place[int(i)] for i in indices], np.int32)

    for op in graph.operators:
        op.inputs, op.outputs = moved(op.inputs), moved(op.outputs)
        op.intermediates = moved(op.intermediates) if len(_sized(op.intermediates)) else None
        if not any(_each(op.mutatingVariableInputs)):
            op.mutatingVariableInputs = None
    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    for signature in model.signatureDefs or ():
        if signature.subgraphIndex == index:
            for item in (*_each(signature.inputs), *_each(signature.outputs)):
                item.tensorIndex = place[int(item.tensorIndex)]
    gone = len(graph.tensors) - len(kept)
    graph.tensors = [graph.tensors[number] for number in kept]
    return gone


def _operands(op: Any) -> Iterator[Any]:
    yield from (op.inputs, op.outputs, op.intermediates)


def _drop_metadata(model: Any) -> tuple[str, ...]:
    entries = [(_text(entry.name), entry) for entry in model.metadata or ()]
    model.metadata = [entry for name, entry in entries if name == KEY] or None
    return tuple(name for name, _ in entries if name != KEY)


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "")


def _merge_op_codes(model: Any) -> None:
    codes: dict[Any, tuple[int, Any]] = {}
    for graph in model.subgraphs:
        for op in graph.operators:
            code = model.operatorCodes[op.opcodeIndex]
            kind = max(code.builtinCode, code.deprecatedBuiltinCode)
            key = (kind, code.version, code.customCode if kind == _CUSTOM else None)
            op.opcodeIndex = codes.setdefault(key, (len(codes), code))[0]
    model.operatorCodes = [code for _, code in codes.values()]


def _merge_buffers(model: Any) -> None:
    """Stores equal content once; buffer 0 stays the empty one that tensors without data name."""
    from ai_edge_litert.schema_py_generated import BufferT

    made: list[Any] = [BufferT()]
    places: dict[bytes, int] = {b"": 0}
    holders: list[Any] = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    for holder in [*holders, *(model.metadata or ())]:
        data = model.buffers[holder.buffer].data
        content = b"" if data is None else bytes(data)
        if content not in places:
            places[content] = len(made)
            made.append(BufferT(data=data))
        holder.buffer = places[content]
    model.buffers = made
