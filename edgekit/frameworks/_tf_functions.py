"""The TensorFlow functions that a Keras file may call: they compute, and touch nothing else."""

from __future__ import annotations

import re

__all__ = ["is_safe_function", "is_safe_op"]

_PREFIXES = ("math.", "nn.", "linalg.", "image.", "signal.", "__operators__.")
_EXCEPTIONS = frozenset(
    # The first reads a vocabulary file; the others call what they are given.
    {"nn.fixed_unigram_candidate_sampler", "nn.raw_rnn", "nn.with_space_to_batch"}
)
_NAME = re.compile(r"(?:__operators__|[a-z]\w*)(?:\.[a-z]\w*)*")

_FUNCTIONS_TEXT = """
abs acos acosh add add_n argmax argmin argsort asin asinh atan atan2 atanh batch_to_space bitcast
boolean_mask broadcast_to cast ceil clip_by_norm clip_by_value complex concat convert_to_tensor
cos cosh cumsum depth_to_space divide einsum ensure_shape equal erf erfc exp expand_dims expm1 eye
fill floor floordiv floormod gather gather_nd greater greater_equal identity identity_n imag
is_finite is_inf is_nan less less_equal lin_space linspace log log1p log_sigmoid logical_and
logical_not logical_or logical_xor matmul maximum meshgrid minimum mod multiply negative norm
not_equal one_hot ones ones_like pad pow random.normal random.stateless_normal
random.stateless_uniform random.truncated_normal random.uniform random_normal random_uniform range
rank real realdiv reciprocal reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean
reduce_min reduce_prod reduce_sum repeat reshape reverse reverse_sequence rint roll round rsqrt
saturate_cast scalar_mul scatter_nd searchsorted sequence_mask shape shape_n sigmoid sign sin sinh
size slice sort space_to_batch space_to_depth split sqrt square squared_difference squeeze stack
stop_gradient strided_slice subtract tan tanh tensor_scatter_nd_add tensor_scatter_nd_update
tensordot tile to_float to_int32 transpose truediv truncatediv truncatemod unravel_index unstack
where where_v2 zeros zeros_like quantization.fake_quant_with_min_max_args
quantization.fake_quant_with_min_max_vars quantization.fake_quant_with_min_max_vars_per_channel
quantization.quantize_and_dequantize quantization.quantize_and_dequantize_v2
"""
_FUNCTIONS = frozenset(_FUNCTIONS_TEXT.split())

_OPS_TEXT = """
Abs Add AddN AddV2 ArgMax ArgMin AvgPool BatchMatMul BatchMatMulV2 BatchToSpaceND BiasAdd
BroadcastTo Cast Ceil ClipByValue Concat ConcatV2 Conv2D Cos DepthToSpace DepthwiseConv2dNative
Div DivNoNan Einsum Elu Equal Exp ExpandDims Fill Floor FloorDiv FloorMod GatherNd GatherV2
Greater GreaterEqual Identity IsNan LeakyRelu Less LessEqual Log Log1p LogSoftmax LogicalAnd
LogicalNot LogicalOr MatMul Max MaxPool Maximum Mean Min Minimum MirrorPad Mul Neg NotEqual OneHot
OnesLike Pack Pad PadV2 Pow Prod Range Rank RealDiv Reciprocal Relu Relu6 Reshape ResizeBilinear
ResizeNearestNeighbor ReverseV2 Round Rsqrt Select SelectV2 Selu Shape Sigmoid Sign Sin Size Slice
Softmax Softplus Softsign SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference
Squeeze StopGradient StridedSlice Sub Sum Tanh Tile TopKV2 Transpose Unpack Where ZerosLike
"""
_OPS = frozenset(_OPS_TEXT.split())


def is_safe_function(name: object) -> bool:
    """True for a public TensorFlow function (of version 1 or 2) that only computes."""
    if not isinstance(name, str):
        return False
    name = name.removeprefix("compat.v1.")
    if name in _EXCEPTIONS or _NAME.fullmatch(name) is None:
        return False
    return name in _FUNCTIONS or name.startswith(_PREFIXES)


def is_safe_op(name: object) -> bool:
    """True for an op (by its name in a graph) that only computes."""
    return isinstance(name, str) and name in _OPS
