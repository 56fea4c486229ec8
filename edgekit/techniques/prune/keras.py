"""Prunes a Keras model in training and measures the zeros in the file that comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Models, Work
from edgekit.errors import UsageError
from edgekit.frameworks import training
from edgekit.frameworks.bridge import load_trainable, prove_carried, to_tf_keras, weights_back
from edgekit.frameworks.keras import save_keras
from edgekit.frameworks.sparsity import KeepZeros
from edgekit.techniques.prune import Parameters
from edgekit.techniques.prune._engine import callback, ramp_over, stripped, wrapped
from edgekit.techniques.prune._plan import Goal, Plan, goals, make_plan
from edgekit.techniques.prune._promises import prove, prove_others
from edgekit.techniques.prune._sensitivity import shares

__all__ = ["apply", "check", "verify", "versions"]


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return training.versions("tensorflow-model-optimization")


def check(parameters: Parameters, source: Artifact, models: Models) -> None:
    """Raises UsageError for names without a layer, and models that cannot be pruned or trained."""
    if parameters.ladder:
        raise UsageError(
            "ladder: is for onnx models, which are pruned without training; a Keras model trains "
            "its accuracy back",
            hint="leave ladder out, and give the training more epochs",
        )
    training.check_trainable(parameters, source, models)
    model = load_trainable(source.path, where=source.name)
    training.check_trains(model)
    make_plan(parameters, model)
    to_tf_keras(model)


def apply(parameters: Parameters, source: Artifact, work: Work) -> None:
    """Trains with the pruning wrappers and writes the best epoch after the ramp's end."""
    model = load_trainable(source.path, where=source.name)
    plan = make_plan(parameters, model)
    prove_carried(model, work)
    for item, reason in plan.skipped:
        work.note("skipped", item, reason)
    allocated = {}
    if parameters.allocation == "sensitivity":
        allocated = shares(parameters, model, plan, work)
    wanted = goals(parameters, plan, allocated)
    _goals_file(work).write_text(json.dumps({k: asdict(goal) for k, goal in wanted.items()}))
    data = work.training_data()
    steps, epochs = training.steps_in(data, parameters), training.epochs_in(data, parameters)
    ramp = ramp_over(parameters, steps)
    result = training.train_in(
        work,
        lambda: wrapped(model, parameters, wanted, ramp),
        parameters,
        title="prune",
        callbacks=(callback(), KeepZeros(plan.others(model))),
        first_epoch=ramp.first_full_epoch(steps // epochs),
    )
    weights_back(stripped(result.model), model)
    save_keras(model, work.output)
    work.evidence("ramp", f"{steps} steps", _ramp_text(parameters, plan, ramp.begin, ramp.end))


def verify(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where a kernel of the result has not the zeros that were asked for."""
    before = load_trainable(source.path, where=source.name)
    after = load_trainable(result.path, where="the pruned model")
    plan = make_plan(parameters, before)
    table = json.loads(_goals_file(work).read_text())
    prove(parameters, plan, {name: Goal(**goal) for name, goal in table.items()}, after, work)
    prove_others(before, plan, after)


def _goals_file(work: Work) -> Path:
    """What `apply` found out by a scan, for `verify` to hold the result against."""
    return work.folder / "goals.json"


def _ramp_text(parameters: Parameters, plan: Plan, begin: int, end: int) -> str:
    kernels = f"{len(plan.kernels)} kernels"
    if parameters.structure == "2:4":
        return f"{kernels} pruned in the first step"
    return f"{kernels} pruned from step {begin} to step {end}, {parameters.ramp}"
