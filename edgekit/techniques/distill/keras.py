"""Trains a student of a Keras model, and proves whether its teacher helped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Draft, Models, Work
from edgekit.core.training import ORIGIN, TrainingOptions
from edgekit.errors import PromiseError
from edgekit.frameworks import training
from edgekit.frameworks.bridge import load_trainable
from edgekit.frameworks.channels import keeps_weights
from edgekit.frameworks.keras import save_keras
from edgekit.techniques.distill import ZOO, Parameters
from edgekit.techniques.distill._comparison import ALONE, alone_options, alone_path, compare
from edgekit.techniques.distill._student import (
    build_student,
    check_layers,
    check_student,
    unequal,
)

__all__ = ["apply", "check", "verify", "versions"]

_PROBES = 32


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return training.versions()


def check(parameters: Parameters, source: Artifact, models: Models) -> Draft:
    """Raises UsageError for a student that does not fit, layers that are not there, a teacher
    that cannot be opened or says something else; returns the untrained student."""
    training.check_trainable(parameters, source, models)
    student = check_student(parameters, source, models)
    training.check_trains(student)
    check_layers(parameters, student, source, models)
    return lambda path: save_keras(student, path)


def apply(parameters: Parameters, source: Artifact, work: Work) -> None:
    """Trains the student with the teacher and writes it; trains it alone too, to compare."""
    _note_scaling(parameters, source, work)
    _note_frozen(parameters, source, work)
    trained = _train(parameters, source, work, parameters, title="distill")
    save_keras(trained, work.output)
    if parameters.baseline:
        alone = _train(parameters, source, work, alone_options(parameters), title=ALONE)
        save_keras(alone, alone_path(work))


def verify(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where the result is no student of this model; says what it is worth."""
    difference = unequal(work.describe(source).signature, work.describe(result).signature)
    if difference:
        noun, was, now = difference
        raise PromiseError(f"distill: the {noun} of the result are {now}, and were {was}")
    _check_finite(result, work)
    _compare_sizes(parameters, result, work)
    if parameters.baseline:
        compare(parameters, load_trainable(result.path, where="the student"), work)


def _train(
    parameters: Parameters, source: Artifact, work: Work, options: TrainingOptions, *, title: str
) -> Any:
    result = training.train_in(
        work,
        lambda: build_student(parameters, source, work, seed=work.seed),
        options,
        title=title,
        features=parameters.pairs if options.teacher else (),
    )
    return result.model


def _note_scaling(parameters: Parameters, source: Artifact, work: Work) -> None:
    """A student file may have learned on another input range: no error, because it is trained on
    this one now, but a poor start."""
    if not parameters.student or parameters.student.startswith(ZOO):
        return
    own = work.open(parameters.student).scaling
    if not own.is_identity and own != source.scaling:
        reason = "it was trained on another input scaling than the model that it replaces"
        work.note("poor start", f"student '{parameters.student}'", reason)


def _note_frozen(parameters: Parameters, source: Artifact, work: Work) -> None:
    """A narrower student has new weights, which would stay random where a layer is frozen."""
    if not parameters.width:
        return
    for layer in load_trainable(source.path, where=source.name).layers:
        if not layer.trainable and not keeps_weights(layer) and layer.weights:
            item = f"{type(layer).__name__} '{layer.name}'"
            work.note("made trainable", item, "it is frozen in the model, and its weights are new")


def _check_finite(result: Artifact, work: Work) -> None:
    import numpy as np

    for spec, output in zip(
        work.describe(result).signature.outputs,
        work.predict(result, work.probes(_PROBES)),
        strict=True,
    ):
        if not np.isfinite(output).all():
            raise PromiseError(
                f"distill: the output '{spec.name}' of the student is not finite",
                hint="train with a lower learning rate",
            )


def _compare_sizes(parameters: Parameters, result: Artifact, work: Work) -> None:
    """A student that is not smaller is no error: an ensemble may teach its like."""
    held = work.describe(result).parameters
    for name in parameters.teacher:
        teacher = work.origin if name == ORIGIN else work.open(name)
        whole = work.describe(teacher).parameters
        found = f"{held:,} parameters against {whole:,}"
        if held < whole:
            work.evidence("smaller than the teacher", f"teacher '{name}'", found)
        else:
            work.note("not smaller than the teacher", f"teacher '{name}'", found)
