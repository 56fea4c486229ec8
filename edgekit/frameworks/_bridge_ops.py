"""Keras 3 operations that are no layers, as layers of tf_keras."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from edgekit.frameworks._bridge_values import PACKAGE, NoCounterpartError, activation, library
from edgekit.frameworks._quiet import import_keras, import_tf_keras

__all__ = ["op_layer"]

_MERGES: Mapping[str, str] = {
    "Add": "Add",
    "Subtract": "Subtract",
    "Multiply": "Multiply",
    "Maximum": "Maximum",
    "Minimum": "Minimum",
}
_ACTIVATIONS: Mapping[str, str] = {
    "Elu": "elu",
    "Exp": "exponential",
    "Gelu": "gelu",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "Relu": "relu",
    "Relu6": "relu6",
    "Selu": "selu",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Tanh": "tanh",
}
_TENSOR = "tensor:"
"""Stands for a tensor among the arguments of a carried operation, before its number."""


def op_layer(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
    """Calls, on tf_keras tensors, the layer that stands for a Keras 3 operation.

    Where Keras has a layer that computes the same it is that one, because the techniques know it
    (an `Add` of two tensors is quantized); otherwise a layer that runs the operation itself.

    Raises:
        NoCounterpartError: the operation cannot be written down.
    """
    built_in = None if kwargs else _built_in(operation, args, name)
    if built_in is not None:
        inputs = list(args) if len(args) > 1 else args[0]
        return built_in(inputs)
    keras = import_keras("the bridge")
    tensors: list[Any] = []

    def placeholder(value: Any) -> Any:
        if not _is_tensor(value):
            return value
        tensors.append(value)
        return f"{_TENSOR}{len(tensors) - 1}"

    arguments = keras.tree.map_structure(placeholder, [list(args), kwargs])
    try:
        written = keras.saving.serialize_keras_object(operation)
        config = {"operation": written, "arguments": keras.saving.serialize_keras_object(arguments)}
        layer = _operation_layer()(**config, name=name)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise NoCounterpartError(f"the operation '{type(operation).__name__}'") from error
    return layer(tensors)


def _built_in(operation: Any, args: tuple[Any, ...], name: str) -> Any:
    """The layer of tf_keras that does the same with these tensors, None where there is none."""
    layers, kind = library("tf_keras").layers, type(operation).__name__
    floats = all(_is_tensor(arg) and arg.dtype.is_floating for arg in args)
    if kind in _MERGES and floats and len(args) == 2 and len(args[0].shape) == len(args[1].shape):
        return getattr(layers, _MERGES[kind])(name=name)
    if kind in _ACTIVATIONS and floats and len(args) == 1 and _is_plain(operation):
        return layers.Activation(activation(_ACTIVATIONS[kind], "tf_keras"), name=name)
    if kind == "Softmax" and floats and operation.axis is not None:
        return layers.Softmax(axis=operation.axis, name=name)
    if kind == "Concatenate" and len(args) == 1 and all(map(_is_tensor, args[0])):
        return layers.Concatenate(axis=operation.axis, name=name)
    if kind == "Reshape" and floats and _keeps_batch(operation.newshape, args[0]):
        return layers.Reshape(tuple(operation.newshape[1:]), name=name)
    return None


def _is_plain(operation: Any) -> bool:
    """True where the operation has the options that the activation of its name has."""
    return getattr(operation, "alpha", 1.0) == 1.0 and not getattr(operation, "approximate", False)


def _keeps_batch(shape: Any, tensor: Any) -> bool:
    fixed = isinstance(shape, (list, tuple)) and all(isinstance(size, int) for size in shape)
    return fixed and bool(shape) and -1 not in shape[1:] and shape[0] in (-1, tensor.shape[0])


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "_keras_history")


@functools.cache
def _operation_layer() -> type:
    """The tf_keras layer that runs any Keras 3 operation; registered, so that it can be cloned."""
    keras, tf_keras = import_keras("the bridge"), import_tf_keras("the bridge")

    class Keras3Operation(tf_keras.layers.Layer):  # type: ignore[misc,name-defined]
        """Holds the operation and its arguments, with a placeholder for each tensor.

        `call` takes the tensors of either Keras, so that the operation can go back.
        """

        def __init__(self, operation: Any, arguments: Any, **options: Any) -> None:
            super().__init__(**{**options, "autocast": False})
            self._written = {"operation": operation, "arguments": arguments}
            self.operation = keras.saving.deserialize_keras_object(operation)
            self._arguments = keras.saving.deserialize_keras_object(arguments)

        def call(self, inputs: Any) -> Any:
            tensors = inputs if isinstance(inputs, (list, tuple)) else [inputs]

            def value(each: Any) -> Any:
                is_tensor = isinstance(each, str) and each.startswith(_TENSOR)
                return tensors[int(each.removeprefix(_TENSOR))] if is_tensor else each

            args, kwargs = keras.tree.map_structure(value, self._arguments)
            return self.operation(*args, **kwargs)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), **self._written}

    made: type = tf_keras.utils.register_keras_serializable(PACKAGE)(Keras3Operation)
    return made
