"""Replays the graph of a Keras 3 or tf_keras model with the layers of the other."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from edgekit.errors import UsageError
from edgekit.frameworks._bridge_functional import first_line
from edgekit.frameworks._bridge_layers import copy_trainable, copy_weights, counterpart
from edgekit.frameworks._bridge_ops import op_layer
from edgekit.frameworks._bridge_tf_ops import is_op, keras_op
from edgekit.frameworks._bridge_values import Library, NoCounterpartError, library
from edgekit.frameworks._names import unique
from edgekit.frameworks._quiet import import_tensorflow, quiet

__all__ = ["carry", "layer_names"]

_HINT = "replace the layer by one that both have, or choose a technique that does not train"


def carry(model: Any, target: Library) -> Any:
    """A functional model of `target` with the same graph, names, weights and trainable flags.

    Raises:
        UsageError: a layer, named with its type, has no counterpart.
    """
    with quiet():
        return _Carrier(model, target).carried()


class _Carrier:
    """Makes each layer once, however often it is called, and calls it where the old one was."""

    def __init__(self, model: Any, target: Library) -> None:
        self._model, self._target = model, target
        self._library = library(target)
        self._source = library("tf_keras" if target == "keras" else "keras")
        self._names = layer_names(model, target)
        self._op_names: list[str] = []
        self._made: dict[int, Any] = {}
        self._olds: list[tuple[Any, Any]] = []

    def carried(self) -> Any:
        tree = import_tensorflow().nest
        structure = _input_structure(self._model)
        inputs = tree.map_structure(self._input, structure)
        outputs = self._run(self._model, tree.flatten(inputs))
        model = self._library.Model(inputs, outputs, name=self._model.name)
        for old, new in self._olds:
            self._named(old, functools.partial(copy_weights, old, new))
            copy_trainable(old, new)
        return model

    def _input(self, tensor: Any) -> Any:
        name = tensor._keras_history[0].name
        dtype = getattr(tensor.dtype, "name", tensor.dtype)
        return self._library.Input(batch_shape=tuple(tensor.shape), dtype=dtype, name=name)

    def _run(self, model: Any, inputs: list[Any]) -> Any:
        run = _run_keras if self._target == "tf_keras" else _run_tf_keras
        return run(model, inputs, self._call)

    def _call(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """Calls what stands for a layer; `training` is left out, see `_without_training`."""
        kwargs = self._named(layer, lambda: _without_training(kwargs, self._target))
        if isinstance(layer, self._source.Model):
            flat = layer._flatten_to_reference_inputs(args[0] if args else kwargs["inputs"])
            return self._run(layer, flat)
        if not isinstance(layer, self._source.layers.Layer):
            return self._named(layer, lambda: op_layer(layer, args, kwargs, self._op_name(layer)))
        if self._target == "keras" and is_op(layer):
            return self._named(layer, lambda: keras_op(layer, args, kwargs, self._op_name(layer)))
        made = self._layer(layer)
        return self._named(layer, lambda: made(*args, **kwargs))

    def _op_name(self, operation: Any) -> str:
        """Its own name at its first call; each further call makes another layer."""
        wanted = self._names[id(operation)]
        first = wanted not in self._op_names
        name = wanted if first else unique([*self._names.values(), *self._op_names, wanted])[-1]
        self._op_names.append(name)
        return name

    def _layer(self, old: Any) -> Any:
        if id(old) not in self._made:
            name = self._names[id(old)]
            new = self._named(old, lambda: counterpart(old, self._target, name))
            self._made[id(old)] = new
            self._olds.append((old, new))
        return self._made[id(old)]

    def _named(self, layer: Any, action: Callable[[], Any]) -> Any:
        where = "tf_keras" if self._target == "tf_keras" else "Keras 3"
        subject = f"layer '{layer.name}' ({type(layer).__name__})"
        try:
            return action()
        except NoCounterpartError as error:
            raise UsageError(
                f"{subject}: {error} has no counterpart in {where}", hint=_HINT
            ) from error
        except (TypeError, ValueError) as error:  # what the constructors and calls of layers raise
            raise UsageError(
                f"{subject} cannot be carried to {where}: {first_line(error)}", hint=_HINT
            ) from error


def _without_training(kwargs: dict[str, Any], target: Library) -> dict[str, Any]:
    """The arguments of a recorded call without None and `training`.

    Keras 3 records `training=False` for every Dropout and lets the call of the whole model
    override it; tf_keras would obey, and such a layer would never train.

    Raises:
        NoCounterpartError: tf_keras was told to be random at inference too.
    """
    if target == "keras" and kwargs.get("training"):
        raise NoCounterpartError("its call with training=True")
    return {k: v for k, v in kwargs.items() if v is not None and k != "training"}


def _input_structure(model: Any) -> Any:
    return model._inputs_struct if hasattr(model, "_inputs_struct") else model._nested_inputs


def _run_keras(model: Any, inputs: list[Any], call: Callable[..., Any]) -> Any:
    return model._run_through_graph(
        inputs, operation_fn=lambda op: lambda *args, **kwargs: call(op, args, kwargs)
    )


def _run_tf_keras(model: Any, inputs: list[Any], call: Callable[..., Any]) -> Any:
    """What tf_keras does in `_run_internal_graph`, with `call` instead of each layer."""
    nest = import_tensorflow().nest
    used = model._tensor_usage_count
    tensors = {
        str(id(old)): [new] * used[str(id(old))]
        for old, new in zip(model.inputs, inputs, strict=True)
    }
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            args, kwargs = node.map_arguments(tensors)
            outputs = nest.flatten(call(node.layer, args, kwargs))
            for key, output in zip(node.flat_output_ids, outputs, strict=True):
                tensors[key] = [output] * used[key]
    flat = [tensors[str(id(output))].pop() for output in model.outputs]
    return nest.pack_sequence_as(model._nested_outputs, flat)


def layer_names(model: Any, target: Library) -> dict[int, str]:
    """By the id of each layer the name of its counterpart, which no other has.

    The layers of the outer graph keep theirs, but for tf_keras what cannot name a scope is
    replaced ('a b' becomes 'a_b').
    """
    found = list({id(layer): (layer, outer) for layer, outer in _leaves(model, "")}.values())
    found.sort(key=lambda pair: pair[1] != "")
    names: list[str] = []
    for layer, outer in found:
        clash = outer and layer.name in names
        names.append(f"{outer}_{layer.name}" if clash else layer.name)
    made = unique(map(_scope, names) if target == "tf_keras" else names)
    return {id(layer): name for (layer, _), name in zip(found, made, strict=True)}


def _scope(name: str) -> str:
    """A name that TensorFlow takes for a scope."""
    safe = re.sub(r"[^A-Za-z0-9_.\\-]", "_", name)
    return safe if re.match(r"[A-Za-z0-9.]", safe) else f"layer{safe}"


def _leaves(model: Any, outer: str) -> Iterator[tuple[Any, str]]:
    for layer in getattr(model, "operations", model.layers):
        if hasattr(layer, "_nodes_by_depth"):
            yield from _leaves(layer, layer.name)
        else:
            yield layer, outer
