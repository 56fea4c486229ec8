"""Teaches a Keras student with an ONNX model, which is only run; the student takes its place."""

from __future__ import annotations

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Draft, Models
from edgekit.errors import UsageError
from edgekit.techniques.distill import Parameters
from edgekit.techniques.distill import keras as students
from edgekit.techniques.distill.keras import apply, verify, versions

__all__ = ["PRODUCES", "apply", "check", "verify", "versions"]

PRODUCES = "keras"


def check(parameters: Parameters, source: Artifact, models: Models) -> Draft:
    """As for a Keras model; and refuses `width`, which rebuilds the layers of one."""
    if parameters.width:
        raise UsageError(
            "width: the model is an onnx file, which has no layers to rebuild",
            hint='name a student: student = "zoo:NAME", or a Keras file',
        )
    return students.check(parameters, source, models)
