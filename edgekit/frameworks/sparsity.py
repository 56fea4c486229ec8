"""Which kernels of a Keras model pruning and clustering treat, their zeros and distinct values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError, did_you_mean
from edgekit.frameworks._quiet import import_tensorflow

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = [
    "KeepZeros",
    "Kernel",
    "Untreated",
    "check_patterns",
    "distinct_values",
    "groups_of_four",
    "kernels",
    "layers_in",
    "lost_zeros",
    "matching",
    "pruned",
    "set_kernel",
    "untreated",
    "zero_blocks",
    "zero_share",
]

_KERNELS = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D", "Conv3D"), "kernel"),
    **dict.fromkeys(("Conv2DTranspose", "Conv3DTranspose"), "kernel"),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), "pointwise_kernel"),
    "Embedding": "embeddings",
}
"""The weight that tensorflow-model-optimization prunes and clusters, by the layer's class: names
that Keras 3 and tf_keras share."""
_REASONS = {
    **dict.fromkeys(
        ("DepthwiseConv1D", "DepthwiseConv2D"),
        "a depthwise kernel has few weights, and the net loses most by them",
    ),
    **dict.fromkeys(
        ("LSTM", "GRU", "SimpleRNN", "Bidirectional"),
        "the engine's rule for recurrent cells does not know those of this Keras",
    ),
    "MultiHeadAttention": "the engine's wrapper passes on one input, and attention takes several",
}
_LEAST_ZEROS = 2
"""A trained float weight is almost never exactly 0; one may be by chance, two are on purpose."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """One weight tensor that pruning and clustering treat.

    `weight` is its attribute in the layer; `values` is a copy.
    """

    layer: str
    kind: str
    weight: str
    values: Array

    @property
    def name(self) -> str:
        """That of its layer: one kernel a layer is treated."""
        return self.layer

    @property
    def item(self) -> str:
        """`Conv2D 'name'`, as notes have it."""
        return f"{self.kind} '{self.layer}'"

    @property
    def size(self) -> int:
        """How many weights it has."""
        return int(self.values.size)

    @property
    def zeros(self) -> int:
        """How many of them are exactly 0."""
        return int((self.values == 0).sum())


@dataclass(frozen=True)
class Untreated:
    """A layer with a kernel that the engine has no rule for."""

    layer: str
    kind: str
    reason: str

    @property
    def item(self) -> str:
        """`DepthwiseConv2D 'name'`, as notes have it."""
        return f"{self.kind} '{self.layer}'"


def zero_share(array: Array) -> float:
    """The share of values that are exactly 0; 0 of an empty array."""
    return float((array == 0).mean()) if array.size else 0.0


def distinct_values(array: Array) -> int:
    """How many different values there are; 0 and -0 are one."""
    import numpy as np

    return len(np.unique(array))


def zero_blocks(array: Array, block: tuple[int, int]) -> tuple[int, int]:
    """How many blocks of a matrix are all zeros, and how many there are; those at the far edges may
    be cut off."""
    import numpy as np

    height, width = block
    rows, columns = -(-array.shape[0] // height), -(-array.shape[1] // width)
    filled = np.zeros((rows * height, columns * width), bool)
    filled[: array.shape[0], : array.shape[1]] = array != 0
    any_filled = filled.reshape(rows, height, columns, width).any(axis=(1, 3))
    return int((~any_filled).sum()), rows * columns


def groups_of_four(array: Array) -> Array:
    """How many values are not 0 in each four consecutive input channels of a kernel.

    The input channels are the next to last axis, as in Dense and Conv2D; a last group that is not
    full counts as if it were filled up with zeros.
    """
    import numpy as np

    filled = np.moveaxis(array != 0, -2, -1)
    rest = -filled.shape[-1] % 4
    padded = np.pad(filled, [(0, 0)] * (filled.ndim - 1) + [(0, rest)])
    counts: Array = padded.reshape(*padded.shape[:-1], -1, 4).sum(axis=-1)
    return counts


def layers_in(model: Any) -> Iterator[Any]:
    """The layers of a Keras 3 or tf_keras model, those of nested models in their place."""
    for layer in model.layers:
        if hasattr(layer, "layers") and hasattr(layer, "inputs"):
            yield from layers_in(layer)
        else:
            yield layer


def kernels(model: Any) -> tuple[Kernel, ...]:
    """The kernels that pruning and clustering can treat, in the model's order; one a layer."""
    import numpy as np

    return tuple(
        Kernel(layer.name, _kind(layer), weight, np.array(getattr(layer, weight).numpy()))
        for layer in _once(model)
        if (weight := _KERNELS.get(_kind(layer)))
    )


def pruned(model: Any) -> tuple[Kernel, ...]:
    """The kernels that were pruned, whose zeros shall stay: two zeros or more, but not all.

    The one rule for all techniques. A kernel that is all 0 was never trained.
    """
    return tuple(k for k in kernels(model) if _LEAST_ZEROS <= k.zeros < k.size)


def lost_zeros(before: tuple[Kernel, ...], model: Any) -> str:
    """Says which kernel has values where it had zeros, '' where none has."""
    after = {kernel.layer: kernel.values for kernel in kernels(model)}
    for kernel in before:
        values = after.get(kernel.layer)
        if values is None or values.shape != kernel.values.shape:
            return f"{kernel.item} is not in the result as it was"
        lost = int(((kernel.values == 0) & (values != 0)).sum())
        if lost:
            return f"{lost} of {kernel.zeros} zeros of {kernel.item} are lost"
    return ""


def untreated(model: Any) -> tuple[Untreated, ...]:
    """The other layers with a trained weight of two axes or more, and why they are left alone."""
    return tuple(
        Untreated(layer.name, _kind(layer), _REASONS.get(_kind(layer), _no_rule(_kind(layer))))
        for layer in _once(model)
        if _kind(layer) not in _KERNELS
        and any(len(weight.shape) > 1 for weight in layer.trainable_weights)
    )


def set_kernel(model: Any, kernel: Kernel, values: Array) -> None:
    """Gives a kernel of a model other values."""
    layer = next(layer for layer in layers_in(model) if layer.name == kernel.layer)
    getattr(layer, kernel.weight).assign(values)


class KeepZeros:
    """A callback of a training: sets the zeros of kernels back after every step.

    Its layers must have the names and weights that they had when the kernels were read.
    """

    def __init__(self, kept: tuple[Kernel, ...]) -> None:
        self._kept = kept
        self._masked: list[tuple[Any, Array]] = []

    def set_model(self, model: Any) -> None:
        """Finds the variables in the model that is trained."""
        layers = {layer.name: layer for layer in layers_in(model)}
        self._masked = [
            (getattr(layers[kernel.layer], kernel.weight), kernel.values != 0)
            for kernel in self._kept
        ]

    def on_train_batch_end(self, step: int, logs: Mapping[str, float] | None = None) -> None:
        """Not a product with the mask: half of the zeros would be -0, other bytes."""
        tf = import_tensorflow()
        for variable, mask in self._masked:
            values = tf.convert_to_tensor(variable)
            variable.assign(tf.where(mask, values, tf.zeros_like(values)))


def matching(name: str, patterns: tuple[str, ...]) -> str | None:
    """The first of the name patterns that matches, None where none does."""
    return next((pattern for pattern in patterns if fnmatchcase(name, pattern)), None)


def check_patterns(key: str, patterns: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Refuses a pattern that matches no layer; `key` is the user's word for the patterns.

    Raises:
        UsageError: with the nearest names as the hint.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            hint = did_you_mean(pattern, names)
            raise UsageError(f"{key}: no layer matches '{pattern}'", hint=hint)


def _kind(layer: Any) -> str:
    return type(layer).__name__


def _no_rule(kind: str) -> str:
    article = "an" if kind[0] in "AEIO" else "a"
    return f"tensorflow-model-optimization has no rule for {article} {kind} layer"


def _once(model: Any) -> Iterator[Any]:
    """Layers by identity: a nested model that is used twice lies twice in no list, but can."""
    seen: set[int] = set()
    for layer in layers_in(model):
        if id(layer) not in seen:
            seen.add(id(layer))
            yield layer
