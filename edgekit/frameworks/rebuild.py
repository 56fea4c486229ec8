"""Keras 3 models made again layer by layer, with some layers changed or dropped."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from edgekit.frameworks._quiet import import_keras, quiet

__all__ = ["LayerConfigs", "functional", "rebuild"]

LayerConfigs = Mapping[str, Mapping[str, Any] | None]
"""By layer name, the config to make it from; None drops it."""


def rebuild(model: Any, configs: LayerConfigs) -> Any:
    """Makes a new functional model of the same graph; the given one stays as it is.

    Nested models become part of the graph, so that every layer can be named: their layers keep
    their names, and get that of the nested model in front (`base_conv`) where a name is taken.
    Shared layers stay shared. Inputs and outputs keep their structure (one, list, dict).

    Args:
        model: a built functional or sequential Keras 3 model.
        configs: a layer named here is made from that config instead of its own; None drops a
            layer with one input, which goes on as its output. Names are those of a model without
            nested models: use `rebuild(model, {})` first where there may be some.

    Returns:
        The model; weights of layers whose weight shapes are unchanged are copied, others stay
        freshly initialised for the caller to set.

    Raises:
        ValueError: `configs` names a layer that the model does not have, or drops one that has
            several inputs; or the model is subclassed, or not built.
    """
    replay = _Replay(configs)
    made = replay.model(functional(model), name=model.name)
    missing = sorted(set(configs) - replay.met)
    if missing:
        raise ValueError(f"the model has no layer {', '.join(missing)}")
    replay.copy_weights()
    return made


def functional(model: Any) -> Any:
    """The functional model that holds the graph: the given one, or what is inside a Sequential.

    Raises:
        ValueError: the model is subclassed, or not built.
    """
    graph = getattr(model, "_functional", None) or model
    if not hasattr(graph, "_run_through_graph"):
        raise ValueError(f"model '{model.name}' has no graph: it is subclassed, or not built")
    return graph


class _Replay:
    """Runs a graph on new inputs, with a new layer in place of each old one."""

    def __init__(self, configs: LayerConfigs) -> None:
        self._keras = import_keras("rebuilding a model")
        self._configs = configs
        self._made: dict[int, tuple[Any, Any]] = {}
        self._names: set[str] = set()
        self.met: set[str] = set()

    def model(self, source: Any, *, name: str) -> Any:
        keras = self._keras
        structure = source._inputs_struct
        self._names = {operation.name for operation in source.operations}
        with quiet():
            inputs = keras.tree.map_structure(self._input, structure)
            outputs = self._run(source, keras.tree.flatten(inputs), nest="")
            return keras.Model(inputs, outputs, name=name)

    def copy_weights(self) -> None:
        """Copies weights from each old layer to the new one, where all their shapes agree."""
        for old, new in self._made.values():
            if new is None or not getattr(old, "weights", None):
                continue
            if [tuple(v.shape) for v in old.weights] == [tuple(v.shape) for v in new.weights]:
                new.set_weights(old.get_weights())
                if hasattr(new, "finalize_state"):  # Normalization keeps a copy of its weights.
                    new.finalize_state()

    def _input(self, tensor: Any) -> Any:
        layer = tensor._keras_history.operation
        name = layer.name if isinstance(layer, self._keras.layers.InputLayer) else tensor.name
        self.met.add(name)
        changed = self._configs.get(name) or {}
        shape = changed.get("batch_shape", tensor.shape)
        return self._keras.Input(batch_shape=shape, dtype=tensor.dtype, name=name)

    def _run(self, source: Any, inputs: list[Any], *, nest: str) -> Any:
        return source._run_through_graph(
            inputs,
            operation_fn=lambda operation: operation,
            call_fn=lambda operation, *args, **kwargs: self._call(
                operation, args, kwargs, nest=nest
            ),
        )

    def _call(
        self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, nest: str
    ) -> Any:
        if _is_graph(operation):
            # Its own `training` argument goes: the one of the whole model wins over it anyway.
            flat = self._keras.tree.flatten(args[0] if args else kwargs["inputs"])
            return self._run(functional(operation), flat, nest=operation.name)
        layer = self._layer(operation, nest)
        if layer is None:
            return _only_input(operation, args, kwargs)
        return layer(*args, **kwargs)

    def _layer(self, old: Any, nest: str) -> Any:
        """The new layer for an old one, the same at each of its calls; None where it is dropped."""
        if id(old) in self._made:
            return self._made[id(old)][1]
        name = self._free_name(old.name, nest) if nest else old.name
        self.met.add(name)
        config = self._configs.get(name, {**old.get_config(), "name": name})
        new = None if config is None else type(old).from_config(dict(config))
        self._made[id(old)] = (old, new)
        return new

    def _free_name(self, name: str, nest: str) -> str:
        """A name for a layer of the nested model `nest` that no other layer has."""
        tries = (f"{nest}_{name}{f'_{count}' if count else ''}" for count in itertools.count())
        free = next(each for each in itertools.chain((name,), tries) if each not in self._names)
        self._names.add(free)
        return free


def _is_graph(operation: Any) -> bool:
    """True for a nested model whose layers are known, and not only its class."""
    return hasattr(getattr(operation, "_functional", None) or operation, "_run_through_graph")


def _only_input(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = [value for value in (*args, *kwargs.values()) if hasattr(value, "_keras_history")]
    if len(tensors) != 1:
        raise ValueError(f"layer '{operation.name}' cannot be dropped: it has several inputs")
    return tensors[0]
