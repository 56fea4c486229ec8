"""One layer of Keras 3 or tf_keras, made anew in the other from its configuration."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from edgekit.frameworks._bridge_values import (
    PACKAGE,
    Library,
    NoCounterpartError,
    constructor_parameters,
    library,
    translate,
)

__all__ = ["copy_trainable", "copy_weights", "counterpart"]

_BASE = frozenset({"name", "dtype"})
_NOT_CARRIED = frozenset({"Lambda", "SpectralNormalization"})
"""Code without a configuration; a layer that keeps weights of other shapes in each library."""
_TYPES: Mapping[tuple[Library, str], str] = {("keras", "ThresholdedReLU"): "ReLU"}
_RENAMED: Mapping[tuple[Library, str, str], str] = {
    ("tf_keras", "LeakyReLU", "negative_slope"): "alpha",
    ("keras", "LeakyReLU", "alpha"): "negative_slope",
    ("keras", "ThresholdedReLU", "theta"): "threshold",
}
_MEANINGLESS = frozenset(
    {"batch_input_shape", "input_dim", "input_length", "dynamic", "unroll", "implementation"}
    | {"zero_output_for_mask", "use_cudnn", "flash_attention", "time_major", "synchronized"}
    | {
        "autocast",
        "rng_type",
        "force_generator",
        "quantization_config",
        "lora_rank",
        "lora_alpha",
        "trainable",
    }
)
"""Options about how a layer is computed or was built, not about what."""


def counterpart(layer: Any, target: Library, name: str) -> Any:
    """A new layer of `target` of the same type, options and name; its weights come later.

    Raises:
        NoCounterpartError: `target` has no such type, or not that option.
    """
    config = {**layer.get_config(), "name": name}
    if type(layer).__name__ == "BatchNormalization" and target == "keras":
        config |= _batch_norm(layer)
    return _make(type(layer), config, target)


def _batch_norm(layer: Any) -> dict[str, Any]:
    """What Keras 3 calls otherwise in tf_keras's BatchNormalization."""
    axis = list(layer.axis) if hasattr(layer.axis, "__iter__") else [layer.axis]
    if len(axis) > 1 or layer.renorm:
        raise NoCounterpartError("batch normalization over several axes or with renorm")
    return {"axis": axis[0]}


def _make(source: type, config: Mapping[str, Any], target: Library) -> Any:
    kind = _class(source, target)
    accepted, known = constructor_parameters(kind), constructor_parameters(source)
    made: dict[str, Any] = {}
    for key, value in config.items():
        renamed = _RENAMED.get((target, source.__name__, key), key)
        if renamed in accepted or renamed in _BASE:
            made[renamed] = _value(key, value, source, target)
        elif key in known and _has_meaning(key) and not _is_default(value, known[key]):
            raise NoCounterpartError(f"its option {key} = {value!r}")
    return kind(**made)


def _value(key: str, value: Any, source: type, target: Library) -> Any:
    """Options that are layers or cells themselves are made anew too."""
    if isinstance(value, Mapping) and key.rpartition("_")[2] in ("layer", "cell"):
        inner = _layer_class(source, value)
        return _make(inner, value["config"], target)
    if key == "cells" and isinstance(value, (list, tuple)):
        return [_make(_layer_class(source, each), each["config"], target) for each in value]
    return translate(key, value, target)


def _layer_class(beside: type, value: Mapping[str, Any]) -> type:
    """The class that a wrapper's configuration names, of the library that the wrapper is from."""
    own = library("tf_keras" if beside.__module__.startswith("tf_keras.") else "keras")
    kind = str(value["class_name"]).rpartition(">")[2]
    found: type | None = getattr(own.layers, kind, None)
    if found is None:
        raise NoCounterpartError(f"the type '{kind}' inside it")
    return found


def _class(source: type, target: Library) -> type:
    """The public layer of that name, or the private one of an application model (ConvNeXt)."""
    name = _TYPES.get((target, source.__name__), source.__name__)
    found: type | None = getattr(library(target).layers, name, None)
    package, _, rest = source.__module__.partition(".src.")
    if found is None and package in ("keras", "tf_keras") and rest.startswith("applications."):
        module = importlib.import_module(f"{target}.src.{rest}")
        found = getattr(module, source.__name__, None)
        if found is not None and target == "tf_keras":  # or no model that holds it can be cloned
            library(target).utils.register_keras_serializable(PACKAGE)(found)
    if found is None or package not in ("keras", "tf_keras") or source.__name__ in _NOT_CARRIED:
        raise NoCounterpartError(f"the type '{source.__name__}'")
    return found


def _has_meaning(key: str) -> bool:
    """False for what does not matter once the weights are copied."""
    return key not in _MEANINGLESS and not key.endswith("initializer")


def _is_default(value: Any, default: Any) -> bool:
    same = list(value) == list(default) if _are_sequences(value, default) else value == default
    return value is None or same or value == "channels_last"


def _are_sequences(*values: Any) -> bool:
    return all(isinstance(value, (list, tuple)) for value in values)


def copy_trainable(source: Any, target: Any) -> None:
    """Freezes in the layer what is frozen in the one it was made for, inside wrappers too."""
    target.trainable = source.trainable
    for inner in ("layer", "cell", "forward_layer", "backward_layer"):
        if hasattr(source, inner) and hasattr(target, inner):
            copy_trainable(getattr(source, inner), getattr(target, inner))


def copy_weights(source: Any, target: Any) -> None:
    """Copies all weights of a built layer into the one that was made for it.

    Raises:
        NoCounterpartError: they keep their weights in different forms.
    """
    values, wanted = source.get_weights(), target.get_weights()
    if [value.shape for value in values] != [value.shape for value in wanted]:
        raise NoCounterpartError("its weights, which have other shapes there")
    target.set_weights(values)
    if hasattr(target, "finalize_state"):  # Normalization computes with a copy of its weights.
        target.finalize_state()
