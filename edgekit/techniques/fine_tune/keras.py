"""Fine-tunes a Keras model and holds the result against what it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Models, Work
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import training
from edgekit.frameworks._hooks import load_hooks
from edgekit.frameworks.bridge import load_trainable
from edgekit.frameworks.keras import save_keras
from edgekit.frameworks.sparsity import KeepZeros, lost_zeros, pruned, zero_share
from edgekit.techniques.fine_tune import Parameters
from edgekit.techniques.fine_tune._clusters import refuse_clusters
from edgekit.units import format_share

__all__ = ["apply", "check", "verify", "versions"]


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return training.versions()


def check(parameters: Parameters, source: Artifact, models: Models) -> None:
    """Raises UsageError for a model that cannot be trained, or cannot be trained so."""
    training.check_trainable(parameters, source, models)
    model = load_trainable(source.path, where=source.name)
    training.check_trains(model)
    refuse_clusters(model, UsageError)


def apply(parameters: Parameters, source: Artifact, work: Work) -> None:
    """Trains and writes the model of the best epoch."""
    model = load_trainable(source.path, where=source.name)
    refuse_clusters(model, PromiseError)  # `check` saw the model before the steps before this one.
    kept = pruned(model)
    result = training.train_in(
        work,
        lambda: load_trainable(source.path, where=source.name),
        parameters,
        title="fine-tune",
        callbacks=(KeepZeros(kept),) if kept else (),
    )
    save_keras(result.model, work.output)


def verify(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where the result is another net, not finite, or has lost zeros."""
    _check_signature(source, result, work)
    before = load_trainable(source.path, where=source.name)
    after = load_trainable(result.path, where="the fine-tuned model")
    _check_finite(after)
    _prove_zeros(before, after, work)
    _compare(parameters, before, after, work)


def _check_signature(source: Artifact, result: Artifact, work: Work) -> None:
    was, now = work.describe(source).signature, work.describe(result).signature
    for noun in ("inputs", "outputs"):
        old, new = ([s.sample_shape for s in getattr(held, noun)] for held in (was, now))
        if old != new:
            raise PromiseError(f"fine-tune: the {noun} of the result are {new}, and were {old}")


def _check_finite(model: Any) -> None:
    import numpy as np

    for weight in model.weights:
        if not np.isfinite(np.asarray(weight)).all():
            raise PromiseError(
                f"fine-tune: the weight '{weight.path}' of the result is not finite",
                hint="train with a lower learning rate",
            )


def _prove_zeros(before: Any, after: Any, work: Work) -> None:
    kept = pruned(before)
    lost = lost_zeros(kept, after)
    if lost:
        raise PromiseError(f"fine-tune: {lost}")
    for kernel in kept:
        share = format_share(zero_share(kernel.values))
        found = f"all {kernel.zeros:,} zeros kept, {share} of its weights"
        work.evidence("sparsity kept", kernel.item, found)


def _compare(parameters: Parameters, before: Any, after: Any, work: Work) -> None:
    """Loss and metric on the select split, before and after: a loss that rose is no error."""
    data = work.training_data()
    item = f"{len(data.x_select[0])} samples of the select split"
    own = load_hooks(parameters.hooks, work.hooks).loss
    first, first_metric = training.evaluate(before, data, parameters, own=own)
    second, second_metric = training.evaluate(after, data, parameters, own=own)
    figures = f"loss {first:.4g} before, {second:.4g} after"
    if first_metric is not None and second_metric is not None:
        shares = [format_share(share) for share in (first_metric, second_metric)]
        figures += f"; accuracy {shares[0]} before, {shares[1]} after"
    if second > first:
        work.note("not better", item, figures)
    else:
        work.evidence("fine-tuned", item, figures)
