"""Reads a SavedModel before TensorFlow does; refuses ops that reach outside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit import lazy
from edgekit.errors import UsageError

__all__ = ["LAYERS", "check_graph", "layer_configs"]

LAYERS = "keras_metadata.pb"
_GRAPH = "saved_model.pb"
_MAX_BYTES = 2 * 10**9
_MAX_LAYERS_BYTES = 256 * 10**6

_TOUCHES = re.compile(
    r"ReadFile|WriteFile|MatchingFiles|RecordInput|DumpTensor|FileSystemSetConfiguration"
    r"|PyFunc|PyFuncStateless|EagerPyFunc|_Py\w*"
    r"|\w*Dataset\w*|(?!Reader)\w+Reader(V2)?"
    r"|ImportEvent|\w*SummaryWriter\w*|\w*Summary(File|Db)Writer|Write\w*Summary"
    r"|Debug\w+|DistributedSave|CalibrationStatisticsSaver|GenerateVocabRemapping"
    r"|LoadAndRemapMatrix|Skipgram|FixedUnigramCandidateSampler"
    r"|Rpc\w+|RemoteCall|_?(Host)?(Send|Recv)|XlaCustomCall(V2)?|\w*TRT\w*"
)
"""Ops that reach files, the network, or code outside TensorFlow. None belongs to inference."""
_SAVES = re.compile(r"Save|SaveV2|SaveSlices|MergeV2Checkpoints")
_RESTORES = re.compile(r"Restore|RestoreV2|RestoreSlice|DTensorRestoreV2")
_SAVER = re.compile(r"__inference__traced_(save|restore)_\d+")
"""What TensorFlow itself adds to every SavedModel, to save and restore its variables."""
_STREAMS = frozenset({b"stdout", b"stderr", b"log(info)", b"log(warning)", b"log(error)"})


def check_graph(path: Path) -> None:
    """Refuses a SavedModel with an op that touches files, in any graph, used or not.

    That goes for functions that run on loading too (initializers of resources). Allowed are the
    functions that TensorFlow adds to save and restore the variables, as long as nothing else can
    call them, and the reading of a vocabulary into a table; an asset of the model must lie in its
    folder.

    Raises:
        UsageError: the graph cannot be read, or holds such an op (which is named).
    """
    model = _parse(path, path / _GRAPH, _protobuf("tensorflow.core", "saved_model").SavedModel())
    for graph in model.meta_graphs:
        op = next(_touching(graph, modern=_is_modern(model)), "")
        if op:
            raise UsageError(
                f"{path}: its graph has the operation '{op}', which reaches outside the model, "
                "and edgekit never runs that from a file",
                hint="save the model again with model.export(DIR), without files and Python code",
            )
        for asset in graph.asset_file_def:
            if PurePosixPath(asset.filename).is_absolute() or ".." in asset.filename.split("/"):
                raise UsageError(f"{path}: '{asset.filename}' in it points out of the folder")


def layer_configs(path: Path) -> list[Any]:
    """What Keras 2 would make the layers of, one for each saved object; empty without Keras.

    Raises:
        UsageError: it is there and cannot be read.
    """
    file = path / LAYERS
    if not file.is_file():
        return []
    if file.stat().st_size > _MAX_LAYERS_BYTES:
        raise UsageError(f"{path}: {LAYERS} is {file.stat().st_size} bytes long, too many")
    metadata = _parse(path, file, _protobuf("tf_keras", "saved_metadata").SavedMetadata())
    try:
        return [json.loads(node.metadata) for node in metadata.nodes]
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: {LAYERS} is not readable ({error})") from None


def _protobuf(package: str, name: str) -> Any:
    return _require(f"{package}.protobuf.{name}_pb2")


def _require(module: str) -> Any:
    return lazy.require(module, extra="tensorflow", needed_for="a SavedModel")


def _parse(path: Path, file: Path, message: Any) -> Any:
    decode_error = _require("google.protobuf.message").DecodeError
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path}: {file.name} is {file.stat().st_size} bytes long, too many")
        message.ParseFromString(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except decode_error as error:
        raise UsageError(f"{path}: {file.name} is cut off or damaged ({error})") from None
    return message


def _is_modern(model: Any) -> bool:
    """As TensorFlow decides: version 2 runs only functions, version 1 the nodes of the graph."""
    return len(model.meta_graphs) == 1 and model.meta_graphs[0].HasField("object_graph_def")


def _touching(graph: Any, *, modern: bool) -> Iterator[str]:
    """The ops that are refused, by name."""
    nodes, library = graph.graph_def.node, graph.graph_def.library.function
    savers = {
        function.signature.name
        for function in library
        if _SAVER.fullmatch(function.signature.name) and "api_implements" not in function.attr
    }  # (Functions with that attribute can take each other's place.)
    yield from _outside(nodes)
    for function in library:
        yield from _outside(function.node_def)
        if function.signature.name not in savers:
            yield from _saving(function.node_def, savers)
    called = set(graph.object_graph_def.concrete_functions) | {
        item.gradient_func for item in graph.graph_def.library.gradient
    }
    yield from sorted(called & savers)
    if not modern:
        yield from _saving(_run_by_version_1(graph), savers, restores=True)


def _outside(nodes: Iterable[Any]) -> Iterator[str]:
    for node in nodes:
        printed = node.op == "PrintV2" and "output_stream" in node.attr
        if _TOUCHES.fullmatch(node.op) or (
            printed and node.attr["output_stream"].s not in _STREAMS
        ):
            yield node.op


def _saving(nodes: Iterable[Any], savers: set[str], *, restores: bool = False) -> Iterator[str]:
    """Ops that save or restore, and calls of the functions that may."""
    for node in nodes:
        if _SAVES.fullmatch(node.op) or (_RESTORES.fullmatch(node.op) and not restores):
            yield node.op
        yield from sorted(set(_called(node)) & savers)


def _called(node: Any) -> Iterator[str]:
    yield node.op
    for value in node.attr.values():
        yield value.func.name
        yield value.s.decode("utf-8", "replace")
        for item in value.list.func:
            yield item.name


def _run_by_version_1(graph: Any) -> list[Any]:
    """The nodes that signatures, initializers and the restoring of variables need."""
    by_name = {node.name: node for node in graph.graph_def.node}
    todo = [graph.saver_def.restore_op_name]
    for signature in graph.signature_def.values():
        for tensor in signature.outputs.values():
            todo += _tensor_names(tensor)
    for collection in graph.collection_def.values():
        todo += collection.node_list.value
    found: dict[str, Any] = {}
    while todo:
        name = todo.pop().lstrip("^").partition(":")[0]
        if name in by_name and name not in found:
            found[name] = by_name[name]
            todo += by_name[name].input
    return list(found.values())


def _tensor_names(tensor: Any) -> list[str]:
    sparse, parts = tensor.coo_sparse, tensor.composite_tensor.components
    sparse_names = (sparse.values_tensor_name, sparse.indices_tensor_name)
    return [tensor.name, *sparse_names, sparse.dense_shape_tensor_name, *(p.name for p in parts)]
