"""Decides, layer by layer, what is fake-quantized: kernels, outputs, and what goes along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

__all__ = ["LayerPlan", "Scales", "plan_layers"]

Scales = Literal["", "channel", "tensor", "equal"]
"""How a kernel is scaled. `equal` is one scale, held once for each channel: TFLiteConverter folds
a BatchNormalization into the scales only where there is one for each."""

_KERNELS = {
    "Conv1D": "kernel",
    "Conv2D": "kernel",
    "Conv2DTranspose": "kernel",
    "Dense": "kernel",
    "DepthwiseConv2D": "depthwise_kernel",
}
_FOLDING = frozenset({"Conv2D", "DepthwiseConv2D"})
"""Layers whose weights take a BatchNormalization in."""

_THROUGH = frozenset(
    {"InputLayer", "Flatten", "Reshape", "Permute", "Dropout", "SpatialDropout1D"}
    | {"SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization"}
    | {"ZeroPadding1D", "ZeroPadding2D", "Cropping1D", "Cropping2D"}
    | {"MaxPooling1D", "MaxPooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D"}
    | {"AveragePooling1D", "AveragePooling2D", "UpSampling1D", "UpSampling2D"}
)
"""Layers whose 8-bit op has one range for what goes in and what comes out."""

_PAIRS = frozenset({"Add", "Subtract", "Multiply", "Maximum", "Minimum"})
_COMPUTING = frozenset(
    {"Concatenate", "ReLU", "LeakyReLU", "GlobalAveragePooling1D", "GlobalAveragePooling2D"}
)
_FIXED = frozenset({"softmax", "sigmoid", "tanh"})
"""Activations whose output range TensorFlow Lite fixes by itself."""
_CLAMPS = frozenset({"relu", "relu6"})
"""Activations that an op has built in."""
_SINGLE = frozenset({"gelu", "hard_silu", "leaky_relu", "swish", "silu"}) | _CLAMPS
"""Activations with an 8-bit form."""


@dataclass(frozen=True)
class LayerPlan:
    """What becomes of one layer.

    `kernel` is the attribute that is quantized, '' for none. `inner` is true where the layer's
    activation is quantized before and (but for fixed ranges) after; `output` where what the layer
    gives is. `reason` says why the layer stays float, '' where it does not; `asked` is true where
    the user's `skip` says so. `unclustered` is true for a kernel whose clusters are lost
    already: what equal weights it has left are not kept.
    """

    name: str
    kind: str
    kernel: str = ""
    scales: Scales = ""
    inner: bool = False
    output: bool = False
    reason: str = ""
    asked: bool = False
    unclustered: bool = False

    @property
    def item(self) -> str:
        """`Conv2D 'name'`, as notes have it."""
        return f"{self.kind} '{self.name}'"


@dataclass(frozen=True, eq=False)
class _Graph:
    """Layers of a functional tf_keras model by name, who feeds whom, and which give an output."""

    layers: Mapping[str, Any]
    before: Mapping[str, tuple[str, ...]]
    after: Mapping[str, tuple[str, ...]]
    outputs: frozenset[str]

    def only_after(self, name: str) -> str:
        """The one layer that a layer feeds, '' where there are others or it is an output."""
        after = self.after[name]
        return after[0] if len(after) == 1 and name not in self.outputs else ""


def plan_layers(model: Any, *, per_channel: bool, skip: tuple[str, ...]) -> tuple[LayerPlan, ...]:
    """Plans every layer of a functional tf_keras model without nested ones."""
    graph = _graph(model)
    plans = {name: _alone(layer) for name, layer in graph.layers.items()}
    folded = {name: _kernel_below(graph, name) for name in plans}
    for name, plan in plans.items():
        matched = any(fnmatchcase(name, pattern) for pattern in skip)
        if matched and plan.kind != "InputLayer":
            plans[name] = _float(plan, "stays float, as skip says", asked=True)
        elif plan.kind == "BatchNormalization":
            plans[name] = _plan_norm(plan, plans.get(folded[name]))
    for name, plan in plans.items():
        plans[name] = _with_output(graph, plans, plan)
        if plan.kernel:
            has_norm = folded.get(graph.only_after(name)) == name
            plans[name] = replace(plans[name], scales=_scales(plan, per_channel, has_norm))
    return tuple(plans.values())


def _graph(model: Any) -> _Graph:
    layers = {layer.name: layer for layer in model.layers}
    before: dict[str, list[str]] = {name: [] for name in layers}
    after: dict[str, list[str]] = {name: [] for name in layers}
    for nodes in model._nodes_by_depth.values():
        for node in nodes:
            for tensor in node.keras_inputs:
                source = tensor._keras_history.layer.name
                before[node.layer.name].append(source)
                after[source].append(node.layer.name)
    return _Graph(
        layers,
        {name: tuple(names) for name, names in before.items()},
        {name: tuple(names) for name, names in after.items()},
        frozenset(tensor._keras_history.layer.name for tensor in model.outputs),
    )


def _alone(layer: Any) -> LayerPlan:
    """What a layer's type and settings say, whatever is around it."""
    kind = type(layer).__name__
    plan = LayerPlan(layer.name, kind)
    inputs = len(layer.input) if isinstance(getattr(layer, "input", None), (list, tuple)) else 1
    if kind in _KERNELS:
        return _plan_kernel(layer, plan)
    if kind == "Activation":
        return _plan_activation(plan, _activation(layer))
    if kind == "Softmax":
        return plan
    if kind in _PAIRS:
        if inputs > 2:
            return _float(plan, f"it has {inputs} inputs, and the 8-bit op takes two")
        return replace(plan, output=True)
    if kind in _COMPUTING:
        return replace(plan, output=True)
    if kind in _THROUGH or kind == "BatchNormalization":
        return plan
    return _float(plan, f"there is no 8-bit form of a {kind} layer")


def _plan_kernel(layer: Any, plan: LayerPlan) -> LayerPlan:
    activation = _activation(layer)
    known = activation == "linear" or activation in _SINGLE | _FIXED
    if not known:
        return _float(plan, f"there is no 8-bit form of its activation '{activation}'")
    if plan.kind == "DepthwiseConv2D" and layer.depth_multiplier != 1:
        reason = f"its depth multiplier is {layer.depth_multiplier}, and only 1 can be quantized"
        return _float(plan, reason)
    inner = activation not in _CLAMPS | {"linear"}
    return replace(plan, kernel=_KERNELS[plan.kind], inner=inner, output=not inner)


def _plan_activation(plan: LayerPlan, activation: str) -> LayerPlan:
    if activation in _FIXED or activation == "linear":
        return plan
    if activation in _SINGLE:
        return replace(plan, output=True)
    return _float(plan, f"there is no 8-bit form of the activation '{activation}'")


def _plan_norm(plan: LayerPlan, below: LayerPlan | None) -> LayerPlan:
    if below is None:
        reason = "it follows no linear layer alone into which it could be folded"
        return _float(plan, reason)
    if below.reason:
        return _float(plan, f"{below.item} in front of it stays float", asked=below.asked)
    return replace(plan, output=True)


def _kernel_below(graph: _Graph, name: str) -> str:
    """The layer that takes in a BatchNormalization, '' where there is none."""
    layer, before = graph.layers[name], graph.before[name]
    if type(layer).__name__ != "BatchNormalization" or len(before) != 1:
        return ""
    below = graph.layers[before[0]]
    fits = type(below).__name__ in _FOLDING and _activation(below) == "linear"
    return before[0] if fits and graph.only_after(before[0]) == name else ""


def _with_output(graph: _Graph, plans: Mapping[str, LayerPlan], plan: LayerPlan) -> LayerPlan:
    """Takes an output's quantization away where the next layer does it, and gives one to a float
    layer that feeds quantized ones."""
    after = [plans[name] for name in graph.after[plan.name]]
    if plan.reason:
        feeds = plan.name in graph.outputs or any(not other.reason for other in after)
        return replace(plan, output=feeds)
    follower = plans.get(graph.only_after(plan.name))
    if not plan.output or follower is None or follower.reason:
        return plan
    merges = follower.kind in ("BatchNormalization", "Concatenate") or (
        _is_clamp(graph.layers[follower.name]) and _can_clamp(graph, plan)
    )
    return replace(plan, output=not merges)


def _is_clamp(layer: Any) -> bool:
    """A layer that is a ReLU or ReLU6, which the op in front of it has built in."""
    if type(layer).__name__ == "ReLU":
        slope, threshold = float(layer.negative_slope), float(layer.threshold)
        limit = None if layer.max_value is None else float(layer.max_value)
        return slope == 0 and threshold == 0 and limit in (None, 6.0)
    return type(layer).__name__ == "Activation" and _activation(layer) in _CLAMPS


def _can_clamp(graph: _Graph, plan: LayerPlan) -> bool:
    linear = _activation(graph.layers[plan.name]) == "linear"
    return plan.kind in ("Add", "Subtract", "BatchNormalization") or bool(plan.kernel and linear)


def _scales(plan: LayerPlan, per_channel: bool, has_norm: bool) -> Scales:
    if plan.kind in ("Conv2D", "DepthwiseConv2D") and per_channel:
        return "channel"
    return "equal" if has_norm else "tensor"


def _activation(layer: Any) -> str:
    """The name of a layer's activation; 'linear' where it has none."""
    activation = getattr(layer, "activation", None)
    if activation is None:
        return "linear"
    name = str(getattr(activation, "__name__", type(activation).__name__))
    return name.removeprefix("keras_")  # the bridge's own, where tf_keras has none


def _float(plan: LayerPlan, reason: str, *, asked: bool = False) -> LayerPlan:
    return LayerPlan(plan.name, plan.kind, reason=reason, asked=asked)
