"""What a student learns from: the outputs of teachers of any format, and layers of a Keras one."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Artifact, Signature
from edgekit.core.data import Rows
from edgekit.frameworks._loop import is_tf_keras
from edgekit.frameworks._objectives import Objective, teacher_targets
from edgekit.frameworks._quiet import import_tensorflow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = ["Features", "Teacher", "channels_last", "turned_for"]

_CHUNK = 512

Predict = Callable[[tuple["Array", ...]], tuple["Array", ...]]

_KERAS = "keras"
_COLOURS = (1, 3, 4)


def channels_last(source: Artifact, signature: Signature) -> Signature | None:
    """The signature with its one image as Keras has it; None where it is so already.

    Other formats mostly have the channels first: 1, 3 or 4 of them before height and width.
    """
    if source.format == _KERAS or len(signature.inputs) != 1:
        return None
    (spec,) = signature.inputs
    sample = spec.sample_shape
    if len(sample) != 3 or sample[0] not in _COLOURS or sample[2] in _COLOURS:
        return None
    shape = (spec.shape[0], *sample[1:], sample[0])
    return Signature((dataclasses.replace(spec, shape=shape),), signature.outputs)


def turned_for(x: tuple[Array, ...], teacher: Artifact, signature: Signature) -> tuple[Array, ...]:
    """A batch as the teacher takes it: an image with its channels in front where it has them so,
    and the student last."""
    turned = channels_last(teacher, signature)
    if turned is None or not _fits(x[0], turned) or _fits(x[0], signature):
        return x
    return (x[0].transpose(0, 3, 1, 2).copy(),)


def _fits(x: Array, signature: Signature) -> bool:
    wanted = signature.inputs[0].sample_shape
    return len(x.shape) == len(wanted) + 1 and all(
        size in (None, held) for size, held in zip(wanted, x.shape[1:], strict=True)
    )


@dataclass(frozen=True, eq=False)
class Teacher:
    """Several models as functions from inputs to outputs, whose mean a student learns."""

    models: tuple[Predict, ...]
    objective: Objective
    temperature: float

    def targets(self, x: tuple[Array, ...]) -> NDArray[np.float32]:
        """What to learn for a batch."""
        outputs: list[Any] = [predict(x)[0] for predict in self.models]
        return teacher_targets(outputs, self.objective, self.temperature)

    def all_targets(
        self, rows: tuple[Rows, ...], path: Path, advance: Callable[[int], None]
    ) -> NDArray[np.float32]:
        """The targets of all samples, kept in a file (memory does not grow with the data).

        The file is reused by a training that was interrupted; its folder belongs to that training.
        """
        import numpy as np

        with contextlib.suppress(OSError, ValueError, EOFError):
            held = np.load(path, mmap_mode="r", allow_pickle=False)
            if len(held) == len(rows[0]):
                advance(len(held))
                return held  # type: ignore[no-any-return]
        partial = path.with_name(f".partial-{path.name}")
        file: Any = None
        for start in range(0, len(rows[0]), _CHUNK):
            x = tuple(np.asarray(source[start : start + _CHUNK]) for source in rows)
            targets = self.targets(x)
            if file is None:
                shape = (len(rows[0]), *targets.shape[1:])
                file = np.lib.format.open_memmap(partial, "w+", np.float32, shape)
            file[start : start + len(targets)] = targets
            advance(len(targets))
        file.flush()
        del file
        os.replace(partial, path)
        found: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        return found


class Features:
    """Mean squared error between pairs of layers (FitNets, Romero et al., arXiv:1412.6550).

    Where a pair's last axes differ, a matrix that is trained along and then dropped maps the
    student's channels to the teacher's.
    """

    def __init__(
        self, student: Any, teacher: Any, pairs: Sequence[tuple[str, str]], *, seed: int
    ) -> None:
        import keras
        import numpy as np

        tf = import_tensorflow()
        assert not is_tf_keras(student), "features are for Keras 3 students"
        mine = [student.get_layer(own).output for own, _ in pairs]
        theirs = [teacher.get_layer(other).output for _, other in pairs]
        self.outputs = len(student.outputs)
        self.student = keras.Model(student.inputs, [*student.outputs, *mine])
        self.teacher = keras.Model(teacher.inputs, theirs)
        self.variables = []
        rng = np.random.default_rng((seed, len(pairs)))
        self._maps: list[Any] = []
        for own, other in zip(mine, theirs, strict=True):
            matrix = None
            if own.shape[-1] != other.shape[-1]:
                size = (int(own.shape[-1]), int(other.shape[-1]))
                start = rng.normal(scale=size[0] ** -0.5, size=size).astype(np.float32)
                matrix = tf.Variable(start)
                self.variables.append(matrix)
            self._maps.append(matrix)

    def loss(self, x: Sequence[Any], outputs: list[Any]) -> Any:
        """The sum over the pairs, a scalar; `outputs` are those of `student`."""
        tf = import_tensorflow()
        aims = tf.nest.flatten(self.teacher(list(x), training=False))
        total = tf.constant(0.0)
        for own, aim, matrix in zip(outputs[self.outputs :], aims, self._maps, strict=True):
            own = tf.cast(own, tf.float32)
            mapped = own if matrix is None else tf.tensordot(own, matrix, 1)
            total += tf.reduce_mean(tf.square(mapped - tf.cast(aim, tf.float32)))
        return total
