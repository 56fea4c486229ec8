"""By which method TensorFlow Lite Micro's op resolver takes each op of a model."""

from __future__ import annotations

from edgekit.errors import UsageError, did_you_mean
from edgekit.frameworks.tflite import TfliteModel

__all__ = ["BUILTIN", "CUSTOM", "resolver_methods"]

_KINDS = """
ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND
BROADCAST_ARGS BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D
DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL
FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF
L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR
LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2
PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE RESIZE_BILINEAR
RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND
SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH
TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
"""
_UNUSUAL = {
    "BATCH_MATMUL": "AddBatchMatMul",
    "CUMSUM": "AddCumSum",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
}


def _method(kind: str) -> str:
    words = (w.upper() if w[0].isdigit() else w.capitalize() for w in kind.split("_"))
    return _UNUSUAL.get(kind, f"Add{''.join(words)}")


BUILTIN = {kind: _method(kind) for kind in _KINDS.split()}
"""As in TFLM's micro_mutable_op_resolver.h of August 2026 (commit 90b983c)."""

CUSTOM = {
    "CIRCULAR_BUFFER": "AddCircularBuffer",
    "TFLM_DECODE": "AddDecode",
    "TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    "ethos-u": "AddEthosU",
}
"""The same for ops that are named by a text; those of its signal library are not among them."""

_NEEDS_VARIABLES = "VAR_HANDLE"


def resolver_methods(model: TfliteModel, where: str) -> tuple[str, ...]:
    """The methods to call, each once, in the order in which the ops first appear.

    Raises:
        UsageError: TFLM has no such op, or it needs what the generated sources do not set up.
    """
    found: dict[str, None] = {}
    for graph in model.subgraphs:
        for op in graph.operations:
            name, known = (op.custom_code, CUSTOM) if op.is_custom else (op.kind, BUILTIN)
            if name == _NEEDS_VARIABLES:
                raise UsageError(
                    f"{where}: has {name} (op {op.index}), which needs resource variables, and the "
                    f"C++ sources set none up",
                    hint="write the interpreter's set-up by hand, with MicroResourceVariables",
                )
            if name not in known:
                raise UsageError(
                    f"{where}: TensorFlow Lite Micro has no op {name!r} (op {op.index})",
                    hint=did_you_mean(name, known),
                )
            found[known[name]] = None
    return tuple(found)
