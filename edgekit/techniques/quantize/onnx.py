"""Quantizes an .onnx file with onnxruntime.quantization; inputs and outputs stay float.

Static schemes put QuantizeLinear and DequantizeLinear around ops (QDQ); the runtime fuses them into
integer kernels when it opens the file. Ops without weights that have no integer form (LayerNorm,
Erf) compute in float between them, always. `io` is for .tflite: an .onnx keeps the dtypes of its
inputs and outputs in every scheme.

`int8` with `min-max` ranges smooths what MatMul and Gemm read (SmoothQuant): a Mul in front divides
each channel by a factor that their weights take.

The ops of `weights_only` have int8 weights behind a DequantizeLinear and read float tensors.
Convolutions whose weights are under 512 values stay float there and in `dynamic-int8`, and
embeddings with under a thousandth of the model's weights in every scheme but `float16`: int8 would
save nothing.

`dynamic-int8` gives MatMul and Gemm integer kernels whose activations are quantized on the fly, and
stores the weights of embeddings, convolutions and recurrent ops as int8, which become float before
use: 1.0 to 1.3 times the float time on two convolutional nets, where convolutions with dynamic
ranges (ConvInteger) took 2.8 and 3.7 times. `weight-only-int8` makes MatMul and Gemm slower than
float (1.7 times on a sentence encoder). `int16x8` has no integer kernels in the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.core.artifact import Artifact
from edgekit.core.ladder import Rung
from edgekit.core.technique import Models, Work
from edgekit.errors import UsageError
from edgekit.frameworks import onnx_files
from edgekit.lazy import version
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize._onnx_calibrated import calibrate
from edgekit.techniques.quantize._onnx_float16 import to_float16
from edgekit.techniques.quantize._onnx_ladder import ladder_rungs, rank_ops
from edgekit.techniques.quantize._onnx_model import opset, save
from edgekit.techniques.quantize._onnx_proof import prove
from edgekit.techniques.quantize._onnx_refusals import refuse
from edgekit.techniques.quantize._onnx_rewrite import rewrite
from edgekit.techniques.quantize._onnx_static import quantize_static

__all__ = ["PREPARED_BY", "apply", "check", "rank", "rungs", "verify", "versions"]

PREPARED_BY = "simplify"

_LEAST_OPSET, _PER_CHANNEL_OPSET = 11, 13


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return {name: version(name) for name in ("onnxruntime", "onnx", "numpy")}


def rungs(parameters: Parameters) -> tuple[Rung, ...]:
    """What is tried one after the other where the recipe says `ladder`."""
    return ladder_rungs(parameters)


def rank(parameters: Parameters, source: Artifact, work: Work) -> tuple[tuple[str, float], ...]:
    """The weighted ops by what quantizing each alone costs the outputs, the worst first."""
    return rank_ops(parameters, source, work)


def check(parameters: Parameters, source: Artifact, models: Models) -> None:
    """Raises UsageError for a model or options that the scheme cannot treat."""
    refuse(parameters, source, models.describe(source))


def apply(parameters: Parameters, source: Artifact, work: Work) -> None:
    """Writes the quantized model; with its tensors in a file beside it where the source has one."""
    model = onnx_files.load(source.path)
    _check_opset(parameters, model)
    folder = source.path.parent
    external = any(t.data_location == t.EXTERNAL for t in onnx_files.all_tensors(model))
    if parameters.is_static:
        del model
        made: Any = quantize_static(parameters, calibrate(parameters, source, work), work)
    elif parameters.scheme == "float16":
        del model
        made = to_float16(parameters, source, work)
    else:
        rewrite(model, parameters, folder)
        made = model
    save(made, folder, work.output, external=external)


def verify(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where the result is not what the scheme says; notes what stayed float."""
    prove(parameters, source, result, work)


def _check_opset(parameters: Parameters, model: Any) -> None:
    found = opset(model)
    wanted = _PER_CHANNEL_OPSET if parameters.per_channel else _LEAST_OPSET
    if found < wanted and parameters.scheme != "float16":
        what = "one scale for each channel" if found >= _LEAST_OPSET else parameters.scheme
        raise UsageError(
            f"quantize: the model has opset {found}, and {what} needs {wanted}",
            hint="export it again with opset 17, or per_channel = false"
            if found >= _LEAST_OPSET
            else "export it again with opset 17",
        )
