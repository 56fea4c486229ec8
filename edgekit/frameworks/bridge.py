"""The bridge between Keras 3 and tf_keras: models carried over with their weights, and back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import lazy
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks._bridge_functional import to_functional
from edgekit.frameworks._bridge_graph import carry, layer_names
from edgekit.frameworks._bridge_layers import copy_weights
from edgekit.frameworks.keras import import_tf_keras, load_model, predict, quiet, wrap

if TYPE_CHECKING:
    from edgekit.core.data import Array
    from edgekit.core.technique import Work

__all__ = [
    "import_tfmot",
    "load_trainable",
    "prove_carried",
    "prove_equal",
    "to_functional",
    "to_keras",
    "to_tf_keras",
    "weights_back",
]

TOLERANCE = 1e-6
"""Largest difference of an output, relative to the largest absolute output."""

_PROBES = 8
_PROOF_SAMPLES = 4


def import_tfmot(needed_for: str) -> Any:
    """Imports tensorflow_model_optimization; it sets an environment variable, which is undone."""
    import_tf_keras(needed_for)
    before = os.environ.get("TF_USE_LEGACY_KERAS")
    try:
        with quiet():
            return lazy.require(
                "tensorflow_model_optimization", extra="tensorflow", needed_for=needed_for
            )
    finally:
        if before is None:
            os.environ.pop("TF_USE_LEGACY_KERAS", None)
        else:
            os.environ["TF_USE_LEGACY_KERAS"] = before


def load_trainable(path: Path, *, where: str = "") -> Any:
    """Opens any Keras file as a functional Keras 3 model without nested models.

    A model that only tf_keras opens is carried over, and proven equal on random inputs.

    Args:
        path: a .keras or .h5 file, or a SavedModel that tf_keras made.
        where: what the model is called in messages; the path by default.

    Raises:
        UsageError: no Keras model, a layer that cannot be carried, or a bare SavedModel.
        PromiseError: the model that was carried over computes something else.
    """
    loaded = load_model(path)
    if loaded.library == "saved_model":
        raise UsageError(
            f"{where or path}: a SavedModel without layers has nothing to train",
            hint="name the .keras or .h5 file that it was made from",
        )
    if loaded.library == "keras":
        return to_functional(loaded.model)
    model = to_keras(loaded.model)
    prove_equal(loaded.model, model, _random_inputs(model))
    return model


def to_tf_keras(model: Any) -> Any:
    """Carries a Keras 3 model to a functional tf_keras model: same layers, names and weights.

    Nested models become part of the one graph, because tensorflow-model-optimization takes no
    nested ones; an inner layer whose name is taken is called outer_inner. What cannot name a
    scope of TensorFlow is replaced in a name ('a b' becomes 'a_b').

    It trains as the original with one difference: the moving variance of BatchNormalization is
    that of a sample of n values in tf_keras's fast kernel, n / (n - 1) times that of Keras 3.

    Raises:
        UsageError: a layer, named with its type, has no counterpart.
    """
    return carry(to_functional(model), "tf_keras")


def to_keras(model: Any) -> Any:
    """Carries a tf_keras model to a functional Keras 3 model, as `to_tf_keras` does.

    A layer that was called with `training=False` will train: Keras 3 does not keep that.

    Raises:
        UsageError: a layer, named with its type, has no counterpart.
    """
    return carry(model, "keras")


def weights_back(trained: Any, model: Any) -> None:
    """Copies the weights of `trained` into the layers of the same names of `model`.

    Args:
        trained: a tf_keras model that came from `to_tf_keras`, stripped of all wrappers.
        model: the functional Keras 3 model that it was made of.

    Raises:
        PromiseError: a layer with weights is missing on one side, or has other shapes.
    """
    found = {layer.name: layer for layer in trained.layers}
    names = layer_names(model, "tf_keras")
    for layer in model.layers:
        wanted, name = layer.get_weights(), names[id(layer)]
        held = found[name].get_weights() if name in found else []
        if [value.shape for value in wanted] != [value.shape for value in held]:
            raise PromiseError(
                f"layer '{layer.name}': training left weights of the shapes "
                f"{_shapes(held)}, and the model has {_shapes(wanted)}"
            )
    for layer in model.layers:
        if names[id(layer)] in found:
            copy_weights(found[names[id(layer)]], layer)


def prove_carried(model: Any, work: Work) -> None:
    """Proves that a Keras 3 model gives the same outputs in tf_keras, and puts it on record.

    Raises:
        PromiseError: it does not (see `prove_equal`).
        UsageError: a layer has no counterpart there.
    """
    inputs = work.probes(_PROBES)
    worst = prove_equal(model, to_tf_keras(model), inputs)
    work.evidence(
        "proven equal",
        "the model in tf_keras, where it is trained",
        f"outputs on {len(inputs[0])} inputs differ by at most {worst:.2g} of the largest",
    )


def prove_equal(first: Any, second: Any, inputs: tuple[Array, ...]) -> float:
    """The largest difference between the outputs, relative to the largest output of `first`.

    BatchNormalization of tf_keras is computed unfused for this, as in Keras 3: it proves that
    graph and weights are the same. The fused kernel that the model trains and predicts with
    rounds otherwise, in deep nets by a few 1e-6.

    Args:
        first, second: Keras 3 or tf_keras models.
        inputs: one array of shape (count, ...) for each input.

    Raises:
        PromiseError: it is above 1e-6, or the outputs have other shapes.
    """

    with quiet(), _unfused(first), _unfused(second):
        outputs = predict(wrap(first), inputs), predict(wrap(second), inputs)
    worst = max(_difference(a, b) for a, b in zip(*outputs, strict=True))
    if not worst <= TOLERANCE:
        raise PromiseError(
            f"{first.name}: the model that was carried over differs by {worst:.2g} of the largest "
            f"output, above {TOLERANCE:g}",
            hint="this is a fault in edgekit: please report the model's layers",
        )
    return worst


@contextlib.contextmanager
def _unfused(model: Any) -> Iterator[None]:
    """Lets tf_keras compute BatchNormalization as Keras 3 does, in unfused operations.

    The fused kernel rounds in another place, which adds up over a hundred layers and would hide
    what is to be proven.
    """
    fused = [layer for layer in model._flatten_layers() if getattr(layer, "fused", False)]
    for layer in fused:
        layer.fused = False
    try:
        yield
    finally:
        for layer in fused:
            layer.fused = True


def _difference(first: Array, second: Array) -> float:
    """Infinite where shapes differ or only one of two values is a number."""
    import numpy as np

    if first.shape != second.shape or not np.array_equal(np.isfinite(first), np.isfinite(second)):
        return float("inf")
    a, b = (np.where(np.isfinite(v), v, 0).astype(np.float64) for v in (first, second))
    largest = float(np.max(np.abs(a), initial=0.0)) or 1.0
    return float(np.max(np.abs(a - b), initial=0.0)) / largest


def _random_inputs(model: Any) -> tuple[Array, ...]:
    """Seeded inputs of a model's shapes; dimensions that are not fixed are 8 long."""
    import numpy as np

    rng = np.random.default_rng(0)
    made = []
    for spec in wrap(model).signature.inputs:
        shape = (spec.shape[0] or _PROOF_SAMPLES, *(size or 8 for size in spec.shape[1:]))
        values = rng.uniform(size=shape) if "int" not in spec.dtype else rng.integers(0, 2, shape)
        made.append(values.astype(spec.dtype))
    return tuple(made)


def _shapes(weights: list[Any]) -> str:
    return ", ".join(str(tuple(value.shape)) for value in weights) or "none"
