"""Prunes the channels of a Keras model in rounds, and holds the result against the request."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Models, Work
from edgekit.core.training import Curve, TrainingOptions
from edgekit.frameworks import training
from edgekit.frameworks._hooks import load_hooks
from edgekit.frameworks.bridge import load_trainable
from edgekit.frameworks.channels import Groups, find_groups, keep
from edgekit.frameworks.keras import save_keras
from edgekit.frameworks.sparsity import pruned, zero_share
from edgekit.techniques.prune_channels import Parameters
from edgekit.techniques.prune_channels._choice import Plan
from edgekit.techniques.prune_channels._importance import importance, norms
from edgekit.techniques.prune_channels._proof import note_rounds, prove
from edgekit.techniques.prune_channels._refusals import refuse
from edgekit.units import format_share

__all__ = ["apply", "check", "verify", "versions"]


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return training.versions()


def check(parameters: Parameters, source: Artifact, models: Models) -> None:
    """Raises UsageError for a model or a request that cannot work."""
    model = _open(source)
    refuse(parameters, find_groups(model, skip=parameters.skip))
    training.check_trains(model)
    training.check_trainable(parameters, source, models)


def apply(parameters: Parameters, source: Artifact, work: Work) -> None:
    """Prunes a part and trains, `rounds` times or until `max_drop`, and writes the model."""
    model = _open(source)
    groups = find_groups(model, skip=parameters.skip)
    refuse(parameters, groups)  # `check` saw the model before the steps before this one.
    plan = Plan.of(parameters, groups)
    _note_unscaled(parameters, groups, work)
    _note_zeros(model, work)
    base, done = _judged(parameters, model, work), 0
    for number, options in enumerate(_rounds(parameters), start=1):
        groups = find_groups(model, skip=parameters.skip)
        scores = importance(parameters, model, groups, work)
        kept = plan.choose(groups, scores, number / parameters.rounds)
        smaller = keep(model, kept, groups=groups)
        title = f"prune-channels round {number}/{parameters.rounds}"
        trained = training.train_in(work, _copies(smaller), options, title=title)
        if base is not None and not _is_good(parameters, base, trained.curve, title, work):
            break
        model, done = trained.model, number
    note_rounds(work, done)
    save_keras(model, work.output)


def verify(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where the result is not as small as asked; times both models."""
    prove(parameters, source, result, work)


def _open(source: Artifact) -> Any:
    return load_trainable(source.path, where=source.name)


def _copies(model: Any) -> Any:
    """Makes the model again at each call: its variables belong to the scope of the call."""
    return lambda: keep(model, {})


def _rounds(parameters: Parameters) -> list[TrainingOptions]:
    """What each round trains with; the last ones take the epochs that do not divide."""
    each, rest = divmod(parameters.epochs, parameters.rounds)
    steps = -(-parameters.min_steps // parameters.rounds)
    return [
        dataclasses.replace(
            parameters.plain, epochs=each + (number >= parameters.rounds - rest), min_steps=steps
        )
        for number in range(parameters.rounds)
    ]


def _judged(parameters: Parameters, model: Any, work: Work) -> float | None:
    """What `max_drop` counts from: accuracy on select, or the loss where there is none."""
    if parameters.max_drop is None:
        return None
    own = load_hooks(parameters.hooks, work.hooks).loss
    loss, metric = training.evaluate(model, work.training_data(), parameters, own=own)
    return loss if metric is None else metric


def _is_good(parameters: Parameters, base: float, curve: Curve, title: str, work: Work) -> bool:
    """True where a round costs no more than `max_drop`; else it is noted why it is taken back."""
    assert parameters.max_drop is not None
    kept = curve.epochs[curve.best_epoch - 1]
    if kept.select_metric is None:
        cost = kept.select_loss / base - 1 if base else 0.0
    else:
        cost = base - kept.select_metric
    if cost <= parameters.max_drop:
        return True
    noun = "of the loss" if kept.select_metric is None else f"of the {curve.metric}"
    reason = (
        f"it costs {format_share(cost)} {noun} on the select split, and max_drop is "
        f"{format_share(parameters.max_drop)}"
    )
    work.note("taken back", title, reason)
    return False


def _note_unscaled(parameters: Parameters, groups: Groups, work: Work) -> None:
    if parameters.importance != "batchnorm-scale":
        return
    for group in groups.free:
        if not norms(groups, group):
            reason = "L1 norms order its channels: it has no BatchNormalization with a scale"
            kind = groups.layers[group.producers[0]].kind
            work.note("fallback", f"{kind} '{group.name}'", reason)


def _note_zeros(model: Any, work: Work) -> None:
    """Fine-tuning gives pruned weights values again."""
    for kernel in pruned(model):
        share = format_share(zero_share(kernel.values))
        reason = (
            f"training gives its zeros ({share} of its weights) values again; put prune after "
            "prune-channels"
        )
        work.note("not kept", f"{kernel.zeros:,} zeros of {kernel.item}", reason)
