"""Trains a Keras model: seeded, checkpointed after every epoch, resumable, stopped at NaN.

Same seed, data and machine give the same weights, bit by bit, with or without an interruption:
everything random in an epoch follows from (seed, epoch), and a checkpoint holds the optimizer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Artifact, Signature, TensorSpec
from edgekit.core.data import TrainingData
from edgekit.core.notes import Note
from edgekit.core.technique import Models, Work
from edgekit.core.training import (
    BEFORE_LOSS,
    BEFORE_METRIC,
    ORIGIN,
    Curve,
    Epoch,
    TrainingOptions,
)
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import strategies
from edgekit.frameworks._checkpoints import Checkpoints, plan_digest, save_weights
from edgekit.frameworks._hooks import Guarded, Hooks, load_hooks
from edgekit.frameworks._loop import Batch, Loop, check_trains, is_tf_keras
from edgekit.frameworks._objectives import choose
from edgekit.frameworks._precision import mixed
from edgekit.frameworks._quiet import import_keras, import_tensorflow, import_tf_keras
from edgekit.frameworks._teachers import Features, Teacher, channels_last, turned_for
from edgekit.frameworks.augmentation import augment, check_augmentation
from edgekit.lazy import version
from edgekit.units import format_seconds, format_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.data import Array

__all__ = [
    "TrainingResult",
    "check_labels",
    "check_trainable",
    "check_trains",
    "epochs_in",
    "evaluate",
    "evaluator",
    "steps_in",
    "train",
    "train_in",
    "versions",
]

Progress = Callable[[str, int], AbstractContextManager[Any]]

_SELECT_BATCH = 256


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """The trained model with the weights of the kept epoch, and how it came about.

    `resumed_after` is the number of epochs that were found in checkpoints.
    """

    model: Any
    curve: Curve
    resumed_after: int = 0
    notes: tuple[Note, ...] = ()


def versions(*engines: str) -> Mapping[str, str]:
    """The packages whose versions change what a training gives, those of `engines` among them; ''
    where one is not installed."""
    packages = ("tensorflow", "keras", "tf-keras", "ai-edge-litert", "onnxruntime", *engines)
    return {package: version(package) for package in packages}


def check_trainable(options: TrainingOptions, source: Artifact, models: Models) -> None:
    """Refuses what a training with these options cannot work with, before any training.

    Raises:
        UsageError: a hooks file or teacher that cannot be used, an augmentation that does not suit
            the inputs, no TF_CONFIG for several workers, a batch that does not divide among them.
    """
    load_hooks(options.hooks, {})
    before = models.describe(source).signature
    check_augmentation(options.augment, before.inputs)
    if options.strategy == strategies.MULTI_WORKER:
        strategies.check_cluster()
    strategies.check_batch(options.batch_size, strategies.replicas(options.strategy))
    for name in options.teacher:
        if name != ORIGIN:
            _check_teacher(name, source, models)


def _check_teacher(name: str, source: Artifact, models: Models) -> None:
    opened = _opened(name, models)
    if not opened.scaling.is_identity and opened.scaling != source.scaling:
        raise UsageError(
            f"teacher '{name}' was trained on another input scaling than the model",
            hint="teach with a model that was trained on inputs of the same range",
        )
    before, teacher = (models.describe(each).signature for each in (source, opened))
    for noun, own, other in (
        ("takes", before.inputs, teacher.inputs),
        ("gives", before.outputs[:1], teacher.outputs[:1]),
    ):
        mine, theirs = _samples(own), _samples(other)
        turned = channels_last(opened, teacher) if noun == "takes" else None
        if mine != theirs and (turned is None or mine != _samples(turned.inputs)):
            raise UsageError(
                f"teacher '{name}' {noun} {_shapes(theirs)}, and the student {_shapes(mine)}",
                hint="a teacher and its student have the same inputs and classes",
            )


def _samples(specs: tuple[TensorSpec, ...]) -> list[tuple[int | None, ...]]:
    return [spec.sample_shape for spec in specs]


def _opened(teacher: str, models: Models) -> Artifact:
    try:
        return models.open(teacher)
    except UsageError as error:
        raise UsageError(
            f"teacher '{teacher}' cannot be used: {error.message}",
            hint=f"teacher is '{ORIGIN}', or the path of a model file",
        ) from None


def check_labels(
    data: TrainingData, signature: Signature, options: TrainingOptions, hooks: Mapping[str, Any]
) -> None:
    """Refuses labels that do not fit the output, and class weights that do not fit the labels.

    Raises:
        UsageError: one of them does not.
    """
    own = load_hooks(options.hooks, hooks).loss
    _check_samples(data)
    if len(data.x_train[0]) < options.batch_size:
        raise UsageError(
            f"data: {len(data.x_train[0])} samples to train on are fewer than a batch of "
            f"{options.batch_size}",
            hint="give more data, or a smaller batch_size",
        )
    choose(data, signature.outputs[0].shape, options, own=own)


def _shapes(shapes: list[tuple[int | None, ...]]) -> str:
    return ", ".join(
        " x ".join("?" if size is None else str(size) for size in shape) or "one number"
        for shape in shapes
    )


def steps_in(data: TrainingData, options: TrainingOptions) -> int:
    """The number of optimizer steps of a whole training."""
    return epochs_in(data, options) * _steps(data, options)


def epochs_in(data: TrainingData, options: TrainingOptions) -> int:
    """The number of epochs of a training: as asked, or more where the data is small."""
    return max(options.epochs, -(-options.min_steps // _steps(data, options)))


def _steps(data: TrainingData, options: TrainingOptions) -> int:
    return max(1, len(data.x_train[0]) // options.batch_size)


def train_in(
    work: Work,
    build: Callable[[], Any],
    options: TrainingOptions,
    *,
    title: str,
    callbacks: Sequence[Any] = (),
    first_epoch: int = 1,
    features: tuple[tuple[str, str], ...] = (),
) -> TrainingResult:
    """Trains what `build` returns on the step's data, and puts the curve and notes on record.

    `build` makes an uncompiled functional model (Keras 3 or tf_keras); `title` tells the trainings
    of one step apart. `callbacks` have the methods of Keras callbacks. `features` are pairs of
    layers, (student's, teacher's), for teachers in Keras.

    Raises:
        UsageError: labels that do not fit the model, or options that do not fit the data.
        PromiseError: the loss is not a finite number; the last good weights stay, and are named.
    """
    result = train(
        build,
        work.training_data(),
        options,
        folder=work.checkpoints / re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-"),
        seed=work.seed,
        progress=work.progress,
        title=title,
        teachers=tuple(_predictor(work, name) for name in options.teacher),
        hooks=load_hooks(options.hooks, work.hooks),
        callbacks=callbacks,
        first_epoch=first_epoch,
        features=_feature_maker(work, options, features),
    )
    work.record(result.curve)
    for note in result.notes:
        (work.evidence if note.is_evidence else work.note)(note.what, note.item, note.reason)
    return result


def _teacher(work: Work, name: str) -> Artifact:
    return work.origin if name == ORIGIN else work.open(name)


def _predictor(work: Work, name: str) -> Callable[[tuple[Array, ...]], tuple[Array, ...]]:
    artifact = _teacher(work, name)
    signature = work.describe(artifact).signature
    return lambda x: work.predict(artifact, turned_for(x, artifact, signature))


def _feature_maker(
    work: Work, options: TrainingOptions, pairs: tuple[tuple[str, str], ...]
) -> Callable[[Any], Features] | None:
    if not pairs:
        return None
    from edgekit.frameworks.bridge import load_trainable

    teacher = load_trainable(_teacher(work, options.teacher[0]).path)
    return lambda student: Features(student, teacher, pairs, seed=work.seed)


def train(
    build: Callable[[], Any],
    data: TrainingData,
    options: TrainingOptions,
    *,
    folder: Path,
    seed: int,
    progress: Progress,
    title: str = "train",
    teachers: tuple[Callable[[tuple[Array, ...]], tuple[Array, ...]], ...] = (),
    hooks: Hooks | None = None,
    callbacks: Sequence[Any] = (),
    first_epoch: int = 1,
    features: Callable[[Any], Features] | None = None,
) -> TrainingResult:
    """Trains what `build` returns, or goes on from the checkpoint in `folder`.

    Raises:
        UsageError: no samples, labels that do not fit the samples or the model, or a user's
            callback that stops before an epoch whose weights may be kept.
        PromiseError: the loss is not a finite number; the last good weights stay.
    """
    own = hooks or Hooks()
    options = dataclasses.replace(options, epochs=epochs_in(data, options), min_steps=0)
    assert 1 <= first_epoch <= options.epochs, first_epoch
    strategy = strategies.start(options.strategy)
    _check_samples(data)
    labels = _labels(data.y_train, data.x_train), _labels(data.y_select, data.x_select)
    scope = strategy.scope() if strategy is not None else contextlib.nullcontext()
    _seed_all(_draw(seed, 0, 1)[0])
    with scope:
        model = build()
        objective = choose(data, tuple(model.outputs[0].shape), options, own=own.loss)
        with mixed(model, options.precision):
            loop = Loop(
                model,
                objective,
                options,
                own,
                steps=steps_in(data, options),
                strategy=strategy,
                features=features(model) if features is not None else None,
            )
            checkpoints = Checkpoints(
                folder, _plan(options, seed, loop, labels), first_epoch=first_epoch
            )
            run = _Run(loop, data, labels, options, seed, title, checkpoints)
            before = run.before()
            _resume(loop, checkpoints)
            resumed_after = len(checkpoints.history)
            run.teach(teachers, folder, progress)
            run.epochs(progress, (*callbacks, *map(Guarded, own.callbacks)))
            _check_kept(checkpoints)
            loop.restore(checkpoints.values(checkpoints.best_epoch), weights_only=True)
    curve = Curve(
        title, objective.metric, tuple(checkpoints.history), checkpoints.best_epoch, before
    )
    return TrainingResult(model, curve, resumed_after, _notes(checkpoints, resumed_after, title))


def _seed_all(seed: int) -> None:
    """Seeds both libraries, and asks GPUs for kernels that give the same bits each time (those of
    CPUs do anyway)."""
    tf = import_tensorflow("training a model")
    import_keras("training a model").utils.set_random_seed(seed)
    if "tf_keras" in sys.modules:  # Once seeded it has a generator of its own.
        import_tf_keras().utils.set_random_seed(seed)
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


def _plan(
    options: TrainingOptions, seed: int, loop: Loop, labels: tuple[NDArray[Any], NDArray[Any]]
) -> str:
    settings = {**dataclasses.asdict(options), "seed": seed}
    return plan_digest(settings, [*loop.values()[: loop.weights_count], *labels])


def _resume(loop: Loop, checkpoints: Checkpoints) -> None:
    """Goes on from the last epoch that all workers have."""
    held = checkpoints.load()
    for _ in range(2):  # a worker may find that it lacks the epoch that all agreed on
        agreed = loop.least(len(checkpoints.history))
        if agreed < len(checkpoints.history):
            held = checkpoints.rewind(agreed)
    if held is None:
        return
    try:
        loop.restore(held)
    except ValueError as error:
        checkpoints.history = []
        checkpoints.notes.append(Note("restarted", "training checkpoint", str(error)))


def _check_kept(checkpoints: Checkpoints) -> None:
    """Only a user's callback stops before `first_epoch`: patience counts from there."""
    if checkpoints.best_epoch:
        return
    first = checkpoints.first_epoch
    # Else the same command would go on behind the epoch at which the callback stopped it.
    checkpoints.forget()
    if first == 1:
        raise UsageError(
            "hooks: a callback stopped the training before the end of epoch 1",
            hint="set stop_training in its on_epoch_end",
        )
    raise UsageError(
        f"hooks: a callback stopped the training before epoch {first}, where all zeros are there",
        hint=f"let it train until epoch {first}, or lower `end`, so that they are there sooner",
    )


class _Run:
    """One training on its way: the loop, its data, and what an epoch is."""

    def __init__(
        self,
        loop: Loop,
        data: TrainingData,
        labels: tuple[NDArray[Any], NDArray[Any]],
        options: TrainingOptions,
        seed: int,
        title: str,
        checkpoints: Checkpoints,
    ) -> None:
        self.loop, self.data, self.labels, self.options = loop, data, labels, options
        self.seed, self.title, self.checkpoints = seed, title, checkpoints
        self.steps = _steps(data, options)
        self.teacher: Teacher | None = None
        self.targets: Any = None

    def before(self) -> dict[str, float]:
        """The figures on select of the model as it comes: what the rest is set against."""
        loss, right, *_ = (
            value / len(self.labels[1]) for value in _sums(self.loop, self.data, self.labels[1])
        )
        found = {BEFORE_LOSS: loss}
        if self.loop.objective.metric:
            found[BEFORE_METRIC] = right
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def teach(self, models: tuple[Any, ...], folder: Path, progress: Progress) -> None:
        """Asks the teachers once for all samples; under augmentation they see each batch."""
        if not models:
            return
        self.teacher = Teacher(models, self.loop.objective, self.options.temperature)
        if self.options.augment or self.loop.hooks.augment is not None:
            return
        rows = self.data.x_train
        path = folder / f"teacher-{self.checkpoints.plan[:16]}.npy"
        with progress(f"{self.title}: teacher", len(rows[0])) as bar:
            self.targets = self.teacher.all_targets(rows, path, bar.advance)

    def epochs(self, progress: Progress, callbacks: Sequence[Any]) -> None:
        """Trains until all epochs are done or patience ends."""
        if self.is_done:
            return
        model, history = self.loop.model, self.checkpoints.history
        users = [callback for callback in callbacks if isinstance(callback, Guarded)]
        engines = [callback for callback in callbacks if not isinstance(callback, Guarded)]
        model.stop_training = False
        with (
            _attached(callbacks, self.loop),
            progress(f"{self.title}: {self._status()}", self.options.epochs * self.steps) as bar,
        ):
            bar.advance(len(history) * self.steps)
            _tell(callbacks, "on_train_begin")
            while not self.is_done and not model.stop_training:
                number = len(history) + 1
                draws = _seed_dropout(model, self.seed, number)
                self.loop.new_epoch(draws)
                started = time.monotonic()
                _tell(callbacks, "on_epoch_begin", number - 1)
                loss, right = self._train_epoch(number, bar, callbacks)
                _tell(engines, "on_epoch_end", number - 1)  # They may set weights.
                self.loop.synchronise()
                epoch = self._measured(number, loss, right, started)
                self.checkpoints.add(self.loop.values(), epoch)
                for callback in users:
                    _tell_figures(callback, number - 1, epoch, self.loop.objective.metric)
                bar.advance(0, f"{self.title}: {self._status()}")
            _tell(callbacks, "on_train_end")

    @property
    def is_done(self) -> bool:
        """True after the last epoch, and where patience has ended."""
        done = len(self.checkpoints.history)
        if done >= self.options.epochs or not self.options.patience:
            return done >= self.options.epochs
        best = self.checkpoints.best_epoch
        return bool(best) and done - best >= self.options.patience

    def _train_epoch(
        self, number: int, bar: Any, callbacks: Sequence[Any]
    ) -> tuple[float, float | None]:
        """Returns the mean loss and metric; under mixup no answer is right, so there is none."""
        own = self.loop.hooks.train_epoch
        if own is not None:
            return self._own_epoch(own, number, bar, callbacks), None
        total, hits, step = 0.0, 0.0, 0
        for step, batch in enumerate(self._batches(number), start=1):
            _tell(callbacks, "on_train_batch_begin", step - 1)
            loss, right = self.loop.step(batch)
            self._check_finite(loss, f"epoch {number}, step {step}")
            _tell(callbacks, "on_train_batch_end", step - 1)
            total, hits = total + loss, hits + right
            bar.advance(1)
        has_metric = self.loop.objective.metric and "mixup" not in self.options.augment
        return total / step, hits / step if has_metric else None

    def _own_epoch(
        self, own: Callable[..., Any], number: int, bar: Any, callbacks: Sequence[Any]
    ) -> float:
        seen: list[float] = []
        given: list[tuple[Any, Batch]] = []

        def step(x: Any, y: Any) -> float:
            # What was yielded goes on with all that belongs to it: targets, and mixup's other half.
            same = given and given[-1][0] is x and given[-1][1].y is y
            batch = given[-1][1] if same else self._own_batch(x, y)
            _tell(callbacks, "on_train_batch_begin", len(seen))
            loss, _ = self.loop.step(batch)
            self._check_finite(loss, f"epoch {number}, step {len(seen) + 1}")
            _tell(callbacks, "on_train_batch_end", len(seen))
            seen.append(loss)
            return loss

        def batches() -> Iterator[tuple[Any, Any]]:
            for batch in self._batches(number):
                x = batch.x if len(batch.x) > 1 else batch.x[0]
                given[:] = [(x, batch)]
                yield x, batch.y
                bar.advance(1)

        returned = own(self.loop.model, batches(), step)
        if returned is None and not seen:
            raise UsageError(
                "hooks: 'train_epoch' took no step and returned no loss",
                hint="call step(x, y) for each batch, or return the mean loss of the epoch",
            )
        loss = sum(seen) / len(seen) if returned is None else _number(returned)
        self._check_finite(loss, f"epoch {number}")
        return loss

    def _own_batch(self, x: Any, y: Any) -> Batch:
        """A batch of the user's own making; teachers are asked anew."""
        if "mixup" in self.options.augment:
            raise UsageError(
                "hooks: 'train_epoch' changes batches that mixup has mixed",
                hint="leave mixup out, or give step the x and y that batches yields",
            )
        import numpy as np

        inputs = tuple(np.asarray(a, np.float32) for a in (x if isinstance(x, tuple) else (x,)))
        return Batch(inputs, y, self.teacher.targets(inputs) if self.teacher is not None else None)

    def _batches(self, number: int) -> Iterator[Batch]:
        """Batches of one size, because another size is another graph; the order changes every
        epoch, so that no sample is left out for good."""
        import numpy as np

        rng = np.random.default_rng((self.seed, number))
        order = rng.permutation(len(self.labels[0]))
        size, hooks = self.options.batch_size, self.loop.hooks
        for start in range(0, self.steps * size, size):
            index = order[start : start + size]
            x: Any = tuple(np.asarray(rows[index], np.float32) for rows in self.data.x_train)
            y: Any
            other: Any
            share: Any
            y, other, share = self.labels[0][index], None, None
            if hooks.augment is not None:
                x, y = _augmented(hooks.augment, x, y, rng)
            if self.options.augment:
                x, y, other, share = augment(
                    x, y, self.options.augment, rng, classes=self.data.classes
                )
            if self.data.y_train is None:
                y, other, share = x[0], None, None
            targets = None
            if self.targets is not None:
                targets = self.targets[index]
            elif self.teacher is not None:
                targets = self.teacher.targets(x)
            yield Batch(x, y, targets, other, share)

    def _measured(self, number: int, loss: float, right: float | None, started: float) -> Epoch:
        sums, has_metric = _sums(self.loop, self.data, self.labels[1]), self.loop.objective.metric
        count = len(self.labels[1])
        select = [value / count for value in sums]
        self._check_finite(select[0], f"epoch {number}, on the select split")
        return Epoch(
            loss,
            right,
            select[0],
            select[1] if has_metric else None,
            time.monotonic() - started,
            dict(zip(self.loop.hooks.metrics, select[2:], strict=True)),
        )

    def _check_finite(self, loss: float, where: str) -> None:
        if math.isfinite(loss):
            return
        good = len(self.checkpoints.history)
        kept = "no epoch was finished, so there are no weights to keep"
        if good:
            self.loop.restore(self.checkpoints.values(good), weights_only=True)
            path = save_weights(self.loop.model, self.checkpoints.folder)
            kept = f"the weights after epoch {good} are kept in {path}"
        raise PromiseError(
            f"{self.title}: the loss is {loss} at {where}; {kept}",
            hint="check the input scaling, or train with a lower learning rate",
        )

    def _status(self) -> str:
        """The text of the progress bar: which epoch, how well so far, and the time left."""
        history, epochs = self.checkpoints.history, self.options.epochs
        text = f"epoch {min(len(history) + 1, epochs)}/{epochs}"
        if not history:
            return text
        left = sum(epoch.seconds for epoch in history) / len(history)
        left *= epochs - len(history)
        last = history[-1]
        metric = "" if last.select_metric is None else f" {format_share(last.select_metric)}"
        return (
            f"{text}  loss {last.loss:.3g}  select {last.select_loss:.3g}{metric}"
            f"  at most {format_seconds(left)} left"
        )


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(
            f"hooks: 'train_epoch' returned {type(value).__name__}, which is no loss",
            hint="return the mean loss of the epoch, or nothing",
        ) from None


def _augmented(function: Any, x: tuple[Array, ...], y: Array, rng: Any) -> Any:
    import numpy as np

    returned = function(x if len(x) > 1 else x[0], y, rng)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise UsageError("hooks: 'augment' must return (x, y)")
    made, labels = returned
    made = made if isinstance(made, tuple) else (made,)
    arrays = tuple(np.asarray(array, np.float32) for array in made)
    shapes = [array.shape for array in arrays]
    own = np.asarray(labels)
    if shapes != [array.shape for array in x] or own.shape != y.shape:
        raise UsageError(
            f"hooks: 'augment' returned shapes {shapes} and labels {own.shape}, "
            f"for {[array.shape for array in x]} and {y.shape}",
            hint="the shapes of a batch must stay",
        )
    if y.dtype.kind == "i" and own.dtype.kind not in "iub":
        raise UsageError(
            f"hooks: 'augment' returned {own.dtype} labels, and the classes are whole numbers",
            hint="return the labels as they were given",
        )
    return arrays, own.astype(y.dtype)


def evaluate(
    model: Any,
    data: TrainingData,
    options: TrainingOptions,
    *,
    limit: int | None = None,
    own: Callable[..., Any] | None = None,
) -> tuple[float, float | None]:
    """Loss (or the user's `own`) and metric (or None) on the first `limit` select samples."""
    return evaluator(model, data, options, limit=limit, own=own)()


def evaluator(
    model: Any,
    data: TrainingData,
    options: TrainingOptions,
    *,
    limit: int | None = None,
    own: Callable[..., Any] | None = None,
) -> Callable[[], tuple[float, float | None]]:
    """A function that evaluates the model as it is then; compiled once, for whoever asks often."""
    _check_samples(data)
    objective = choose(data, tuple(model.outputs[0].shape), options, own=own)
    loop = Loop(model, objective, options, Hooks(), steps=1, strategy=None)
    labels = _labels(data.y_select, data.x_select)[:limit]

    def measure() -> tuple[float, float | None]:
        loss, right = _sums(loop, data, labels)
        return loss / len(labels), right / len(labels) if objective.metric else None

    return measure


def _sums(loop: Loop, data: TrainingData, labels: NDArray[Any]) -> list[float]:
    """Sums of loss, right answers and the user's metrics over the select samples."""
    import numpy as np

    totals: list[float] = []
    for start in range(0, len(labels), _SELECT_BATCH):
        part = slice(start, min(start + _SELECT_BATCH, len(labels)))
        x = tuple(np.asarray(rows[part], np.float32) for rows in data.x_select)
        y = labels[part] if data.y_select is not None else x[0]
        sums = loop.measure(x, y)
        totals = [a + b for a, b in zip(totals, sums, strict=True)] if totals else sums
    return totals


def _check_samples(data: TrainingData) -> None:
    for split, x, y in (
        ("train", data.x_train, data.y_train),
        ("select", data.x_select, data.y_select),
    ):
        count = len(x[0])
        if not count or (y is not None and len(y) != count):
            labels = "no" if y is None else len(y)
            raise UsageError(
                f"data: {count} samples with {labels} labels in the {split} split",
                hint="every sample needs a label, and both splits need samples",
            )


def _labels(y: Any, x: tuple[Any, ...]) -> NDArray[Any]:
    """Labels in memory, a few bytes a sample; without labels their place in the data."""
    import numpy as np

    if y is None:
        return np.arange(len(x[0]))
    labels = np.asarray(y[:])
    return labels.astype(np.int64 if labels.dtype.kind in "iub" else np.float32)


def _draw(seed: int, epoch: int, count: int) -> list[int]:
    """Whole numbers from (seed, epoch) alone: a resumed run draws what it would have drawn."""
    import numpy as np

    return [int(n) for n in np.random.SeedSequence((seed, epoch)).generate_state(count)]


def _seed_dropout(model: Any, seed: int, epoch: int) -> int:
    """Sets what random layers of Keras 3 draw from; returns the epoch's seed for the rest."""
    states = []
    if not is_tf_keras(model):
        states = [item for item in model.variables if item.name == "seed_generator_state"]
    first, *rest = _draw(seed, epoch, len(states) + 1)
    for state, value in zip(states, rest, strict=True):
        state.assign([value, 0])
    return first


@contextlib.contextmanager
def _attached(callbacks: Sequence[Any], loop: Loop) -> Iterator[None]:
    """Shows callbacks the model with its optimizer, as `fit` does, for the time of the training."""
    if not callbacks:
        yield
        return
    loop.model.optimizer = loop.optimizer
    for callback in callbacks:
        if hasattr(callback, "set_model"):
            callback.set_model(loop.model)
    try:
        yield
    finally:
        loop.model.optimizer = None


def _tell(callbacks: Sequence[Any], event: str, *arguments: Any) -> None:
    for callback in callbacks:
        method = getattr(callback, event, None)
        if method is not None:
            method(*arguments)


def _tell_figures(callback: Any, number: int, epoch: Epoch, metric: str) -> None:
    """Ends an epoch for a user's callback, with the figures under the names that Keras gives."""
    method = getattr(callback, "on_epoch_end", None)
    if method is None:
        return
    logs = {"loss": epoch.loss, "val_loss": epoch.select_loss, **epoch.others}
    for name, value in ((metric, epoch.metric), (f"val_{metric}", epoch.select_metric)):
        if metric and value is not None:
            logs[name] = value
    method(number, logs=logs)


def _notes(checkpoints: Checkpoints, resumed_after: int, title: str) -> tuple[Note, ...]:
    notes = list(checkpoints.notes)
    if resumed_after:
        reason = "an interrupted training had come that far"
        notes.append(Note("resumed", f"{title}: after epoch {resumed_after}", reason, True))
    return tuple(notes)
