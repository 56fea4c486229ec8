"""Does this data fit this model: inputs, shapes, dtypes, ranges, classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.core import catalog
from edgekit.core.artifact import InputScaling, Signature, TensorSpec
from edgekit.engine.data_inputs import (
    channel_axis,
    fitted_shape,
    input_order,
    judged_first,
    prepare,
    representable,
    takes_integers,
)
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.core.data import Rows
    from edgekit.engine.data import LoadedData

__all__ = ["check_fits"]

_LOOKED_AT = 1024
_NARROWEST, _WIDEST = 0.1, 3.0


def check_fits(data: LoadedData, signature: Signature, scaling: InputScaling) -> None:
    """Checks everything about the data that a model could silently get wrong.

    The range is that of up to 1024 samples evenly over the pool that is not judged. It is refused
    where it spans under a tenth or over three times the range that the model was trained on (or can
    represent), or lies outside by more than that range's width.

    Raises:
        UsageError: says what the data has and what the model takes.
    """
    where, dataset = data.where, data.dataset
    order = input_order(signature, dataset.input_names, len(dataset.train.x), where=where)
    pool = dataset.train if len(dataset.train) or dataset.test is None else dataset.test
    real = [spec for spec in signature.inputs if not takes_integers(spec)]
    if len(real) > 1 and not scaling.is_identity:
        raise UsageError(
            f"{where}: one input scaling cannot fit {len(real)} real-valued inputs",
            hint="scale the arrays themselves, each as its input needs",
        )
    for spec, position in zip(signature.inputs, order, strict=True):
        rows = pool.x[position]
        _check_shape(rows, spec, where)
        _check_dtype(rows, spec, where)
        if not takes_integers(spec):
            _check_channels(spec, scaling, where)
            _check_range(rows, spec, scaling, where)
    if not data.can_judge:
        return
    labels = (dataset.test or dataset.train).y
    try:
        catalog.load("tasks", data.task_name).check(
            judged_first(signature, data.judged[1]),
            data.classes,
            class_names=dataset.class_names,
            label_shape=None if labels is None else tuple(labels.shape[1:]),
        )
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from None


def _check_shape(rows: Rows, spec: TensorSpec, where: str) -> None:
    held = tuple(rows.shape[1:])
    if fitted_shape(held, spec) is None:
        raise UsageError(
            f"{where}: samples have the shape {_shape(held)}, and the model's input "
            f"'{spec.name}' takes {_shape(spec.sample_shape)}"
        )


def _shape(shape: tuple[int | None, ...]) -> str:
    return " x ".join("any" if size is None else str(size) for size in shape) or "one number"


def _check_dtype(rows: Rows, spec: TensorSpec, where: str) -> None:
    import numpy as np

    held = np.dtype(rows.dtype)
    if takes_integers(spec) and held.kind == "f":
        raise UsageError(
            f"{where}: samples are {held}, and the model's input '{spec.name}' takes {spec.dtype}",
            hint="store them as integers",
        )


def _check_channels(spec: TensorSpec, scaling: InputScaling, where: str) -> None:
    for word, values in (("scale", scaling.scale), ("offset", scaling.offset)):
        if spec.shape and channel_axis(spec.shape, len(values)) is None:
            shape = "x".join("?" if size is None else str(size) for size in spec.shape)
            raise UsageError(
                f"{where}: {word} has {len(values)} values, and no channel axis of the model's "
                f"input '{spec.name}' ({shape}) has that many",
                hint="give one value, or one for each channel",
            )


def _check_range(rows: Rows, spec: TensorSpec, scaling: InputScaling, where: str) -> None:
    import numpy as np

    if not len(rows):
        return
    step = max(1, len(rows) // _LOOKED_AT)
    sample = np.asarray(rows[::step][:_LOOKED_AT])
    if not sample.size:
        return
    held = float(sample.min()), float(sample.max())
    if scaling.low is not None and scaling.high is not None:
        trained = scaling.low, scaling.high
        if not _is_near(held, trained):
            raise UsageError(
                f"{where}: values range from {held[0]:.4g} to {held[1]:.4g}, and the model was "
                f"trained on {trained[0]:.4g} to {trained[1]:.4g}",
                hint=_rescale(held, trained, scaling),
            )
    can = representable(spec)
    ready = prepare(sample, spec, scaling)
    scaled = float(ready.min()), float(ready.max())
    if can is not None and not _is_near(scaled, can):
        once = "" if scaling.is_identity else " once scaled"
        raise UsageError(
            f"{where}: values range from {scaled[0]:.4g} to {scaled[1]:.4g}{once}, and the "
            f"model's {spec.dtype} input '{spec.name}' holds {can[0]:.4g} to {can[1]:.4g}",
            hint=_rescale(held, can, InputScaling()),
        )


def _is_near(held: tuple[float, float], wanted: tuple[float, float]) -> bool:
    width, span = wanted[1] - wanted[0], held[1] - held[0]
    if width <= 0:
        return True
    inside = held[0] >= wanted[0] - width and held[1] <= wanted[1] + width
    return inside and _NARROWEST * width <= span <= _WIDEST * width


def _rescale(held: tuple[float, float], wanted: tuple[float, float], scaling: InputScaling) -> str:
    """A hint with the scaling that maps one range to the other, where one number says it."""
    span = held[1] - held[0]
    if len(scaling.scale) > 1 or len(scaling.offset) > 1 or span == 0:
        return "give the scaling with --data-options scale=[...],offset=[...]"
    ratio = (wanted[1] - wanted[0]) / span
    scale = scaling.scale[0] * ratio
    offset: Any = scaling.offset[0] + scaling.scale[0] * (wanted[0] - held[0] * ratio)
    return (
        "if it is the right data in another range, "
        f"--data-options scale={scale:.6g},offset={offset + 0.0:.6g} maps one to the other"
    )
