"""Real values in, real values out: between data and a model's own dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Quantization, Signature, TensorSpec
from edgekit.core.runner import Session
from edgekit.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from edgekit.core.data import Array

__all__ = ["dequantize_array", "model_inputs", "quantize_array", "real_outputs"]

_CHUNK = 256


def real_outputs(session: Session, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """Runs model-ready real inputs (N, ...) and returns real outputs (N, ...) in float32.

    Samples go through in chunks, so that the converted copies stay small whatever N is.

    Raises:
        UsageError: an input has NaN where the model takes integers, or the model cannot run it.
    """
    import numpy as np

    specs = session.signature.outputs
    count = len(inputs[0])
    outputs: list[Array] = []
    for start in range(0, count, _CHUNK):
        chunk = tuple(array[start : start + _CHUNK] for array in inputs)
        found = session.run(model_inputs(session.signature, chunk))
        real = [dequantize_array(a, spec) for a, spec in zip(found, specs, strict=True)]
        if len(real[0]) == count:
            return tuple(real)
        if not outputs:
            outputs = [np.empty((count, *array.shape[1:]), np.float32) for array in real]
        for whole, part in zip(outputs, real, strict=True):
            if whole.shape[1:] != part.shape[1:]:
                raise UsageError("the outputs of the model change their shape with their input")
            whole[start : start + len(part)] = part
    return tuple(outputs)


def model_inputs(signature: Signature, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """Real inputs in the model's own dtypes.

    Raises:
        UsageError: another number of inputs than the model has, or NaN for an integer input.
    """
    if len(inputs) != len(signature.inputs):
        raise UsageError(f"the model takes {len(signature.inputs)} inputs, not {len(inputs)}")
    return tuple(
        quantize_array(array, spec) for array, spec in zip(inputs, signature.inputs, strict=True)
    )


def quantize_array(values: Array, spec: TensorSpec) -> Array:
    """Converts real values to a tensor's dtype; returns `values` itself where it has it already.

    stored = round(real / scale) + zero_point, clipped to the dtype. Ties go to the even number, as
    in XNNPACK's own conversion. An integer tensor without quantization (indices, raw bytes) takes
    the rounded values.

    Raises:
        UsageError: NaN, which no integer can stand for.
    """
    import numpy as np

    dtype = np.dtype(spec.dtype)
    if dtype.kind not in "iu":
        return np.ascontiguousarray(values, dtype)
    if spec.quantization is None and values.dtype.kind in "iub":
        bounds = np.iinfo(dtype)
        return np.clip(values, bounds.min, bounds.max).astype(dtype)
    if values.dtype.kind == "f" and np.isnan(np.min(values, initial=0)):
        raise UsageError(
            f"the input '{spec.name}' has {int(np.isnan(values).sum())} values that are NaN",
            hint=f"the model stores this input as {spec.dtype}, which has no NaN: clean the data",
        )
    return _rounded(values, spec.quantization or Quantization(1.0, 0), dtype)


def dequantize_array(stored: Array, spec: TensorSpec) -> Array:
    """Converts a tensor to real values in float32: scale * (stored - zero_point)."""
    import numpy as np

    if stored.dtype.kind not in "iufb":
        raise UsageError(f"the output '{spec.name}' is {stored.dtype}, which is not a number")
    if spec.quantization is None or stored.dtype.kind == "f":
        return np.asarray(stored, np.float32)
    real = stored.astype(np.float32)
    real -= np.float32(spec.quantization.zero_point)
    real *= np.float32(spec.quantization.scale)
    return real


def _rounded(values: Array, quantization: Quantization, dtype: np.dtype[np.integer[Any]]) -> Array:
    import numpy as np

    # float32 holds every integer of 8 and 16 bits exactly; wider ones need float64.
    work = np.float32 if dtype.itemsize <= 2 else np.float64
    bounds = np.iinfo(dtype)
    scaled = np.divide(values, work(quantization.scale), dtype=work)
    np.rint(scaled, out=scaled)
    scaled += work(quantization.zero_point)
    highest = work(bounds.max)
    if int(highest) > bounds.max:  # 2**63 - 1 is no float64, and what it rounds to is too large.
        highest = np.nextafter(highest, work(0))
    np.clip(scaled, bounds.min, highest, out=scaled)
    return scaled.astype(dtype)
