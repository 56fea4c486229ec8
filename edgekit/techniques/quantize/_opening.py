"""Says whether the runtime opens a quantized file, without being ended by it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgekit.frameworks.tflite import Operation, Subgraph, TfliteModel
from edgekit.techniques.quantize._process import CrashError, ask

__all__ = ["may_abort", "open_here", "opens"]

_CHECKED = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL", "MEAN", "SOFTMAX"}
    | {"AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION", "PAD", "RESHAPE", "SQUEEZE", "TRANSPOSE"}
    | {"RELU", "RELU6", "LOGISTIC", "TANH", "QUANTIZE", "DEQUANTIZE", "RESIZE_BILINEAR"}
    | {"SHAPE", "STRIDED_SLICE", "PACK"}
)
"""Ops whose kernels return an error where they cannot, unless scales are far apart."""

_FAR_APART = 2.0**12
"""ADD and SUB abort from 2^14 on (int16; 2^19 in int8), SOFTMAX from 2^18 on."""

_SCALED = frozenset({"int8", "uint8", "int16"})
_LIMIT_SECONDS = 300.0


def opens(content: bytes, model: TfliteModel, *, folder: Path) -> str:
    """Says why the runtime cannot open a file that was made here, '' where it can.

    Kernels check fixed-point multipliers with TFLITE_CHECK, which aborts the whole process, so
    files that may run into it are opened in another one. Starting that takes longer than all of a
    small model's quantization (docs/performance.md), so the others are opened here.

    Args:
        content: the file; `model` is what it holds.
        folder: where the other process's files may go.
    """
    if not may_abort(model):
        return open_here(content)
    with tempfile.TemporaryDirectory(prefix="open-", dir=folder) as scratch:
        path = Path(scratch) / "model.tflite"
        path.write_bytes(content)
        request = {"job": "open", "model": str(path)}
        try:
            answer = ask(request, folder=path.parent, limit_seconds=_LIMIT_SECONDS)
        except CrashError as error:
            return f"the runtime {error} when it opened the result"
    return str(answer["reason"])


def may_abort(model: TfliteModel) -> bool:
    """True where an op is not known to be checked, or has scales that are far apart."""
    return any(
        op.kind not in _CHECKED or _spread(graph, op) > _FAR_APART
        for graph in model.subgraphs
        for op in graph.operations
    )


def _spread(graph: Subgraph, op: Operation) -> float:
    """The largest scale of an op's tensors over the smallest; axes with scales of their own are
    weights, which no such check looks at."""
    tensors = [graph.tensors[index] for index in (*op.inputs, *op.outputs) if index >= 0]
    scales = [
        tensor.quantization.scales[0]
        for tensor in tensors
        if tensor.dtype in _SCALED
        and tensor.quantization is not None
        and len(tensor.quantization.scales) == 1
    ]
    if not scales:
        return 1.0
    return max(scales) / min(scales) if min(scales) > 0 else float("inf")


def open_here(content: bytes, *, once: bool = False) -> str:
    """Opens a file in this process; `once` runs it on zeros too."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without delegates: it is the built-in kernels that check scales, and nothing is printed.
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
        if once:
            for detail in interpreter.get_input_details():
                zeros = np.zeros(detail["shape"], detail["dtype"])
                interpreter.set_tensor(detail["index"], zeros)
            interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return f"the runtime does not open the result ({reason})"
    return ""
