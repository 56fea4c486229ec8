"""The fake-quantized model: made, calibrated, and settled after training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgekit.frameworks.keras import import_tf_keras, quiet
from edgekit.techniques.quantize_aware_train._kernels import Kept, quotients
from edgekit.techniques.quantize_aware_train._plan import LayerPlan
from edgekit.techniques.quantize_aware_train._quantizers import engine, module

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = ["TrainedKernel", "calibrate", "fake_quantized", "ranges", "settle"]

_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class TrainedKernel:
    """A kernel after training, divided by its scales: the file has the nearest integers.

    `values` are in the layout of the Keras layer.
    """

    plan: LayerPlan
    kept: Kept
    values: NDArray[np.float64]


def fake_quantized(model: Any, plans: tuple[LayerPlan, ...]) -> Any:
    """Wraps a copy of a functional tf_keras model so that it rounds as the plans say."""
    keras, parts = import_tf_keras("quantize-aware-train"), engine()
    quantize = module("quantize")
    treated = {p.name: p for p in plans if not p.reason or p.output}

    def annotated(layer: Any) -> Any:
        if layer.name not in treated:
            return layer.__class__.from_config(layer.get_config())
        config = parts.Config(**asdict(treated[layer.name]))
        return quantize.quantize_annotate_layer(layer, config)

    with quiet(), keras.utils.custom_object_scope({"Config": parts.Config}):
        marked = keras.models.clone_model(model, clone_function=annotated)
        marked.set_weights(model.get_weights())
        made = quantize.quantize_apply(marked, parts.Scheme(), quantized_layer_name_prefix="")
    for layer in made.layers:
        if type(layer).__name__ == "QuantizeLayer":
            layer.quantizer = parts.Range(is_input=True)
            layer.quantizer_vars["min_var"].assign(0.0)
            layer.quantizer_vars["max_var"].assign(0.0)
        _freeze_statistics(getattr(layer, "layer", layer))
    _settle_ranges(made)
    return made


def _freeze_statistics(layer: Any) -> None:
    """Lets a BatchNormalization normalize by what it has learned, in training too.

    The file has them folded into the weights; scale and shift still learn.
    """
    if type(layer).__name__ != "BatchNormalization":
        return
    original = layer.call

    def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        return original(inputs, training=False)

    layer.call = call


def calibrate(model: Any, batches: Iterator[tuple[Array, ...]]) -> None:
    """Lets the ranges of the activations take in these inputs."""
    held = list(_ranges(model))
    for quantizer, _ in held:
        quantizer.calibrating = True
    for batch in batches:
        model(list(batch) if len(batch) > 1 else batch[0], training=False)
    for quantizer, variables in held:
        quantizer.calibrating = False
        low, high = variables["min_var"], variables["max_var"]
        if high.numpy() - low.numpy() < _TINY:
            high.assign(low.numpy() + 1.0)


def _ranges(model: Any) -> Iterator[tuple[Any, Any]]:
    """The quantizers of inputs and activations, and their variables."""
    for layer in model.layers:
        if type(layer).__name__ == "QuantizeLayer":
            yield layer.quantizer, layer.quantizer_vars
        for quantizer in getattr(layer, "_output_quantizers", ()):
            yield quantizer, layer._output_quantizer_vars
        for activation in getattr(layer, "_quantize_activations", ()):
            for name in ("_pre_activation_vars", "_post_activation_vars"):
                if hasattr(activation, name):
                    yield activation.quantizer, getattr(activation, name)


def ranges(model: Any) -> NDArray[np.float64]:
    """The range of each input and activation, a row (least, largest) for each."""
    import numpy as np

    ends = [
        (float(held["min_var"].numpy()), float(held["max_var"].numpy()))
        for _, held in _ranges(model)
    ]
    return np.array(ends, np.float64).reshape(-1, 2)


def _kernels(model: Any) -> Iterator[tuple[Any, Any, Any]]:
    """The variables of kernels, their quantizers, and the variables of these."""
    for layer in model.layers:
        yield from getattr(layer, "_weight_vars", ())


def _settle_ranges(model: Any) -> None:
    for variable, quantizer, held in _kernels(model):
        quantizer.settle(held, variable)


def settle(model: Any) -> list[TrainedKernel]:
    """Brings kernels and their ranges up to the last training step, and returns what they are.

    In training a range is that of the weights before the step.
    """
    import numpy as np

    made = []
    for variable, quantizer, held in _kernels(model):
        variable.assign(quantizer.keep(variable))
        quantizer.settle(held, variable)
        scales = np.asarray(held["max_var"].numpy(), np.float64) / 127
        if quantizer.plan.kind == "DepthwiseConv2D" and scales.ndim:
            scales = scales[:, None]
        values = quotients(variable.numpy(), scales)
        made.append(TrainedKernel(quantizer.plan, quantizer.kept, values))
    return made
