"""What each Keras layer does with channels: makes, reads, keeps, joins or repeats them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.frameworks._channel_labels import Labels, Vector

__all__ = ["BlockedError", "Call", "Layer", "rule_for"]

Shape = tuple[int | None, ...]

_ELEMENTWISE = frozenset(
    name
    for names in (
        "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear",
        "log_sigmoid mish relu relu6 selu sigmoid silu soft_shrink softplus softsign sparse_plus",
        "sparse_sigmoid squareplus tanh tanh_shrink",
    )
    for name in names.split()
)


class BlockedError(Exception):
    """No rule holds for this call; the text is the reason."""


@dataclass
class Layer:
    """How the channels run through one layer.

    Attributes:
        layer: the Keras layer.
        weights: by (weight's index, axis), the channels along that axis.
        makes: the channels that it makes, in the order of its output; None where it makes none.
        filters: the (weight, axis) along which `makes` lie.
        config: by config key, the channels that it counts.
        positions: how many positions its kernels visit, over all its calls; None where unknown.
    """

    layer: Any
    weights: dict[tuple[int, int], Vector] = field(default_factory=dict)
    makes: Vector | None = None
    filters: tuple[tuple[int, int], ...] = ()
    config: dict[str, Vector] = field(default_factory=dict)
    positions: int | None = 0

    @property
    def kind(self) -> str:
        """The name of its class."""
        return type(self.layer).__name__

    @property
    def weight_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of its weights; an operation of `keras.ops` has none."""
        return [tuple(weight.shape) for weight in getattr(self.layer, "weights", ())]


@dataclass
class Call:
    """One call of a layer: channels and sample shapes of its inputs, and its other arguments."""

    held: Layer
    labels: Labels
    inputs: list[Vector]
    shapes: list[Shape]
    output: Shape
    constants: list[Any]

    @property
    def layer(self) -> Any:
        return self.held.layer

    def read(self, weight: int, axis: int, channels: Vector) -> None:
        """These channels lie along the axis of a weight; those of all calls become the same."""
        assert self.held.weight_shapes[weight][axis] == len(channels), self.held
        before = self.held.weights.setdefault((weight, axis), channels)
        if before is not channels:
            self.labels.unite(before, channels)

    def count(self, key: str, channels: Vector) -> None:
        """A value of the config is the number of these channels."""
        before = self.held.config.setdefault(key, channels)
        if len(before) != len(channels):
            raise BlockedError(f"{self.held.kind}: its calls have different widths")
        self.labels.unite(before, channels)

    def make(self, key: str, *filters: tuple[int, int]) -> Vector:
        """The channels that this layer makes, the same at each of its calls."""
        held = self.held
        if held.makes is None:
            held.filters = filters
            held.makes = self.labels.fresh(int(getattr(self.layer, key)))
            held.config[key] = held.makes
            for weight, axis in filters:
                self.read(weight, axis, held.makes)
            reason = _mixing(getattr(self.layer, "activation", None))
            if reason:
                self.labels.pin(held.makes, reason)
        return held.makes


Rule = Callable[[Call], "Vector"]


def rule_for(layer: Any) -> Rule:
    """The rule of a layer's type.

    Raises:
        BlockedError: there is none, or the layer works on another axis than the last.
    """
    kind, module = type(layer).__name__, type(layer).__module__
    rules = _OPERATIONS if module.startswith("keras.src.ops.") else _RULES
    if not module.startswith("keras.") or kind not in rules:
        raise BlockedError(f"{kind} has no rule for its channels")
    if getattr(layer, "data_format", None) == "channels_first":
        raise BlockedError(f"{kind} has its channels first")
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        raise BlockedError(f"{kind} is quantized or has LoRA weights")
    return rules[kind]


def _mixing(activation: Any) -> str:
    """Why an activation needs all its channels; '' where it looks at each alone."""
    name = getattr(activation, "__name__", type(activation).__name__)
    return "" if activation is None or name in _ELEMENTWISE else f"activation {name} mixes channels"


def _bias(call: Call, weight: int) -> tuple[tuple[int, int], ...]:
    return ((weight, 0),) if call.layer.use_bias else ()


def _dense(call: Call) -> Vector:
    made = call.make("units", (0, 1), *_bias(call, 1))
    call.read(0, 0, call.inputs[0])
    return made


def _conv(call: Call) -> Vector:
    if call.layer.groups != 1:
        raise BlockedError(f"{call.held.kind} has {call.layer.groups} groups of channels")
    last = len(call.layer.weights[0].shape) - 1
    made = call.make("filters", (0, last), *_bias(call, 1))
    call.read(0, last - 1, call.inputs[0])
    return made


def _transposed(call: Call) -> Vector:
    last = len(call.layer.weights[0].shape) - 1
    made = call.make("filters", (0, last - 1), *_bias(call, 1))
    call.read(0, last, call.inputs[0])
    return made


def _separable(call: Call) -> Vector:
    import numpy as np

    last = len(call.layer.weights[0].shape) - 1
    made = call.make("filters", (1, last), *_bias(call, 2))
    call.read(0, last - 1, call.inputs[0])
    call.read(1, last - 1, np.repeat(call.inputs[0], call.layer.depth_multiplier))
    return made


def _depthwise(call: Call) -> Vector:
    import numpy as np

    if _mixing(call.layer.activation):
        raise BlockedError(_mixing(call.layer.activation))
    made: Vector = np.repeat(call.inputs[0], call.layer.depth_multiplier)
    call.read(0, len(call.layer.weights[0].shape) - 2, call.inputs[0])
    if call.layer.use_bias:
        call.read(1, 0, made)
    return made


def _norm(call: Call) -> Vector:
    axis = call.layer.axis
    axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    if axes not in ([-1], [len(call.shapes[0])]):
        raise BlockedError("BatchNormalization is along another axis than the last")
    for weight in range(len(call.layer.weights)):
        call.read(weight, 0, call.inputs[0])
    return call.inputs[0]


def _prelu(call: Call) -> Vector:
    shape = call.layer.weights[0].shape
    if shape[-1] != 1:
        call.read(0, len(shape) - 1, call.inputs[0])
    return call.inputs[0]


def _same(call: Call) -> Vector:
    return call.inputs[0]


def _activation(call: Call) -> Vector:
    reason = _mixing(call.layer.activation)
    if reason:
        raise BlockedError(reason)
    return call.inputs[0]


def _rescaling(call: Call) -> Vector:
    import numpy as np

    if np.ndim(call.layer.scale) or np.ndim(call.layer.offset):
        raise BlockedError("Rescaling has a value for each channel")
    return call.inputs[0]


def _merge(call: Call) -> Vector:
    """Place by place; an input with one channel is spread over those of the others."""
    widest = max(call.inputs, key=len)
    for channels in call.inputs:
        if len(channels) == len(widest):
            call.labels.unite(widest, channels)
        else:
            call.labels.pin(channels, f"{call.held.kind} spreads it over {len(widest)} channels")
    return widest


def _concatenate(call: Call) -> Vector:
    import numpy as np

    if call.layer.axis not in (-1, len(call.output)):
        return _merge(call)
    return np.concatenate(call.inputs)


def _reshape(call: Call) -> Vector:
    """Follows each value to its new place; the last axis must hold the same channels all over."""
    import numpy as np

    if None in call.shapes[0] or None in call.output:
        raise BlockedError(f"{call.held.kind} of a size that is not known")
    places = np.broadcast_to(call.inputs[0], [size or 1 for size in call.shapes[0]])
    rows = places.reshape(-1, call.output[-1] or 1)
    if (rows != rows[0]).any():
        raise BlockedError(f"{call.held.kind} mixes channels with other axes")
    if call.held.kind == "Reshape":
        call.count("target_shape", rows[0])
    return np.array(rows[0])


def _operation(call: Call) -> Vector:
    """An operation of `keras.ops` that looks at each value alone, with numbers beside tensors."""
    if not all(isinstance(value, (int, float, str, type(None))) for value in call.constants):
        raise BlockedError(f"{call.held.kind} has an array among its arguments")
    return _merge(call)


_NUMBERS = ("1D", "2D", "3D")


def _each(names: str, rule: Rule) -> dict[str, Rule]:
    """One rule for `names`; a `#` in a name stands for the dimensions."""
    return {name.replace("#", n): rule for name in names.split() for n in _NUMBERS}


_RULES: dict[str, Rule] = {
    "Dense": _dense,
    "BatchNormalization": _norm,
    "PReLU": _prelu,
    "Activation": _activation,
    "Rescaling": _rescaling,
    "Concatenate": _concatenate,
    **_each("Conv#", _conv),
    **_each("Conv#Transpose", _transposed),
    **_each("SeparableConv#", _separable),
    **_each("DepthwiseConv#", _depthwise),
    **_each("Flatten Reshape", _reshape),
    **_each("Add Average Maximum Minimum Multiply Subtract", _merge),
    **_each("ReLU LeakyReLU ELU Identity ActivityRegularization", _same),
    **_each("Dropout AlphaDropout GaussianDropout GaussianNoise SpatialDropout#", _same),
    **_each("MaxPooling# AveragePooling# GlobalMaxPooling# GlobalAveragePooling#", _same),
    **_each("ZeroPadding# Cropping# UpSampling# Resizing", _same),
}
_OPERATIONS: dict[str, Rule] = {
    **_each("Add Subtract Multiply Maximum Minimum", _operation),
    **_each("Relu Relu6 LeakyRelu Elu Gelu Sigmoid HardSigmoid Silu HardSilu Tanh", _operation),
}
