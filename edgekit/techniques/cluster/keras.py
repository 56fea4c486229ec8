"""Clusters the weights of a Keras model in training, and counts them in the file that comes out."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Models, Work
from edgekit.frameworks import training
from edgekit.frameworks.bridge import load_trainable, prove_carried, to_tf_keras, weights_back
from edgekit.frameworks.keras import save_keras
from edgekit.frameworks.sparsity import KeepZeros, zero_share
from edgekit.techniques.cluster import Parameters
from edgekit.techniques.cluster._engine import stripped, wrapped
from edgekit.techniques.cluster._plan import Plan, make_plan
from edgekit.techniques.cluster._promises import prove
from edgekit.units import format_share

__all__ = ["apply", "check", "verify", "versions"]


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return training.versions("tensorflow-model-optimization")


def check(parameters: Parameters, source: Artifact, models: Models) -> None:
    """Raises UsageError for names without a layer, and models that nothing can cluster or train."""
    training.check_trainable(parameters, source, models)
    model = load_trainable(source.path, where=source.name)
    training.check_trains(model)
    make_plan(parameters, model)
    to_tf_keras(model)


def apply(parameters: Parameters, source: Artifact, work: Work) -> None:
    """Trains with shared weights and writes the best epoch."""
    model = load_trainable(source.path, where=source.name)
    plan = make_plan(parameters, model)
    prove_carried(model, work)
    for item, reason in plan.skipped:
        work.note("skipped", item, reason)
    _say_sparsity(plan, work)
    result = training.train_in(
        work,
        lambda: wrapped(model, parameters, plan, work.seed),
        parameters,
        title="cluster",
        callbacks=(KeepZeros(plan.others),) if plan.others else (),
    )
    weights_back(stripped(result.model), model)
    save_keras(model, work.output)


def verify(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where a kernel of the result has too many values, or lost zeros."""
    plan = make_plan(parameters, load_trainable(source.path, where=source.name))
    prove(parameters, plan, load_trainable(result.path, where="the clustered model"), work)


def _say_sparsity(plan: Plan, work: Work) -> None:
    clustered = [kernel for kernel in plan.kernels if kernel.layer in plan.keep_zeros]
    kept = (*clustered, *plan.others)
    if kept:
        share = format_share(max(zero_share(kernel.values) for kernel in kept))
        noun = "kernel" if len(kept) == 1 else "kernels"
        found = f"kept in {len(kept)} {noun}: the sparsest has {share} zeros"
    else:
        found = "none to keep: no kernel was pruned (has two zeros or more, and other weights)"
    work.evidence("sparsity", "zeros of the source", found)
