"""Keras 3 models of every kind as one functional graph."""

from __future__ import annotations

import importlib
from typing import Any

from edgekit.errors import UsageError
from edgekit.frameworks._quiet import import_keras, quiet
from edgekit.frameworks.rebuild import rebuild

__all__ = ["first_line", "to_functional"]


def to_functional(model: Any) -> Any:
    """A Keras 3 model as one functional graph without nested models; itself where it is one.

    Raises:
        UsageError: a subclassed model that was never called, or whose `call` cannot be traced.
    """
    keras = import_keras("the bridge")
    graph = _graph(model)
    if graph is None:
        graph = _trace(model, _first_inputs(model))
    # What is inside a Sequential is numbered by process, and its name goes into files.
    graph.name = model.name
    while any(isinstance(operation, keras.Model) for operation in graph.operations):
        with quiet():
            graph = rebuild(_with_graphs(graph), {})
    return graph


def _graph(model: Any) -> Any:
    """The functional model inside; None where a class of the user's own does the computation."""
    keras = import_keras("the bridge")
    functional = importlib.import_module("keras.src.models.functional").Functional
    if type(model).call is keras.Sequential.call:
        return model._functional
    return model if type(model).call is functional.call else None


def _with_graphs(graph: Any) -> Any:
    """The same graph with a functional model in place of each nested subclassed one."""
    keras = import_keras("the bridge")
    traced: dict[int, Any] = {}

    def opened(operation: Any) -> Any:
        if not isinstance(operation, keras.Model) or _graph(operation) is not None:
            return operation

        def call(*args: Any, **options: Any) -> Any:
            if id(operation) not in traced:
                inputs = keras.tree.map_structure(_input, args)
                traced[id(operation)] = _trace(operation, inputs)
            return traced[id(operation)](args[0] if len(args) == 1 else list(args), **options)

        return call

    if all(opened(operation) is operation for operation in graph.operations):
        return graph
    inputs = keras.tree.map_structure(_input, graph._inputs_struct)
    outputs = graph._run_through_graph(keras.tree.flatten(inputs), operation_fn=opened)
    return keras.Model(inputs, outputs, name=graph.name)


def _input(tensor: Any) -> Any:
    """A new input like a tensor; one that was an input keeps its name."""
    keras = import_keras("the bridge")
    source = tensor._keras_history[0]
    name = source.name if isinstance(source, keras.layers.InputLayer) else None
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)


def _first_inputs(model: Any) -> tuple[Any, ...]:
    """Inputs as they were when the model was called first."""
    keras = import_keras("the bridge")
    shapes = dict(getattr(model, "_build_shapes_dict", None) or {})
    if len(shapes) != 1:
        raise UsageError(
            f"{model.name}: the model does not say the shape of its input",
            hint="call it once on data before, with one argument",
        )
    shape = next(iter(shapes.values()))
    return (keras.tree.map_shape_structure(lambda s: keras.Input(tuple(s)[1:]), shape),)


def _trace(model: Any, args: tuple[Any, ...]) -> Any:
    """A functional model of the layers that the `call` of a subclassed one uses."""
    keras = import_keras("the bridge")
    try:
        with quiet():
            outputs = model.call(*args)
            inputs = args[0] if len(args) == 1 else list(args)
            return keras.Model(inputs, outputs, name=model.name)
    except Exception as error:  # whatever the user's own code raises on symbolic tensors
        raise UsageError(
            f"{model.name}: the layers that its call() uses cannot be traced: {first_line(error)}",
            hint="build the model with the functional API",
        ) from error


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [repr(error)])[0][:200]
