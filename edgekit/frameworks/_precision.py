"""Mixed precision for the time of a training: computations in 16 bits, weights in float32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from edgekit.core.training import Precision
from edgekit.frameworks._loop import is_tf_keras

__all__ = ["mixed"]


@contextlib.contextmanager
def mixed(model: Any, precision: Precision) -> Iterator[None]:
    """Lets all layers compute in 16 bits inside the block (Micikevicius et al., arXiv:1710.03740).

    The variables stay float32, and so does the model that is saved afterwards. Keras 3 only: the
    weights of tf_keras cannot change their policy once they are made.
    """
    if precision == "float32":
        yield
        return
    assert not is_tf_keras(model), "check_trainable refuses it"
    layers = [layer for layer in _layers(model) if layer.compute_dtype == "float32"]
    before = [layer.dtype_policy for layer in layers]
    policy = precision.replace("-", "_")
    try:
        for layer in layers:
            _set(layer, policy)
        yield
    finally:
        for layer, old in zip(layers, before, strict=True):
            _set(layer, old)


def _layers(model: Any) -> list[Any]:
    return list(model._flatten_layers(include_self=False, recursive=True))


def _set(layer: Any, policy: Any) -> None:
    layer.dtype_policy = policy
