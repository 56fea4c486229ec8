"""Which normalization goes into which layer, and the weights that come out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.frameworks.layer_graph import Call, LayerGraph, layer_graph
from edgekit.frameworks.layer_weights import LayerWeights, activation_of, has_channels, why_not
from edgekit.frameworks.rebuild import rebuild

if TYPE_CHECKING:
    from edgekit.frameworks.layer_weights import Floats

__all__ = ["Fold", "Plan", "fold", "make_plan"]

_DROPOUTS = frozenset(
    {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout"}
    | {"GaussianDropout", "GaussianNoise", "ActivityRegularization"}
)
"""Layers that pass their input on at inference."""


@dataclass(frozen=True, eq=False)
class Fold:
    """A normalization, and the layer whose weights take it in."""

    norm: Any
    into: Any
    forward: bool


@dataclass(frozen=True, eq=False)
class Plan:
    """What folds, and what stays: (layer, reason) pairs."""

    folds: tuple[Fold, ...]
    left: tuple[tuple[Any, str], ...]

    @property
    def norms(self) -> tuple[Any, ...]:
        """All normalizations of the model."""
        return (*(each.norm for each in self.folds), *(layer for layer, _ in self.left))


def make_plan(model: Any) -> Plan:
    """Looks at layers only: the plan of a model is the same before and after training."""
    graph = layer_graph(model)
    gone: set[str] = set()
    folds, left = [], []
    for layer in dict.fromkeys(call.layer for call in graph.calls):
        if type(layer).__name__ != "BatchNormalization":
            continue
        found = _fold_of(graph, layer, gone)
        if isinstance(found, Fold):
            folds.append(found)
            gone.add(layer.name)
        else:
            left.append((layer, found))
    return Plan(tuple(folds), tuple(left))


def _fold_of(graph: LayerGraph, norm: Any, gone: set[str]) -> Fold | str:
    """The fold of one normalization, or the reason why there is none."""
    calls = graph.calls_of(norm)
    if len(calls) > 1:
        return f"it is used {len(calls)} times"
    axes = norm.axis if isinstance(norm.axis, (list, tuple)) else [norm.axis]
    if list(axes) not in ([-1], [len(norm.input.shape) - 1]):
        return f"it normalizes axis {norm.axis}, not the last"
    behind, reason = _layer_before(graph, calls[0], gone)
    if behind is not None:
        return Fold(norm, behind, forward=False)
    ahead = _layer_after(graph, calls[0])
    return reason if ahead is None else Fold(norm, ahead, forward=True)


def _layer_before(graph: LayerGraph, call: Call, gone: set[str]) -> tuple[Any, str]:
    """The layer that a normalization folds backward into, or None with the reason."""
    made = graph.maker(call.inputs[0])
    while made is not None:
        if graph.only_user(made) is None:
            return None, f"the output of '{made.layer.name}', its input, is used elsewhere too"
        if not _passes_on(made.layer, gone):
            break
        made = graph.maker(made.inputs[0])
    if made is None:
        return None, "its input is an input of the model"
    reason = _refusal(graph, made.layer)
    if not reason and activation_of(made.layer) != "linear":
        reason = f"the activation {activation_of(made.layer)} of '{made.layer.name}' is between"
    return (None, reason) if reason else (made.layer, "")


def _passes_on(layer: Any, gone: set[str]) -> bool:
    linear = type(layer).__name__ == "Activation" and activation_of(layer) == "linear"
    return linear or type(layer).__name__ in _DROPOUTS or layer.name in gone


def _refusal(graph: LayerGraph, layer: Any) -> str:
    reason = why_not(layer)
    if reason:
        return f"{reason}, which it could go into" if has_channels(layer) else f"{reason} before it"
    count = len(graph.calls_of(layer))
    return f"'{layer.name}', which it could go into, is used {count} times" if count > 1 else ""


def _layer_after(graph: LayerGraph, call: Call) -> Any:
    """The layer that a normalization folds forward into, or None."""
    user = graph.only_user(call)
    while user is not None and _passes_on(user.layer, set()):
        user = graph.only_user(user)
    if user is None or _refusal(graph, user.layer) or "Transpose" in type(user.layer).__name__:
        return None
    kernel = getattr(user.layer, "kernel_size", (1,))
    padded = getattr(user.layer, "padding", "valid") != "valid" and set(kernel) != {1}
    return None if padded else user.layer


def fold(model: Any, plan: Plan) -> Any:
    """A new model with the plan carried out."""
    weights: dict[str, LayerWeights] = {}
    for each in plan.folds:
        held = weights.setdefault(each.into.name, LayerWeights(each.into))
        factors, shifts = _affine(each.norm)
        if each.forward:
            # Before the factors: the layer sees factor * x + shift, and its weights are of that.
            held.shift_inputs(shifts)
            held.scale_inputs(factors)
        else:
            held.scale_outputs(factors, shifts)
    configs: dict[str, Any] = {name: held.config() for name, held in weights.items()}
    made = rebuild(model, {**configs, **{each.norm.name: None for each in plan.folds}})
    for name, held in weights.items():
        held.store(made.get_layer(name))
    return made


def _affine(norm: Any) -> tuple[Floats, Floats]:
    """What a normalization does at inference: factor * x + shift, by channel."""
    import numpy as np

    mean = np.asarray(norm.moving_mean, np.float64)
    factors = 1 / np.sqrt(np.asarray(norm.moving_variance, np.float64) + norm.epsilon)
    if norm.scale:
        factors = factors * np.asarray(norm.gamma, np.float64)
    shifts = -mean * factors
    if norm.center:
        shifts = shifts + np.asarray(norm.beta, np.float64)
    return factors, shifts
