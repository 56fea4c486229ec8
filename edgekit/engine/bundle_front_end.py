"""What preprocess.json says: by the user's own file, else the data, else the model's shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import InputScaling, Signature, TensorSpec
from edgekit.core.data import Dataset
from edgekit.core.front_end import (
    ArrayInput,
    Axes,
    BoxesOutput,
    ClassesOutput,
    FrontEnd,
    ImageInput,
    Input,
    Output,
    Scaling,
    ValuesOutput,
)
from edgekit.core.schema import read_toml
from edgekit.core.strict_json import build_strictly, plain
from edgekit.engine.data_inputs import fitted_shape, takes_integers
from edgekit.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["TaskFacts", "class_scores", "front_end_of"]

_SMALLEST_SIDE = 8
_BOX_PARTS = ("boxes", "scores", "classes", "count")
_DARK, _BRIGHT = 60, 128
_SUM_SLACK = 0.03
"""How far probabilities of 8 bits may be from 1 in all: each is rounded to 1/256."""


@dataclasses.dataclass(frozen=True)
class TaskFacts:
    """The task as --task names it, and the position of the output that it looks at."""

    name: str
    argument: str = ""
    output: int = 0

    @classmethod
    def parse(cls, text: str, output: int = 0) -> TaskFacts:
        """From 'classification' or 'detection:boxes,scores'."""
        name, _, argument = text.partition(":")
        return cls(name, argument, output)


def front_end_of(
    signature: Signature,
    scaling: InputScaling,
    *,
    dataset: Dataset | None,
    task: TaskFacts | None,
    real: Sequence[Array],
    own: Path | None,
) -> FrontEnd:
    """The front end of a bundle.

    `own` is the file of --preprocess, whose sections replace what is found otherwise. `real` are
    real-valued outputs, which show whether class scores are probabilities already.

    Raises:
        UsageError: the file is wrong, or does not fit the model's input.
    """
    given = _given(own)
    source = (
        build_strictly(Input, given["input"], where=f"--preprocess '{own}': input")
        if ("input" in given)
        else _input(signature, scaling, dataset)
    )
    found = FrontEnd(
        source,
        _scaling(signature, scaling),
        _output(signature, task, real),
    )
    if not given:
        return found
    table = {**plain(found), **given}
    made: FrontEnd = build_strictly(FrontEnd, table, where=f"--preprocess '{own}'")
    _check_fits(made, signature, f"--preprocess '{own}'")
    return made


def class_scores(signature: Signature, output: int) -> int | None:
    """The classes that an output scores: its only axis, 2 for a single value; None where open.

    Raises:
        ValueError: it has more than one axis.
    """
    shape = [size for size in signature.outputs[output].sample_shape if size != 1]
    if len(shape) > 1:
        raise ValueError(f"the output '{signature.outputs[output].name}' is no list of scores")
    return shape[0] if shape else 2


def _given(own: Path | None) -> dict[str, Any]:
    if own is None:
        return {}
    table = read_toml(own)
    known = [item.name for item in dataclasses.fields(FrontEnd)]
    for key in table:
        if key not in known:
            raise UsageError(
                f"--preprocess '{own}': unknown key '{key}'", hint=did_you_mean(key, known)
            )
    return table


def _input(signature: Signature, scaling: InputScaling, dataset: Dataset | None) -> Input:
    if len(signature.inputs) != 1:
        return ArrayInput("array")
    spec = signature.inputs[0]
    said: Mapping[str, Any] = dataset.front_end if dataset is not None else {}
    if said:
        own = build_strictly(Input, plain(dict(said)), where="front end of the data")
        fitted = _as_the_model(own, spec)
        if fitted is not None:
            return fitted
    if dataset is not None and len(dataset.train.x) == 1:
        # An array of the data says what the model's open axes are.
        held = fitted_shape(tuple(dataset.train.x[0].shape[1:]), spec)
        spec = spec if held is None else dataclasses.replace(spec, shape=(None, *held))
    return _looks_like_image(spec, _levels(scaling)) or ArrayInput("array")


def _as_the_model(own: Input, spec: TensorSpec) -> Input | None:
    """The front end of the data in the model's own axes; None where that is another thing."""
    if not isinstance(own, ImageInput):
        return own
    shape = fitted_shape(own.shape, spec)
    if shape is None:
        return None
    sides, last = (own.height, own.width), (own.height, own.width, own.channels)
    axes: Axes = "none" if shape == sides else "last" if shape == last else "first"
    return dataclasses.replace(own, axes=axes)


def _levels(scaling: InputScaling) -> tuple[float, float]:
    """What black and white are in the samples that the model was trained on."""
    low, high = scaling.low, scaling.high
    if low is None or high is None or (0 <= low < _DARK and _BRIGHT < high <= 256):
        return 0.0, 255.0
    return low, high


def _looks_like_image(spec: TensorSpec, levels: tuple[float, float]) -> ImageInput | None:
    """H x W, H x W x 1 or 3, 1 or 3 x H x W with sides of 8 at least; a guess, and said to be."""
    shape = spec.sample_shape
    if takes_integers(spec) and spec.dtype != "uint8":
        return None
    places: tuple[tuple[Axes, tuple[int, int, int]], ...] = (
        ("last", (0, 1, 2)),
        ("first", (1, 2, 0)),
    )
    for axes, order in places:
        if len(shape) == 3:
            height, width, channels = (shape[axis] for axis in order)
            if channels in (1, 3) and height and width and min(height, width) >= _SMALLEST_SIDE:
                return ImageInput(
                    "image", height, width, channels, axes, is_assumed=True, levels=levels
                )
    return None


def _scaling(signature: Signature, scaling: InputScaling) -> Scaling:
    if all(takes_integers(spec) for spec in signature.inputs):
        return Scaling()
    return Scaling(tuple(map(float, scaling.scale)), tuple(map(float, scaling.offset)))


def _output(signature: Signature, task: TaskFacts | None, real: Sequence[Array]) -> Output:
    if task is None:
        return ValuesOutput("values")
    if task.name == "classification":
        return ClassesOutput("classes", _activation(real[task.output]), index=task.output)  # type: ignore[arg-type]
    if task.name == "detection":
        return _boxes(signature, task.argument) or ValuesOutput("values")
    return ValuesOutput("values", index=task.output)


def _activation(scores: Array) -> str:
    """What makes probabilities of class scores: nothing, where they are such already."""
    import numpy as np

    rows = np.asarray(scores, np.float32).reshape(len(scores), -1)
    within = bool((rows >= -1e-6).all() and (rows <= 1 + 1e-3).all())
    if rows.shape[1] == 1:
        return "none" if within else "sigmoid"
    slack = max(_SUM_SLACK, rows.shape[1] / 512)
    return "none" if within and bool((abs(rows.sum(axis=1) - 1) <= slack).all()) else "softmax"


def _boxes(signature: Signature, argument: str) -> BoxesOutput | None:
    """Of `boxes,classes,scores,count,yxyx`; None where a box is written in another form."""
    words = [word.strip() for word in argument.split(",") if word.strip()]
    form = next((word for word in words if word not in _BOX_PARTS), "xyxy")
    order = tuple(word for word in words if word in _BOX_PARTS) or _BOX_PARTS[:3]
    if form not in ("xyxy", "yxyx") or len(order) > len(signature.outputs):
        return None
    return BoxesOutput("boxes", order, form)  # type: ignore[arg-type]


def _check_fits(made: FrontEnd, signature: Signature, where: str) -> None:
    own, spec = made.input, signature.inputs[0]
    if isinstance(own, ImageInput) and fitted_shape(own.shape, spec) is None:
        raise UsageError(
            f"{where}: input: an image of {own.shape} does not fit the model's input "
            f"{spec.sample_shape}",
            hint="give the height, width, channels and axes of the model",
        )
    index = getattr(made.output, "index", 0)
    if index >= len(signature.outputs):
        raise UsageError(
            f"{where}: output: index {index}, and the model has {len(signature.outputs)} outputs"
        )
    sizes = {len(made.scaling.scale), len(made.scaling.offset)} - {1}
    if sizes and not any(sizes <= {size} for size in spec.sample_shape):
        raise UsageError(
            f"{where}: scaling has {max(sizes)} values, and no axis of the model's input "
            f"{spec.sample_shape} has as many"
        )
