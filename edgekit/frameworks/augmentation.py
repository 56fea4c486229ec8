"""Random changes to training batches: flip, crop, shift, noise, mixup; a pure function of its rng.

Each of flip, crop, shift and noise changes the first input that it suits, so that no two inputs of
one sample are moved apart; mixup mixes whole samples, so all inputs and the labels together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.core.artifact import TensorSpec
from edgekit.core.training import Augmentation
from edgekit.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = ["augment", "check_augmentation"]

_CROP = 8
"""Up to 1/8 (12.5 %) of height and width: the 4 of 32 pixels that CIFAR is trained with."""
_SHIFT = 10
"""Up to 1/10 of the time steps."""
_NOISE = 0.05
"""Standard deviation of the noise, in those of the sample."""
_MIXUP_ALPHA = 0.2
"""Of the Beta distribution; what Zhang et al. train ImageNet with."""


def augment(
    x: tuple[Array, ...],
    y: Array | None,
    kinds: Sequence[Augmentation],
    rng: np.random.Generator,
    *,
    classes: int | None,
) -> tuple[tuple[Array, ...], Array | None, Array | None, Array | None]:
    """Changes one batch of model-ready samples; shapes and float dtypes stay.

    The order is always flip, crop, shift, noise, mixup, whatever that of `kinds`:

    * flip: mirrors an image left to right, or not, with equal chance.
    * crop: moves an image by up to 12.5 % of its height and width.
    * shift: moves a series by up to 10 % of its time steps.
    * noise: Gaussian, with 5 % of each sample's own standard deviation.
    * mixup: mixes each sample with another of the batch (Zhang et al., arXiv:1710.09412), in
      shares from Beta(0.2, 0.2).

    What crop and shift uncover repeats the value at the edge: that is in range whatever the input
    scaling is, while a zero may be a value that the data never has.

    Args:
        x: one array (samples, ...) for each model input.
        y: one label for each sample, None for a model that reconstructs its input.
        kinds: what to do; `check_augmentation` has accepted it for this model.
        rng: everything random follows from it.
        classes: the number of classes where labels are whole numbers, else None.

    Returns:
        (x, y_a, y_b, share): where mixup mixes whole-number labels, the loss of a sample is
        share * loss(y_a) + (1 - share) * loss(y_b), with share of shape (samples,) and float32.
        Without mixup y_b and share are None; so are they where labels are real values, which are
        mixed like the samples, and where there are no labels.
    """
    changed = list(x)
    for kind in _ORDER:
        if kind in kinds:
            rule = _RULES[kind]
            place = next(i for i, a in enumerate(x) if rule.suits(a.shape[1:]))
            changed[place] = rule.change(changed[place], rng)
    if "mixup" in kinds:
        return _mixup(tuple(changed), y, rng, classes)
    return tuple(changed), y, None, None


def check_augmentation(kinds: Sequence[Augmentation], inputs: Sequence[TensorSpec]) -> None:
    """Holds what is to be done against the shapes of a model's inputs.

    Raises:
        UsageError: a kind suits no input, or is for numbers and an input holds whole ones.
    """
    for kind in kinds:
        rule = _RULES.get(kind)
        suited = [s for s in inputs if rule is None or rule.suits(s.sample_shape)]
        if rule is not None and not suited:
            raise UsageError(
                f"augment: '{kind}' is for {rule.what}, and {_shown(inputs)}",
                hint="leave it out, or take noise or mixup, which suit every shape",
            )
        touched = {"noise": suited[:1], "mixup": suited}.get(kind, [])
        whole = next((spec for spec in touched if not _is_float(spec)), None)
        if whole is not None:
            raise UsageError(
                f"augment: '{kind}' is for real-valued inputs, and input '{whole.name}' is "
                f"{whole.dtype}",
                hint="whole numbers such as word numbers have nothing in between: leave it out",
            )


@dataclass(frozen=True)
class _Rule:
    """One kind: which sample shapes it suits, in words too, and what it does to such a batch."""

    what: str
    suits: Callable[[Sequence[int | None]], bool]
    change: Callable[[Array, np.random.Generator], Array]


def _flip(x: Array, rng: np.random.Generator) -> Array:
    import numpy as np

    chosen = rng.random(len(x)) < 0.5
    return np.where(chosen[:, None, None, None], x[:, :, ::-1], x)


def _crop(x: Array, rng: np.random.Generator) -> Array:
    """Cropping a padded image is reading each row and column at an offset, held at the edges."""
    import numpy as np

    rows = _moved(x.shape[:2], x.shape[1] // _CROP, rng)
    columns = _moved((len(x), x.shape[2]), x.shape[2] // _CROP, rng)
    return x[np.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None, :]]


def _shift(x: Array, rng: np.random.Generator) -> Array:
    import numpy as np

    return x[np.arange(len(x))[:, None], _moved(x.shape[:2], x.shape[1] // _SHIFT, rng)]


def _moved(shape: tuple[int, ...], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """For each sample the positions 0 to size - 1 moved by one offset of -most to most."""
    import numpy as np

    count, size = shape
    offsets = rng.integers(-most, most + 1, count)
    moved: NDArray[np.int64] = np.clip(np.arange(size) + offsets[:, None], 0, size - 1)
    return moved


def _noise(x: Array, rng: np.random.Generator) -> Array:
    import numpy as np

    values = _as_float(x)
    sigma = _NOISE * values.std(axis=tuple(range(1, x.ndim)), keepdims=True)
    drawn = rng.standard_normal(x.shape, dtype=np.float32)
    return np.asarray(values + drawn * sigma, values.dtype)


def _mixup(
    x: tuple[Array, ...], y: Array | None, rng: np.random.Generator, classes: int | None
) -> tuple[tuple[Array, ...], Array | None, Array | None, Array | None]:
    import numpy as np

    count = len(x[0])
    share = rng.beta(_MIXUP_ALPHA, _MIXUP_ALPHA, count).astype(np.float32)
    other = rng.permutation(count)
    mixed = tuple(_blend(array, array[other], share) for array in x)
    if y is None:
        return mixed, None, None, None
    if classes is None:
        return mixed, _blend(y, y[other], share), None, None
    return mixed, y, y[other], share


def _blend(first: Array, second: Array, share: NDArray[np.float32]) -> Array:
    """share * first + (1 - share) * second, written so that equal values stay what they are."""
    import numpy as np

    one, two = _as_float(first), _as_float(second)
    part = share.reshape(-1, *[1] * (one.ndim - 1)).astype(one.dtype)
    return np.asarray(two + part * (one - two))


def _as_float(x: Array) -> NDArray[np.floating]:
    import numpy as np

    return np.asarray(x, None if np.issubdtype(x.dtype, np.floating) else np.float32)


_RULES = {
    "flip": _Rule(
        "images (height x width x channels)",
        lambda shape: len(shape) == 3,
        _flip,
    ),
    "crop": _Rule(
        f"images (height x width x channels) of at least {_CROP}x{_CROP}",
        lambda shape: len(shape) == 3 and all(size is None or size >= _CROP for size in shape[:2]),
        _crop,
    ),
    "shift": _Rule(
        f"series (time, or time x channels) of at least {_SHIFT} steps",
        lambda shape: len(shape) in (1, 2) and (shape[0] is None or shape[0] >= _SHIFT),
        _shift,
    ),
    "noise": _Rule("inputs of more than one value", lambda shape: len(shape) > 0, _noise),
}
_ORDER = tuple(_RULES)


def _is_float(spec: TensorSpec) -> bool:
    return spec.dtype.startswith(("float", "bfloat"))


def _shown(inputs: Sequence[TensorSpec]) -> str:
    """The inputs with their sample shapes: input 'x' is 28x28x1."""
    shown = [
        f"'{spec.name}' is "
        + ("x".join("?" if n is None else str(n) for n in spec.sample_shape) or "a single number")
        for spec in inputs
    ]
    return f"input {shown[0]}" if len(shown) == 1 else f"no input is: {', '.join(shown)}"
