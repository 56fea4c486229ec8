"""What tensorflow-model-optimization's quantizers do here, and the plan it works by.

The classes of this file become subclasses of the engine's when it is first needed: importing it
takes seconds.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

from edgekit.frameworks.bridge import import_tfmot
from edgekit.frameworks.keras import import_tensorflow
from edgekit.techniques.quantize_aware_train._kernels import groups, kept_in
from edgekit.techniques.quantize_aware_train._plan import LayerPlan

__all__ = ["engine", "module"]

_MODULES = "tensorflow_model_optimization.python.core.quantization.keras"
_BITS = 8
_ALMOST_ONE = 1 - 2.0**-24


def module(name: str) -> Any:
    """A module of the engine's quantization."""
    import_tfmot("quantize-aware-train")
    return importlib.import_module(f"{_MODULES}.{name}")


@functools.cache
def engine() -> SimpleNamespace:
    """The classes `Config` (of a layer), `Range` (of activations), `Kernel` and `Scheme`."""
    quantizers = module("quantizers")
    scheme = module("default_8bit.default_8bit_quantize_scheme").Default8BitQuantizeScheme
    return SimpleNamespace(
        Config=type("Config", (_Config, module("quantize_config").QuantizeConfig), {}),
        Range=type("Range", (_Range, quantizers.MovingAverageQuantizer), {}),
        Kernel=type("Kernel", (_Kernel, quantizers.LastValueQuantizer), {}),
        Scheme=type("Scheme", (_Scheme, scheme), {}),
    )


class _Range:
    """Follows the range of an activation; while `calibrating` it takes in every value.

    The engine's own begins at -6 to 6 and needs thousands of steps to get away from there. The
    range of an input takes in every value in training too. `edge` is for what a float layer gives.
    """

    def __init__(self, *, is_input: bool = False, edge: bool = False) -> None:
        super().__init__(_BITS, False, False, False)  # type: ignore[call-arg]
        self.calibrating = False
        self._is_input, self._edge = is_input, edge

    def build(self, tensor_shape: Any, name: str, layer: Any) -> Any:
        return _limits(layer, name, None)

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        tf = import_tensorflow()
        if self._edge:
            # All but an identity, which the converter leaves in: without it, it would quantize
            # the float op in front together with this range.
            inputs = tf.nn.leaky_relu(inputs, alpha=_ALMOST_ONE)
        if self.calibrating or (training and self._is_input):
            low, high = weights["min_var"], weights["max_var"]
            low.assign(tf.minimum(low, tf.reduce_min(inputs)))
            high.assign(tf.maximum(high, tf.reduce_max(inputs)))
            training = False
        return super().__call__(inputs, training, weights, **kwargs)  # type: ignore[misc]


def _limits(layer: Any, name: str, shape: Any) -> dict[str, Any]:
    """The variables of a range; several replicas take the mean of theirs."""
    mean = import_tensorflow().VariableAggregation.MEAN
    return {
        f"{end}_var": layer.add_weight(
            f"{name}_{end}", shape=shape, initializer="zeros", trainable=False, aggregation=mean
        )
        for end in ("min", "max")
    }


class _Kernel:
    """Rounds a kernel to -127..127 of its largest weight, and keeps its zeros and clusters.

    Equal weights are replaced by their mean: they are equal and stay so, and each gets the mean of
    all their gradients.
    """

    def __init__(self, plan: LayerPlan) -> None:
        super().__init__(  # type: ignore[call-arg]
            _BITS, plan.scales in ("channel", "equal"), True, True
        )
        self.plan = plan

    def build(self, tensor_shape: Any, name: str, layer: Any) -> Any:
        tf = import_tensorflow()
        values = getattr(layer.layer, self.plan.kernel).numpy()
        self.kept = kept_in(values)
        if self.plan.unclustered:
            self.kept = replace(self.kept, clusters=False)
        self._groups = groups(values, self.kept)
        shape = self.limits(tf.constant(values)).shape
        return _limits(layer, name, shape)

    def keep(self, values: Any) -> Any:
        """The nearest kernel with these zeros and these equal weights."""
        tf = import_tensorflow()
        if self._groups is None:
            return values
        if self.kept.clusters:
            index = self._groups.reshape(-1)
            flat = tf.reshape(values, (-1,))
            means = tf.math.unsorted_segment_mean(flat, index, int(index.max()) + 1)
            values = tf.reshape(tf.gather(means, index), self._groups.shape)
        return values * (self._groups > 0).astype("float32")

    def limits(self, values: Any) -> Any:
        """The largest magnitude, of each channel or of the whole."""
        tf = import_tensorflow()
        size = tf.abs(self._channels_last(values))
        axes = list(range(len(size.shape) - 1)) if self.plan.scales == "channel" else None
        most = tf.reduce_max(size, axis=axes)
        most = tf.where(most > 0, most, 1.0)  # a channel of zeros needs some scale
        return tf.fill([size.shape[-1]], most) if self.plan.scales == "equal" else most

    def settle(self, weights: Any, values: Any) -> None:
        """Sets the range to that of these weights."""
        most = self.limits(values)
        weights["min_var"].assign(-most)
        weights["max_var"].assign(most)

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        tf = import_tensorflow()
        values = self.keep(inputs) if training else inputs
        if training:
            self.settle(weights, tf.stop_gradient(values))
        # The engine's own rounding, for a range that is already set.
        made = super().__call__(  # type: ignore[misc]
            self._channels_last(values), False, weights, **kwargs
        )
        return self._channels_last(made)

    def _channels_last(self, values: Any) -> Any:
        """Swaps the last two axes of a depthwise kernel: its channels are the last but one."""
        swapped = self.plan.kind == "DepthwiseConv2D" and self.plan.scales != "tensor"
        return import_tensorflow().transpose(values, (0, 1, 3, 2)) if swapped else values


class _Config:
    """What the engine does with one layer: exactly what its plan says."""

    def __init__(self, **plan: Any) -> None:
        self.plan = LayerPlan(**plan)

    def get_weights_and_quantizers(self, layer: Any) -> Any:
        if not self.plan.kernel:
            return []
        return [(getattr(layer, self.plan.kernel), engine().Kernel(self.plan))]

    def set_quantize_weights(self, layer: Any, quantize_weights: Any) -> None:
        for values in quantize_weights:
            setattr(layer, self.plan.kernel, values)

    def get_activations_and_quantizers(self, layer: Any) -> Any:
        return [(_known(layer.activation), engine().Range())] if self.plan.inner else []

    def set_quantize_activations(self, layer: Any, quantize_activations: Any) -> None:
        for activation in quantize_activations:
            layer.activation = activation

    def get_output_quantizers(self, layer: Any) -> Any:
        return [engine().Range(edge=bool(self.plan.reason))] if self.plan.output else []

    def get_config(self) -> Any:
        return asdict(self.plan)


def _known(activation: Any) -> Any:
    """An activation by a name that the engine knows: it quantizes `gelu` before and after."""
    if activation.__name__ in ("softmax", "sigmoid", "tanh"):
        return activation

    def gelu(values: Any) -> Any:
        return activation(values)

    return gelu


class _Scheme:
    """The default scheme without its rules by layer type, which would overrule a plan."""

    def get_layout_transformer(self) -> Any:
        return _Layout()

    def get_quantize_registry(self) -> Any:
        return _Registry()


class _Layout:
    """Quantizes the inputs, and leaves all else to the plan."""

    def apply(self, model: Any, quantized: Any) -> Any:
        transformer = module("graph_transformations.model_transformer").ModelTransformer
        return transformer(model, [_named_inputs()], set(quantized), quantized).transform()


def _named_inputs() -> Any:
    """The engine's rule for inputs, with layer names that do not count up in a process."""
    base: Any = module("default_8bit.default_8bit_transforms").InputLayerQuantize

    class NamedInputs(base):  # type: ignore[misc]
        def replacement(self, match_layer: Any) -> Any:
            made = super().replacement(match_layer)
            name = f"{match_layer.layer['config']['name']}_quantized"
            made.layer["name"] = made.layer["config"]["name"] = name
            return made

    return NamedInputs()


class _Registry:
    """Knows no layer: the engine treats only what has a plan."""

    def supports(self, layer: Any) -> bool:
        return False
