"""Raw samples to model-ready inputs: dtype, axes, scaling; and seeded random inputs."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import InputScaling, Signature, TensorSpec
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgekit.core.data import Array, Rows
    from edgekit.engine.data import LoadedData

__all__ = [
    "channel_axis",
    "chunks",
    "fitted_shape",
    "input_order",
    "judged_first",
    "measure_scaling",
    "prepare",
    "random_inputs",
    "release_pages",
    "representable",
    "takes_integers",
]

_CHUNK_BYTES = 16_000_000
Shape = tuple[int | None, ...]


def takes_integers(spec: TensorSpec) -> bool:
    """True for an input of plain integers (token numbers), which no scaling touches."""
    return spec.quantization is None and spec.dtype.startswith(("int", "uint", "bool"))


def input_order(
    signature: Signature, input_names: tuple[str, ...], count: int, *, where: str
) -> tuple[int, ...]:
    """Which input of the data goes to each input of the model: by name, else by position.

    Raises:
        UsageError: another number of inputs, or a name that the data has not.
    """
    wanted = tuple(spec.name for spec in signature.inputs)
    if not input_names and len(wanted) == count:
        return tuple(range(count))
    if input_names and set(wanted) == set(input_names):
        return tuple(input_names.index(name) for name in wanted)
    if len(wanted) == count == 1:
        return (0,)
    has = ", ".join(input_names) if input_names else f"{count} without names"
    raise UsageError(
        f"{where}: the model's inputs are {', '.join(wanted)}, and the data has {has}",
        hint="name the arrays of the data like the model's inputs",
    )


def judged_first(signature: Signature | None, position: int) -> Signature | None:
    """The signature with the output at `position` put first, as a task sees it."""
    if signature is None or position == 0:
        return signature
    outputs = signature.outputs
    rest = (*outputs[:position], *outputs[position + 1 :])
    return Signature(signature.inputs, (outputs[position], *rest))


def fitted_shape(held: tuple[int, ...], spec: TensorSpec) -> tuple[int, ...] | None:
    """The shape of one sample as the model takes it: as it is, or with the one channel of a grey
    image put last or first, or left out; None where it cannot fit."""
    bare = held[:-1] if held[-1:] == (1,) else held
    tries = (held, (*held, 1), bare, (1, *bare), held[1:] if held[:1] == (1,) else held)
    return next((shape for shape in tries if _matches(shape, spec.sample_shape)), None)


def _matches(held: tuple[int, ...], wanted: Shape) -> bool:
    return len(held) == len(wanted) and all(
        size in (None, have) for have, size in zip(held, wanted, strict=True)
    )


def prepare(values: Array, spec: TensorSpec | None, scaling: InputScaling) -> NDArray[Any]:
    """Raw (n, ...) to the model's shape; scaled float32, or the model's own integers unscaled.

    `spec` is None for a model that is not there yet: the shape stays.
    """
    import numpy as np

    raw = np.asarray(values)
    if spec is not None:
        shape = fitted_shape(raw.shape[1:], spec)
        raw = raw if shape is None else raw.reshape(len(raw), *shape)
        if takes_integers(spec):
            return raw.astype(spec.dtype, copy=False)
    if scaling.is_identity:
        return raw.astype(np.float32, copy=False)
    scaled = raw.astype(np.float32)
    scaled *= _along(scaling.scale, scaled.shape)
    scaled += _along(scaling.offset, scaled.shape)
    return scaled


def channel_axis(shape: Shape, count: int) -> int | None:
    """Where `count` channels are in (n, ...): last, else first after the batch; None: nowhere."""
    if count == 1 or shape[-1] in (None, count):
        return len(shape) - 1
    return 1 if len(shape) > 2 and shape[1] in (None, count) else None


def _along(values: tuple[float, ...], shape: tuple[int, ...]) -> NDArray[Any]:
    """One value a channel in a form that multiplies with (n, ...)."""
    import numpy as np

    array = np.asarray(values, dtype=np.float32)
    if channel_axis(shape, array.size) != 1 or len(shape) == 2:
        return array
    return array.reshape(-1, *(1,) * (len(shape) - 2))


def chunks(rows: Rows, indices: NDArray[Any] | None = None) -> Iterator[NDArray[Any]]:
    """The rows (or the ones named) a few megabytes at a time."""
    import numpy as np

    row_bytes = max(1, int(np.prod(rows.shape[1:])) * np.dtype(rows.dtype).itemsize)
    step = max(1, _CHUNK_BYTES // row_bytes)
    for start in range(0, len(rows) if indices is None else len(indices), step):
        window = slice(start, start + step)
        yield np.asarray(rows[window if indices is None else np.sort(indices[window])])
        release_pages(rows)


def release_pages(rows: Rows) -> None:
    """Lets go of the pages of a memory-mapped array that were read so far.

    They stay in the system's cache, but no longer count as this process's memory, which therefore
    does not grow with the number of samples.
    """
    if getattr(rows, "mode", None) != "r":  # a private copy would lose what was written to it
        return
    mapped = getattr(rows, "_mmap", None)
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def measure_scaling(data: LoadedData) -> InputScaling:
    """The scaling that brings the range of the training split to 0..1, for a model to be trained.

    The range is kept as `low` and `high`, so that data far from it is refused later.

    Raises:
        UsageError: there is no training split.
    """
    indices = data.indices("train")
    if not len(indices):
        raise UsageError(f"{data.where}: has no training samples")
    low, high = float("inf"), float("-inf")
    for rows in data.dataset.train.x:
        for chunk in chunks(rows, indices):
            low, high = min(low, float(chunk.min())), max(high, float(chunk.max()))
    if high == low:
        return InputScaling(offset=(-low,), low=low, high=high)
    return InputScaling(
        scale=(1 / (high - low),), offset=(-low / (high - low) + 0.0,), low=low, high=high
    )


def representable(spec: TensorSpec) -> tuple[float, float] | None:
    """The lowest and highest real value that a quantized tensor can hold; None for other ones."""
    import numpy as np

    if spec.quantization is None or np.dtype(spec.dtype).kind not in "iu":
        return None
    bounds: Any = np.iinfo(np.dtype(spec.dtype).name)
    scale, zero = spec.quantization.scale, spec.quantization.zero_point
    return (int(bounds.min) - zero) * scale, (int(bounds.max) - zero) * scale


def random_inputs(signature: Signature, count: int, seed: int) -> tuple[Array, ...]:
    """Seeded inputs for checks where there is no data: (count, ...) for each input.

    Uniform in 0..1, or in the representable range of a quantized input; integers without
    quantization are 0 or 1, which are good token numbers and masks for every model.

    Raises:
        UsageError: an axis besides the batch is dynamic (names input and axis).
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    arrays: list[Array] = []
    for spec in signature.inputs:
        if spec.dtype in ("string", "object"):
            raise UsageError(f"input '{spec.name}' takes text, which no random input can stand for")
        shape = (count, *(_static(spec, axis) for axis in range(1, len(spec.shape))))
        if takes_integers(spec):
            arrays.append(rng.integers(0, 2, size=shape).astype(spec.dtype))
            continue
        low, high = representable(spec) or (0.0, 1.0)
        arrays.append((low + (high - low) * rng.random(shape, dtype=np.float32)).astype("float32"))
    return tuple(arrays)


def _static(spec: TensorSpec, axis: int) -> int:
    size = spec.shape[axis]
    if size is None:
        raise UsageError(
            f"input '{spec.name}': axis {axis} of {spec.shape} is dynamic, so no random input fits",
            hint="give real samples with --data, or fix the axis with --input where the format can",
        )
    return size
