"""Folds batch normalization in Keras models."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Models, Work
from edgekit.errors import PromiseError
from edgekit.frameworks.keras import save_keras
from edgekit.frameworks.layer_graph import open_layers, title
from edgekit.frameworks.likeness import relative_difference
from edgekit.lazy import version
from edgekit.techniques.fold_batchnorm import Parameters
from edgekit.techniques.fold_batchnorm._plan import Plan, fold, make_plan

__all__ = ["apply", "check", "verify", "versions"]

_PROBES = 16
_TOLERANCE = 1e-4


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return {name: version(name) for name in ("tensorflow", "keras")}


def check(parameters: Parameters, source: Artifact, models: Models) -> None:
    """Raises UsageError for a model without layers; one without normalization is left as it is."""
    open_layers(source.path)


def apply(parameters: Parameters, source: Artifact, work: Work) -> None:
    """Writes the model without the normalizations that fold."""
    model = open_layers(source.path)
    save_keras(fold(model, make_plan(model)), work.output)


def verify(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where a layer is still there, or the outputs are not what they were."""
    plan = make_plan(open_layers(source.path))
    _prove_gone(plan, result)
    _record(plan, work)
    probes = work.probes(_PROBES)
    apart = relative_difference(work.predict(source, probes), work.predict(result, probes))
    found = f"the largest relative difference is {apart:.2g} on {len(probes[0])} probes"
    if not apart <= _TOLERANCE:
        raise PromiseError(f"fold-batchnorm: the outputs changed: {found}, above {_TOLERANCE:g}")
    work.evidence("proven", "outputs are unchanged", found)


def _prove_gone(plan: Plan, result: Artifact) -> None:
    held = {layer.name for layer in open_layers(result.path).layers}
    for each in plan.folds:
        if each.norm.name in held:
            raise PromiseError(f"fold-batchnorm: {title(each.norm)} is still in the model")


def _record(plan: Plan, work: Work) -> None:
    if not plan.norms:
        work.note("nothing to fold", "the model", "it has no BatchNormalization")
    for layer, reason in plan.left:
        work.note("skipped", title(layer), reason)
    if plan.folds:
        ahead = sum(each.forward for each in plan.folds)
        found = f"{len(plan.folds)} of {len(plan.norms)} are in the weights of other layers now"
        forward = f", {ahead} of them in those of the layer after" if ahead else ""
        work.evidence("folded", "BatchNormalization", found + forward)
