"""Compares outputs of an ONNX model and of the `.tflite` made from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.conversions._onnx2tf_edges import Axes, last, shaped
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import onnx_files

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["axes_of", "bounded_outputs", "difference", "turned"]

_BOUNDED = ("Sigmoid", "Softmax", "HardSigmoid")
_FLOOR = 0.01


def turned(array: Array, axes: Axes) -> Array:
    """The array with its axes permuted, in one piece."""
    import numpy as np

    return np.ascontiguousarray(np.transpose(array, axes))


def axes_of(expected: Array, made: Array) -> Axes:
    """Which axes of `expected` those of `made` are: the same, or with the channels last.

    Where both fit the shape (1 x 8 x 8 x 8), the values decide.
    """
    same = tuple(range(expected.ndim))
    fitting = [
        axes for axes in (same, last(len(same))) if shaped(expected.shape, axes) == made.shape
    ]
    return min(fitting, key=lambda axes: _gap(turned(expected, axes), made), default=same)


def bounded_outputs(path: Path) -> frozenset[str]:
    """The outputs of an ONNX model that a Sigmoid or Softmax writes: their range is 0 to 1."""
    graph = onnx_files.load(path).graph
    ends = {value.name for value in graph.output}
    made = {name for node in graph.node if node.op_type in _BOUNDED for name in node.output}
    return frozenset(ends & made)


def difference(name: str, expected: Array, made: Array, *, is_bounded: bool = False) -> float:
    """max |made - expected| / max |expected|.

    An output between 0 and 1 that is nearly 0 on all inputs (a detector on noise) holds little but
    the rounding of its range: it counts as if its largest value were 0.01 at least.

    Raises:
        PromiseError: the shapes differ, or only `made` has values that are not finite.
        UsageError: `expected` has such values: NaN equals nothing, and all is 0 beside infinity.
    """
    import numpy as np

    if made.shape != expected.shape:
        raise PromiseError(
            f"output '{name}' of the .tflite has the shape {made.shape}, and {expected.shape} in "
            "the ONNX model"
        )
    before, after = (int(np.count_nonzero(~np.isfinite(array))) for array in (expected, made))
    found = f"of {expected.size} values NaN or infinite on the compared inputs"
    if before:
        raise UsageError(
            f"output '{name}' of the ONNX model has {before} {found}",
            hint="where random inputs cause it, give real ones with --data; else look for weights "
            "that are NaN",
        )
    if after:
        raise PromiseError(
            f"output '{name}' of the .tflite has {after} {found}, and the ONNX model none",
            hint="an op computes otherwise in TensorFlow Lite: look for values that overflow",
        )
    return _gap(expected, made, floor=_FLOOR if is_bounded else 0.0)


def _gap(expected: Array, made: Array, *, floor: float = 0.0) -> float:
    import numpy as np

    exact = expected.astype(np.float64)
    gap = float(np.max(np.abs(made.astype(np.float64) - exact), initial=0.0))
    largest = max(floor, float(np.max(np.abs(exact), initial=0.0)))
    if not gap:
        return 0.0
    return gap / largest if largest > 0 else float("inf")
