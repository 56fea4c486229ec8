"""The user's own loss, optimizer, metrics, callbacks, augmentation and training loop."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit.core.user_function import UserFunction, load_functions
from edgekit.errors import UsageError, did_you_mean

__all__ = ["HOOKS", "Guarded", "Hooks", "load_hooks"]

HOOKS = ("loss", "optimizer", "metrics", "callbacks", "augment", "train_epoch")
"""The names of functions that a hooks file may have; what each takes stands in `Hooks`."""


@dataclass(frozen=True, eq=False)
class Hooks:
    """The user's own functions; None where the usual is done.

    Attributes:
        loss: `loss(y_true, y_pred)`: TensorFlow values, one loss a sample or a scalar. `y_pred` is
            the model's output, a tuple where it has several.
        optimizer: `optimizer(keras, learning_rate)`: an optimizer of the library `keras` it is
            given (Keras 3, or tf_keras where the engine of the technique works on that);
            `learning_rate` is the schedule.
        metrics: `metrics()`: a mapping of names to functions like `loss`; means over the select
            split, drawn in the report.
        callbacks: `callbacks()`: a list of objects with the methods of a Keras callback.
        augment: `augment(x, y, rng)`: numpy arrays of a batch; returns (x, y). `x` is a tuple where
            the model has several inputs.
        train_epoch: `train_epoch(model, batches, step)`: the loop over one epoch: `batches` yields
            (x, y), `step(x, y)` trains on them as usual and returns the loss; the return value may
            be the mean loss.
    """

    loss: Callable[..., Any] | None = None
    optimizer: Callable[..., Any] | None = None
    metrics: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    callbacks: Sequence[Any] = ()
    augment: Callable[..., Any] | None = None
    train_epoch: Callable[..., Any] | None = None


@dataclass(frozen=True, eq=False)
class Guarded:
    """A user's callback; what it raises becomes one sentence.

    Its methods may take Keras's `logs` after their own argument, or not.
    """

    callback: Any

    def __getattr__(self, event: str) -> Any:
        method = getattr(self.callback, event)

        def call(*arguments: Any, logs: Mapping[str, float] | None = None) -> Any:
            given = (
                (*arguments, dict(logs or {})) if _takes(method, len(arguments) + 1) else arguments
            )
            try:
                return method(*given)
            except Exception as error:
                said = " ".join(str(error).split())
                raise UsageError(
                    f"hooks: {type(self.callback).__name__}.{event}: {type(error).__name__}"
                    f"{': ' + said if said else ''}"
                ) from error

        return call


def _takes(method: Any, count: int) -> bool:
    """True for a function that can be called with so many positional arguments."""
    try:
        inspect.signature(method).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


def load_hooks(spec: str, passed: Mapping[str, Any]) -> Hooks:
    """The hooks of `python:FILE.py`, with those that were passed in Python on top.

    Raises:
        UsageError: no such file, it raises, it has none of the known names, or one of a wrong kind.
    """
    where = f"hooks = '{spec}'"
    found: dict[str, Any] = {}
    if spec:
        found.update(load_functions(Path(spec.removeprefix("python:")), HOOKS, where=where))
        if not found:
            raise UsageError(
                f"{where}: the file has no hook",
                hint=f"define one of {', '.join(HOOKS)}",
            )
    for name, value in passed.items():
        if name not in HOOKS:
            raise UsageError(f"hooks: unknown hook '{name}'", hint=did_you_mean(name, HOOKS))
        found[name] = value
    where = where if spec else "hooks"
    for name, value in found.items():
        if name in ("metrics", "callbacks") and callable(value):
            found[name] = _called(value, name)
        elif name not in ("metrics", "callbacks") and not callable(value):
            raise UsageError(f"{where}: '{name}' is not a function")
    _check_collections(found, where)
    return Hooks(**found)


def _called(function: Any, name: str) -> Any:
    returned = function()
    if name == "callbacks" and returned is not None and not isinstance(returned, (list, tuple)):
        return [returned]
    if isinstance(function, UserFunction) and name == "metrics" and isinstance(returned, Mapping):
        return {key: _of_the_same_file(function, item) for key, item in returned.items()}
    return returned


def _of_the_same_file(function: UserFunction, item: Any) -> Any:
    return replace(function, function=item) if callable(item) else item


def _check_collections(found: Mapping[str, Any], where: str) -> None:
    metrics = found.get("metrics", {})
    if not isinstance(metrics, Mapping) or not all(callable(value) for value in metrics.values()):
        raise UsageError(
            f"{where}: 'metrics' is not a mapping of names to functions",
            hint="return {'name': function}",
        )
    if not isinstance(found.get("callbacks", ()), (list, tuple)):
        raise UsageError(f"{where}: 'callbacks' is not a list")
    for callback in found.get("callbacks", ()):
        if not any(name.startswith("on_") for name in dir(callback)):
            raise UsageError(
                f"{where}: 'callbacks' has a {type(callback).__name__}, which is no callback",
                hint="its methods are those of a Keras callback: on_epoch_end(epoch), ...",
            )
