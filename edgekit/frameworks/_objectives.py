"""What a model is trained to do, found from its output and the labels: loss and metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgekit.core.data import TrainingData
from edgekit.core.training import TrainingOptions
from edgekit.errors import UsageError
from edgekit.frameworks._quiet import import_keras, import_tensorflow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Objective", "choose", "teacher_targets"]

Kind = Literal["classes", "two classes", "values"]
_SMALLEST = 1e-7
_SEEN_THROUGH = frozenset(
    {"Cast", "Identity", "Reshape", "Squeeze", "FakeQuantWithMinMaxVars"}
    | {"FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVarsPerChannel"}
)
_SQUASHERS = {"classes": "Softmax", "two classes": "Sigmoid"}


@dataclass(frozen=True, eq=False)
class Objective:
    """Loss and metric on the first output of a model.

    `classes`: whole-number labels and one score a class, cross-entropy. `two classes`: labels 0 and
    1 and a single score, binary cross-entropy. `values`: everything else, mean squared error;
    without labels against the model's first input. `weights` is one factor a class.
    """

    kind: Kind
    classes: int
    smoothing: float
    weights: tuple[float, ...]
    own: Callable[..., Any] | None = None

    @property
    def metric(self) -> str:
        """What `measure` counts besides the loss, '' where there is no right and wrong."""
        return "" if self.kind == "values" else "accuracy"

    def loss(self, y: Any, outputs: list[Any], share: Any = None, other: Any = None) -> Any:
        """The loss of each sample, (n,). Under mixup `share` is that of `y`, the rest `other`'s."""
        first = self._weighted(y, outputs)
        if other is None:
            return first
        return share * first + (1.0 - share) * self._weighted(other, outputs)

    def measure(self, y: Any, outputs: list[Any]) -> tuple[Any, Any]:
        """The plain loss on the labels, and what is right (1 or 0), of each sample, (n,)."""
        tf = import_tensorflow()
        if self.own is not None:
            loss = self._own(y, outputs)
        else:
            loss = self._plain(y, outputs, smoothing=0.0)
        if self.kind == "values":
            return loss, tf.zeros_like(loss)
        scores = tf.reshape(tf.cast(outputs[0], tf.float32), (tf.shape(y)[0], -1))
        if self.kind == "classes":
            said = tf.argmax(scores, axis=-1, output_type=tf.int64)
        else:
            logits = self.logits(outputs[0])
            said = tf.cast(tf.reshape(logits, (-1,)) > 0, tf.int64)
        return loss, tf.cast(tf.equal(said, tf.cast(y, tf.int64)), tf.float32)

    def logits(self, output: Any) -> Any:
        """What goes into the softmax or sigmoid that makes an output; the output where none does.

        Looks through the graph, as Keras does: a loss on logits is exact where one on probabilities
        would lose what has become 0.
        """
        tf = import_tensorflow()
        found, squasher = output, _SQUASHERS.get(self.kind)
        while not tf.executing_eagerly() and found.op.type in _SEEN_THROUGH:
            found = found.op.inputs[0]
        if not tf.executing_eagerly() and squasher and found.op.type == squasher:
            found = found.op.inputs[0]
        else:
            found = output
        return tf.cast(tf.reshape(found, tf.shape(output)), tf.float32)

    def _weighted(self, y: Any, outputs: list[Any]) -> Any:
        tf = import_tensorflow()
        if self.own is not None:
            loss = self._own(y, outputs)
        else:
            loss = self._plain(y, outputs, smoothing=self.smoothing)
        if not self.weights:
            return loss
        return loss * tf.gather(tf.constant(self.weights, tf.float32), tf.cast(y, tf.int32))

    def _own(self, y: Any, outputs: list[Any]) -> Any:
        tf = import_tensorflow()
        assert self.own is not None
        value = self.own(y, outputs[0] if len(outputs) == 1 else tuple(outputs))
        value = tf.cast(value, tf.float32)
        if value.shape.rank == 0:
            return tf.fill((tf.shape(outputs[0])[0],), value)
        if not value.shape[:1].is_compatible_with(outputs[0].shape[:1]):
            raise UsageError(
                f"hooks: 'loss' returned the shape {tuple(value.shape)} for an output of "
                f"{tuple(outputs[0].shape)}",
                hint="return one loss a sample, or a scalar",
            )
        return tf.reduce_mean(tf.reshape(value, (tf.shape(outputs[0])[0], -1)), axis=1)

    def _plain(self, y: Any, outputs: list[Any], *, smoothing: float) -> Any:
        tf = import_tensorflow()
        if self.kind == "values":
            # Labels (n,) belong to an output (n, 1): subtracted as they are they would make (n, n).
            truth = tf.reshape(tf.cast(y, tf.float32), tf.shape(outputs[0]))
            gap = tf.cast(outputs[0], tf.float32) - truth
            return tf.reduce_mean(tf.reshape(tf.square(gap), (tf.shape(gap)[0], -1)), axis=1)
        logits = self.logits(outputs[0])
        if self.kind == "two classes":
            logits = tf.reshape(logits, (-1,))
            truth = tf.cast(y, tf.float32) * (1.0 - smoothing) + 0.5 * smoothing
            return tf.nn.sigmoid_cross_entropy_with_logits(labels=truth, logits=logits)
        logits = tf.reshape(logits, (-1, self.classes))
        if not smoothing:
            return tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=tf.cast(y, tf.int32), logits=logits
            )
        truth = tf.one_hot(tf.cast(y, tf.int32), self.classes)
        truth = truth * (1.0 - smoothing) + smoothing / self.classes
        return tf.nn.softmax_cross_entropy_with_logits(labels=truth, logits=logits)

    def towards(self, targets: Any, outputs: list[Any], temperature: float) -> Any:
        """The loss towards a teacher's targets (see `teacher_targets`), a scalar.

        Hinton et al., arXiv:1503.02531, for classes; mean squared error for the rest.
        """
        tf = import_tensorflow()
        if self.kind != "classes":
            gap = tf.cast(outputs[0], tf.float32) - tf.reshape(targets, tf.shape(outputs[0]))
            return tf.reduce_mean(tf.square(gap))
        keras = import_keras()
        # As an object: by its name Keras takes the function of it, and leaves softmax and T^2 out.
        engine = keras.distillation.LogitsDistillation(
            temperature=temperature, loss=keras.losses.KLDivergence()
        )
        logits = tf.reshape(self.logits(outputs[0]), (-1, self.classes))
        return engine.compute_loss(tf.reshape(targets, tf.shape(logits)), logits)


def choose(
    data: TrainingData,
    output_shape: tuple[int | None, ...],
    options: TrainingOptions,
    *,
    own: Callable[..., Any] | None = None,
) -> Objective:
    """The objective for these labels and this output.

    Raises:
        UsageError: labels that do not fit the output, class weights that do not fit the classes.
    """
    kind, classes = _kind(data, output_shape, has_own=own is not None)
    weights = _weights(options, data, kind, classes)
    if options.label_smoothing and kind == "values":
        raise UsageError(
            f"label_smoothing = {options.label_smoothing} is for classes, and the labels are none",
            hint="leave it out",
        )
    return Objective(kind, classes, options.label_smoothing, weights, own)


def _kind(data: TrainingData, shape: tuple[int | None, ...], *, has_own: bool) -> tuple[Kind, int]:
    import numpy as np

    scores = int(np.prod([size or 1 for size in shape[1:]], dtype=np.int64))
    if data.y_train is None:
        if tuple(data.x_train[0].shape[1:]) != tuple(shape[1:]) and not has_own:
            raise UsageError(
                f"data: there are no labels, and the output {_text(shape)} has not the shape of "
                f"the input {_text(data.x_train[0].shape)}, so there is nothing to learn",
                hint="give labels; without them a model learns to reconstruct its input",
            )
        return "values", 0
    if np.dtype(data.y_train.dtype).kind in "iub" and len(data.y_train.shape) == 1:
        classes = data.classes or 0
        if scores == 1:
            # More than two: numbers to hit; a task that wants classes has refused them before.
            return ("two classes", 2) if classes <= 2 else ("values", 0)
        if classes > scores and not has_own:
            raise UsageError(
                f"data: labels go up to {classes - 1}, but the model has {scores} classes",
                hint=f"number the classes 0 to {scores - 1}",
            )
        return "classes", scores
    wanted = int(np.prod(data.y_train.shape[1:], dtype=np.int64))
    if wanted != scores and not has_own:
        raise UsageError(
            f"data: labels have {wanted} values a sample, and the model's output has {scores}",
            hint="give the data the model was made for",
        )
    return "values", 0


def _text(shape: tuple[int | None, ...]) -> str:
    return " x ".join("?" if size is None else str(size) for size in shape[1:]) or "1"


def _weights(
    options: TrainingOptions, data: TrainingData, kind: Kind, classes: int
) -> tuple[float, ...]:
    import numpy as np

    if not options.class_weights:
        return ()
    if kind == "values" or data.y_train is None:
        raise UsageError(
            "class_weights are for classes, and the labels are none", hint="leave them out"
        )
    if options.class_weights == "balanced":
        counts = np.bincount(np.asarray(data.y_train[:]).astype(np.int64), minlength=classes)
        held = np.maximum(counts, 1)
        return tuple(float(w) for w in counts.sum() / (len(counts) * held))
    if len(options.class_weights) != classes:
        raise UsageError(
            f"class_weights has {len(options.class_weights)} values, and there are "
            f"{classes} classes",
            hint="give one a class, or 'balanced'",
        )
    return tuple(float(weight) for weight in options.class_weights)


def teacher_targets(
    outputs: list[NDArray[np.floating[Any]]], objective: Objective, temperature: float
) -> NDArray[np.float32]:
    """What a student learns from the outputs (n, ...) of one or several teachers.

    For classes logits whose softmax at `temperature` is the mean of the teachers' softened
    probabilities; else the mean of the outputs. A teacher's outputs count as probabilities where
    they are all from 0 to 1 and sum to 1 within what 8 bits can say.
    """
    import numpy as np

    if objective.kind != "classes":
        stacked = np.stack([np.asarray(output, np.float32) for output in outputs])
        return np.asarray(stacked.mean(axis=0), np.float32)
    softened = []
    for output in outputs:
        scores = np.asarray(output, np.float64).reshape(len(output), -1)
        if _are_probabilities(scores):
            scores = np.log(np.maximum(scores, _SMALLEST))
        scores = (scores - scores.max(axis=1, keepdims=True)) / temperature
        shares = np.exp(scores)
        softened.append(shares / shares.sum(axis=1, keepdims=True))
    mean = np.maximum(np.mean(softened, axis=0), np.finfo(np.float64).tiny)
    return np.asarray(temperature * np.log(mean), np.float32)


def _are_probabilities(scores: NDArray[Any]) -> bool:
    import numpy as np

    inside = scores.min(initial=0) >= 0 and scores.max(initial=0) <= 1
    off = np.abs(scores.sum(axis=1) - 1).max(initial=0)
    return bool(inside and off < 0.02 + scores.shape[1] / 256)
