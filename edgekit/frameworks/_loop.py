"""One step and one evaluation as compiled graphs, for Keras 3 and tf_keras models alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.core.training import TrainingOptions
from edgekit.errors import UsageError
from edgekit.frameworks._hooks import Hooks
from edgekit.frameworks._objectives import Objective
from edgekit.frameworks._quiet import import_keras, import_tensorflow, import_tf_keras
from edgekit.frameworks.strategies import check_batch

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["Batch", "Loop", "check_trains", "is_tf_keras", "library_of"]


def is_tf_keras(model: Any) -> bool:
    """True for a model of Keras 2."""
    return not isinstance(model, import_keras().Model)


def library_of(model: Any) -> Any:
    """The module `keras` or `tf_keras` that a model belongs to."""
    return import_tf_keras() if is_tf_keras(model) else import_keras()


def check_trains(model: Any) -> None:
    """Refuses a model of which no weight trains.

    Raises:
        UsageError: all its layers are frozen, or have no weights.
    """
    if not model.trainable_variables:
        raise UsageError(
            f"model '{model.name}' has no weight that trains: all its layers are frozen",
            hint="set trainable = True on its layers and save it again",
        )


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch: inputs, labels, a teacher's targets, and under mixup the other labels."""

    x: tuple[Array, ...]
    y: Array
    targets: Array | None = None
    other: Array | None = None
    share: Array | None = None

    def flat(self) -> list[Any]:
        """What is there, in a fixed order."""
        return [
            *self.x,
            *(a for a in (self.y, self.targets, self.other, self.share) if a is not None),
        ]


class Loop:
    """A model with its optimizer and what it is trained to do."""

    def __init__(
        self,
        model: Any,
        objective: Objective,
        options: TrainingOptions,
        hooks: Hooks,
        *,
        steps: int,
        strategy: Any,
        features: Any = None,
    ) -> None:
        self.model, self.objective, self.options, self.hooks = model, objective, options, hooks
        self.strategy, self.features = strategy, features
        self.library = library_of(model)
        self.extra = list(features.variables) if features is not None else []
        self.optimizer = self._make_optimizer(steps)
        check_trains(model)
        self.trainable = [*model.trainable_variables, *self.extra]
        self.optimizer.build(self.trainable)
        self._step: Any = None
        self._measure: Any = None
        self._has_random_layers = is_tf_keras(model) and any(
            hasattr(layer, "_random_generator") for layer in model.submodules
        )

    @property
    def variables(self) -> list[Any]:
        """Everything that a checkpoint holds."""
        return [*self.model.variables, *self.extra, *self.optimizer.variables]

    @property
    def weights_count(self) -> int:
        """How many of `variables` are the model's."""
        return len(self.model.variables)

    def values(self) -> list[Array]:
        """The values of all variables."""
        import numpy as np

        return [np.asarray(variable.numpy()) for variable in self.variables]

    def restore(self, values: Sequence[Array], *, weights_only: bool = False) -> None:
        """Sets all variables, or the model's alone.

        Raises:
            ValueError: another number or shape of values.
        """
        variables = self.variables
        if len(values) != len(variables):
            raise ValueError(f"{len(values)} values for {len(variables)} variables")
        chosen = slice(0, self.weights_count if weights_only else None)
        for variable, value in zip(variables[chosen], values[chosen], strict=True):
            variable.assign(value)

    def new_epoch(self, seed: int) -> None:
        """Seeds what is random inside the graph.

        Dropout of Keras 3 draws from variables, which the caller sets. In tf_keras its state is in
        the compiled step, so that is compiled anew from the epoch's own seed.
        """
        import_tensorflow().random.set_seed(seed)
        if self._has_random_layers:
            self._step = None

    def least(self, number: int) -> int:
        """The smallest of the numbers that the workers have."""
        if self.strategy is None:
            return number
        tf = import_tensorflow()

        @tf.function(autograph=False)  # type: ignore[untyped-decorator]
        def gathered() -> Any:
            own = self.strategy.run(lambda: tf.constant([number]))
            return self.strategy.gather(own, axis=0)

        return int(gathered().numpy().min())

    def synchronise(self) -> None:
        """Gives all replicas the mean of what each has seen, such as BatchNorm statistics.

        Without it a resumed training, which starts from the mean, would go on from other values
        than one that was not interrupted. tf_keras takes the mean where a variable is read.
        """
        if self.strategy is None:
            return
        tf = import_tensorflow()
        held = [v for v in self.model.non_trainable_variables if "float" in str(v.dtype)]
        if is_tf_keras(self.model):
            for variable in held:
                variable.assign(variable.numpy())
            return

        @tf.function(autograph=False)  # type: ignore[untyped-decorator]
        def means() -> list[Any]:
            values = self.strategy.run(lambda: [tf.identity(v.value) for v in held])
            mean = tf.distribute.ReduceOp.MEAN
            return [self.strategy.reduce(mean, value, axis=None) for value in values]

        for variable, value in zip(held, means(), strict=True):
            variable.assign(value)

    def step(self, batch: Batch) -> tuple[float, float]:
        """Trains on one batch; returns its mean loss, and the share that it gets right."""
        if self._step is None:
            self._step = self._compile(batch)
        loss, right = self._step(*self._shards(batch)).numpy()
        return float(loss), float(right)

    def measure(self, x: tuple[Array, ...], y: Array) -> list[float]:
        """Sums over a batch of the plain loss, of what is right, and of the user's metrics."""
        tf = import_tensorflow()
        if self._measure is None:
            objective, metrics = self.objective, tuple(self.hooks.metrics.values())

            def measure(*arrays: Any) -> Any:
                every = self._outputs(arrays[:-1], training=False)
                outputs = every[: len(self.model.outputs)]
                loss, right = objective.measure(arrays[-1], outputs)
                sums = [tf.reduce_sum(loss), tf.reduce_sum(right)]
                count = tf.cast(tf.shape(arrays[-1])[0], tf.float32)
                for metric in metrics:
                    value = tf.cast(metric(arrays[-1], _one(outputs)), tf.float32)
                    sums.append(tf.reduce_mean(value) * count)
                return tf.stack(sums)

            self._measure = tf.function(measure, autograph=False, reduce_retracing=True)
        return [float(value) for value in self._measure(*x, y).numpy()]

    def _outputs(self, x: Sequence[Any], *, training: bool) -> list[Any]:
        tf = import_tensorflow()
        model = self.features.student if self.features is not None else self.model
        structure = getattr(model, "_inputs_struct", getattr(model, "_nested_inputs", None))
        packed: Any = x[0]
        if isinstance(structure, (list, tuple, dict)):
            packed = tf.nest.pack_sequence_as(structure, list(x))
        elif len(x) > 1:
            packed = list(x)
        flat: list[Any] = tf.nest.flatten(model(packed, training=training))
        return flat

    def _compile(self, batch: Batch) -> Callable[..., Any]:
        tf = import_tensorflow()
        inputs = len(batch.x)
        has_targets, is_mixed = batch.targets is not None, batch.other is not None

        def forward(arrays: Sequence[Any]) -> Any:
            x, rest = arrays[:inputs], list(arrays[inputs:])
            y = rest.pop(0)
            targets = rest.pop(0) if has_targets else None
            other, share = rest if is_mixed else (None, None)
            every = self._outputs(x, training=True)
            outputs = every[: len(self.model.outputs)]  # behind them those that are features
            loss = tf.reduce_mean(self.objective.loss(y, outputs, share, other))
            if targets is not None:
                alpha = self.options.alpha
                taught = self.objective.towards(targets, outputs, self.options.temperature)
                loss = alpha * loss + (1.0 - alpha) * taught
            if self.features is not None:
                loss += self.features.loss(x, every)
            penalties = [tf.cast(item, tf.float32) for item in self.model.losses]
            loss = loss + tf.add_n(penalties) if penalties else loss
            _, right = self.objective.measure(y, outputs)
            return loss, tf.reduce_mean(right)

        def step(*arrays: Any) -> Any:
            with tf.GradientTape() as tape:
                loss, right = forward(arrays)
                aim = self._scaled(loss / self._replicas)
            gradients = tape.gradient(aim, self._raw_trainable())
            self._apply(gradients)
            return tf.stack([loss, right])

        if self.strategy is None:
            return tf.function(step, autograph=False)  # type: ignore[no-any-return]
        strategy = self.strategy

        def replicated(*arrays: Any) -> Any:
            figures = strategy.run(step, args=arrays)
            return strategy.reduce(tf.distribute.ReduceOp.MEAN, figures, axis=None)

        return tf.function(replicated, autograph=False)  # type: ignore[no-any-return]

    @property
    def _replicas(self) -> int:
        return self.strategy.num_replicas_in_sync if self.strategy is not None else 1

    def _raw_trainable(self) -> list[Any]:
        """The TensorFlow variables; those of Keras 3 are wrapped."""
        return [getattr(v, "value", v) if not is_tf_variable(v) else v for v in self.trainable]

    def _scaled(self, loss: Any) -> Any:
        return self.optimizer.scale_loss(loss) if self._scales_loss else loss

    @property
    def _scales_loss(self) -> bool:
        return self.options.precision == "mixed-float16"

    def _apply(self, gradients: list[Any]) -> None:
        pairs = [
            (gradient, variable)
            for gradient, variable in zip(gradients, self.trainable, strict=True)
            if gradient is not None
        ]
        if not pairs:
            raise UsageError(
                "hooks: 'loss' does not depend on the output of the model",
                hint="use y_pred in it, and only functions of TensorFlow that have gradients",
            )
        self.optimizer.apply_gradients(pairs)

    def _shards(self, batch: Batch) -> list[Any]:
        """The arrays of a batch; under a strategy each replica gets its own rows of them."""
        flat = batch.flat()
        if self.strategy is None:
            return flat
        check_batch(len(batch.y), self._replicas)
        each = len(batch.y) // self._replicas
        tf, strategy = import_tensorflow(), self.strategy

        def shard(array: Any) -> Any:
            def own(context: Any) -> Any:
                start = context.replica_id_in_sync_group * each
                return tf.constant(array[start : start + each])

            return strategy.experimental_distribute_values_from_function(own)

        return [shard(array) for array in flat]

    def _make_optimizer(self, steps: int) -> Any:
        library, options = self.library, self.options
        rate = _schedule(library, options, steps)
        if self.hooks.optimizer is not None:
            optimizer = self.hooks.optimizer(library, rate)
            if not hasattr(optimizer, "apply_gradients"):
                found = type(optimizer).__name__
                raise UsageError(
                    f"hooks: 'optimizer' returned {found}, which is no optimizer",
                    hint="return one of the library that it is given: keras.optimizers.Adam(...)",
                )
        else:
            optimizer = _optimizer(library, options.optimizer, rate)
        if self._scales_loss:  # Keras 3 alone: `_precision.mixed` takes no other.
            return library.optimizers.LossScaleOptimizer(optimizer)
        return optimizer


def is_tf_variable(variable: Any) -> bool:
    """False for the variables of Keras 3."""
    return isinstance(variable, import_tensorflow().Variable)


def _one(outputs: list[Any]) -> Any:
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def _schedule(library: Any, options: TrainingOptions, steps: int) -> Any:
    schedules, rate = library.optimizers.schedules, options.learning_rate
    match options.schedule:
        case "cosine":
            return schedules.CosineDecay(rate, steps)
        case "linear":
            return schedules.PolynomialDecay(rate, steps, end_learning_rate=0.0)
    return rate


def _optimizer(library: Any, name: str, rate: Any) -> Any:
    compiled = {"jit_compile": False} if library.__name__ == "tf_keras" else {}
    match name:
        case "adam":
            return library.optimizers.Adam(rate, **compiled)
        case "adamw":
            return library.optimizers.AdamW(rate, **compiled)
    return library.optimizers.SGD(rate, momentum=0.9, nesterov=True, **compiled)
