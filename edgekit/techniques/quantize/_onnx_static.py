"""Static int8 and int16x8: QuantizeLinear and DequantizeLinear around each op, by the engine.

Activations are uint8 with a zero point, weights int8 without one. Measured on one x86-64 CPU with
VNNI, interleaved: int8 activations gave the same outputs, and on a text detector took 1.3 times as
long (on a recogniser the spread was too wide to tell). Symmetric activations doubled the
recogniser's error. Weights of 7 bits (`reduce_range`), meant for CPUs without VNNI, raised both
errors by a third or more over 12 and 32 images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgekit.core.technique import Work
from edgekit.errors import PromiseError
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize._onnx_calibrated import Calibrated, quantizable, static_kinds
from edgekit.techniques.quantize._onnx_calibration import Span
from edgekit.techniques.quantize._onnx_model import (
    Visit,
    few_values,
    float_weights,
    require,
    visits,
)
from edgekit.techniques.quantize._onnx_quiet import promised, quiet
from edgekit.techniques.quantize._onnx_rewrite import rewrite
from edgekit.techniques.quantize._onnx_spared import (
    is_spared,
    read_floats,
    spared,
    without_removable,
)

__all__ = ["quantize_static"]

_SUMS = ("MatMul", "Gemm")
"""Ops whose kernels give their int32 sums as floats just as fast: rounding them to 8 bits costs
accuracy (of a 3-layer MiniLM 1.5 points against 0.1) and time, unless the next op wants it so."""

_INFER_KEY = "onnx.infer"
_WILD = 1e15
"""A range that wide stands for infinity: 256 steps of it tell nothing apart."""


def quantize_static(
    parameters: Parameters,
    calibrated: Calibrated,
    work: Work,
    only: tuple[str, ...] | None = None,
) -> Any:
    """The quantized model; with the ops named `only` alone where it is not None.

    Tables of Gather (embeddings) become int8 by row: the engine gives a table one scale. The ops
    of `weights_only` keep float activations.

    Raises:
        PromiseError: the engine cannot.
    """
    model = type(calibrated.model)()
    model.CopyFrom(calibrated.model)
    asked = [v for v in quantizable(model, parameters) if v.name not in calibrated.smoothed]
    wild = _wild(asked, calibrated.spans)
    if only is None:
        _note_wild(wild, work)
        _record_smoothing(calibrated, work)
    chosen = [v for v in asked if v.name not in wild and (only is None or v.name in only)]
    tables = [v.name for v in chosen if v.kind == "Gather" and float_weights(v)]
    small = {v.name for v in chosen if v.name in tables and few_values(v)}
    narrow = [v.name for v in spared(model, parameters) if only is None]
    floats = frozenset(v.name for v in visits(model) if is_spared(v, parameters))
    floats |= calibrated.smoothed
    names = [v.name for v in chosen if v.name not in tables]
    if len(chosen) == len(small) and not narrow:
        raise PromiseError(
            f"quantize: {parameters.scheme}: no op can be quantized",
            hint='scheme = "dynamic-int8" treats the weights alone',
        )
    if tables or narrow:
        rewrite(model, parameters, work.folder, only=(*tables, *narrow))
    names = without_removable(names, model, floats)
    if names:
        with quiet(work.folder):
            model = _by_engine(parameters, model, calibrated.spans, names)
        read_floats(model, floats)
    return _cleaned(model)


def _wild(asked: list[Visit], spans: Mapping[str, Span]) -> dict[str, Span]:
    """Ops with a tensor that no scale holds, an attention mask of -3.4e38 say, and its range."""
    found = {}
    for visit in asked:
        weights = float_weights(visit)
        if visit.kind == "Gather" and weights:
            continue
        for end in (*visit.node.input, *visit.node.output):
            tensor = visit.scope.get(end) if end not in weights else None
            low, high = spans.get(end, (0.0, 0.0)) if tensor is None else _extent(tensor)
            if not high - low < _WILD:
                found[visit.name] = (low, high)
    return found


def _extent(tensor: Any) -> Span:
    import numpy as np

    if tensor.data_type != tensor.FLOAT or not math.prod(tensor.dims):
        return 0.0, 0.0
    values = require("onnx.numpy_helper").to_array(tensor)
    return min(0.0, float(np.min(values))), max(0.0, float(np.max(values)))


def _note_wild(wild: Mapping[str, Span], work: Work) -> None:
    if wild:
        name = next(iter(wild))
        noun = "op" if len(wild) == 1 else "ops"
        reason = "a value of {:g} to {:g} leaves no steps for the others".format(*wild[name])
        work.note("left in float", f"{len(wild)} {noun}, '{name}' first", reason)


def _record_smoothing(calibrated: Calibrated, work: Work) -> None:
    if calibrated.smoothed:
        count = len(calibrated.smoothed)
        text = f"the float outputs differ by {calibrated.gap:.2g} of their largest value"
        work.evidence("smoothed", f"{count} input{'s' if count > 1 else ''} of products", text)


def _by_engine(
    parameters: Parameters, model: Any, spans: Mapping[str, Span], names: list[str]
) -> Any:
    import numpy as np

    quantization = require("onnxruntime.quantization")
    calibration = require("onnxruntime.quantization.calibrate")
    utilities = require("onnxruntime.quantization.quant_utils")
    is_wide = parameters.scheme == "int16x8"
    kind = quantization.QuantType
    data = {
        name: calibration.TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in spans.items()
        if high - low < _WILD
    }
    utilities.add_infer_metadata(model)
    engine = quantization.QDQQuantizer(
        model,
        parameters.per_channel,
        False,
        kind.QInt8,
        kind.QInt16 if is_wide else kind.QUInt8,
        calibration.TensorsData(quantization.CalibrationMethod.MinMax, data),
        names,
        [],
        sorted(static_kinds()),
        # int16 is in the standard from opset 21 on; the runtime's own form works in all.
        {
            "OpTypesToExcludeOutputQuantization": [*_SUMS],
            **({"UseQDQContribOps": True, "ActivationSymmetric": True} if is_wide else {}),
        },
    )
    with promised(parameters.scheme, "quantize the model"):
        engine.quantize_model()
        engine.model.topological_sort()
    return engine.model.model


def _cleaned(model: Any) -> Any:
    """Without the engine's own metadata; and without inferred types, which readers infer again
    where every op is a standard one."""
    kept = [item for item in model.metadata_props if item.key != _INFER_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    if all(node.domain in ("", "ai.onnx") for node in model.graph.node):
        del model.graph.value_info[:]
    return model
