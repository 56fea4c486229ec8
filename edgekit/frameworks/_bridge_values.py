"""What stands in a layer's configuration, made anew for the other Keras: activations and such."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

from edgekit.frameworks._quiet import import_keras, import_tf_keras

__all__ = [
    "PACKAGE",
    "Library",
    "NoCounterpartError",
    "activation",
    "constructor_parameters",
    "library",
    "translate",
]

Library = Literal["keras", "tf_keras"]

_SAME = frozenset(
    {"elu", "exponential", "gelu", "linear", "mish", "relu", "selu", "sigmoid", "softmax"}
    | {"softplus", "softsign", "tanh", "silu", "swish"}
)
"""Activations that mean the same in both. Not `hard_sigmoid`: a slope of 1/6 in Keras 3, of 0.2 in
tf_keras."""

PACKAGE = "edgekit"
"""Under which tf_keras knows the functions and layers of this bridge."""

_PREFIX = "keras_"


class NoCounterpartError(Exception):
    """Says, as the end of a sentence about a layer, what the other Keras has no counterpart of."""


def library(name: Library) -> Any:
    return import_keras("the bridge") if name == "keras" else import_tf_keras("the bridge")


def translate(key: str, value: Any, target: Library) -> Any:
    """The value of the option `key` for a constructor of `target`.

    Raises:
        NoCounterpartError: there is nothing of the same meaning there.
    """
    if key == "dtype":
        return _dtype(value)
    if key.endswith("activation"):
        return activation(value, target)
    if key.endswith("initializer"):
        return _object(value, "initializers", target, needed=False)
    if key.endswith("regularizer"):
        return _object(value, "regularizers", target, needed=True)
    if key.endswith("constraint"):
        return _object(value, "constraints", target, needed=True)
    return value


def activation(value: Any, target: Library) -> Any:
    """The activation of that name; Keras 3's own are carried as functions that tf_keras can save.

    Raises:
        NoCounterpartError: Keras 3 has none that computes the same, or it is no function of Keras.
    """
    if value is None:
        return None
    name = value if isinstance(value, str) else _function_name(value)
    if name in _SAME:
        return name
    if target == "tf_keras" and getattr(library("keras").activations, name, None) is not None:
        return _carried(name)
    if target == "keras" and name.startswith(f"{PACKAGE}>{_PREFIX}"):
        return name.removeprefix(f"{PACKAGE}>{_PREFIX}")
    if target == "keras" and name == "relu6":
        return name
    raise NoCounterpartError(f"its activation '{name}'")


def _carried(name: str) -> Callable[[Any], Any]:
    """Keras 3's activation on TensorFlow tensors, registered so that tf_keras can clone it."""
    tf_keras = import_tf_keras("the bridge")
    registered = tf_keras.utils.get_registered_object(f"{PACKAGE}>{_PREFIX}{name}")
    if registered is not None:
        return registered  # type: ignore[no-any-return]
    function = getattr(import_keras("the bridge").activations, name)

    def carried(x: Any) -> Any:
        return function(x)

    carried.__name__ = f"{_PREFIX}{name}"
    register = tf_keras.utils.register_keras_serializable(PACKAGE, f"{_PREFIX}{name}")
    return register(carried)  # type: ignore[no-any-return]


def _function_name(value: Any) -> str:
    if isinstance(value, dict):
        config = value.get("config")
        kind = config if isinstance(config, str) else value.get("class_name")
        return str(kind or "of the user's own")
    return str(getattr(value, "__name__", value))


def _dtype(value: Any) -> Any:
    """The name of a dtype policy.

    Raises:
        NoCounterpartError: it is a policy of quantized weights.
    """
    if not isinstance(value, dict):
        return value
    if value.get("class_name") not in ("DTypePolicy", "Policy"):
        raise NoCounterpartError(f"its dtype policy '{value.get('class_name')}'")
    return value["config"]["name"]


def _object(value: Any, family: str, target: Library, *, needed: bool) -> Any:
    """An initializer, regularizer or constraint; an unknown initializer is left to the default."""
    if not isinstance(value, dict):
        return value
    kind, config = str(value["class_name"]).rpartition(">")[2], value.get("config") or {}
    found = getattr(getattr(library(target), family), kind, None)
    if found is not None:
        known = constructor_parameters(found)
        return found(**{k: v for k, v in config.items() if k in known})
    if needed:
        raise NoCounterpartError(f"its {family[:-1]} '{kind}'")
    return None


def constructor_parameters(kind: type) -> dict[str, Any]:
    """Names and defaults of what a class can be constructed with, along `**kwargs` to its bases."""
    found: dict[str, Any] = {}
    for base in inspect.getmro(kind):
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                found.setdefault(parameter.name, parameter.default)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    found.pop("self", None)
    return found
