"""The model that learns: built, and held against the model that it replaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekit.core.artifact import Artifact, Signature, TensorSpec
from edgekit.core.catalog import load, names
from edgekit.core.technique import Models
from edgekit.core.training import ORIGIN
from edgekit.errors import UsageError, did_you_mean
from edgekit.frameworks._teachers import channels_last
from edgekit.frameworks.bridge import load_trainable
from edgekit.frameworks.keras import import_keras, wrap
from edgekit.frameworks.layer_graph import layer_graph
from edgekit.techniques.distill import ZOO, Parameters

__all__ = ["build_student", "check_layers", "check_student", "unequal"]

_FORMAT = "keras"


def build_student(parameters: Parameters, source: Artifact, models: Models, *, seed: int) -> Any:
    """The untrained student; the same seed gives the same weights each time.

    Raises:
        UsageError: no such zoo model or file, or none for this input.
    """
    keras = import_keras("distill")
    keras.utils.set_random_seed(seed)
    if parameters.width:
        from edgekit.frameworks.channels import narrow

        model = load_trainable(source.path, where=source.name)
        return narrow(model, parameters.width, round_to=parameters.round_to, seed=seed)
    signature = models.describe(source).signature
    turned = channels_last(source, signature)
    if parameters.student.startswith(ZOO):
        student = _from_zoo(parameters.student, turned or signature)
    else:
        student = _from_file(parameters.student, models)
    if turned is not None and unequal(turned, wrap(student).signature) is None:
        return _behind_permute(student, signature, keras)
    return student


def _behind_permute(student: Any, signature: Signature, keras: Any) -> Any:
    """The student with the channels of its input in front, as the model that it replaces."""
    (spec,) = signature.inputs
    inputs = keras.Input(spec.sample_shape, name=spec.name)
    return keras.Model(inputs, student(keras.layers.Permute((2, 3, 1), name="nhwc")(inputs)))


def check_student(parameters: Parameters, source: Artifact, models: Models) -> Any:
    """Builds the student and holds its inputs and outputs against the source's; returns it.

    Raises:
        UsageError: it cannot be built, or takes or gives other shapes than the source.
    """
    student = build_student(parameters, source, models, seed=0)
    word = f"student: '{parameters.student}'" if parameters.student else "width: the student"
    difference = unequal(models.describe(source).signature, wrap(student).signature)
    if difference:
        noun, was, now = difference
        raise UsageError(
            f"{word} has {noun} of {now}, and the model it replaces of {was}",
            hint="take a student for the same data, or write one for it",
        )
    whole = models.describe(source).parameters
    if parameters.width and student.count_params() >= whole:
        raise UsageError(
            f"width: no layer of the model gets fewer channels at width {parameters.width}",
            hint=f"its {whole:,} parameters stay: name a student, or give a smaller round_to",
        )
    return student


def unequal(source: Signature, student: Signature) -> tuple[str, str, str] | None:
    """What differs in the shapes of one sample: ('outputs', of the source, of the student)."""
    for noun, old, new in (
        ("inputs", source.inputs, student.inputs),
        ("outputs", source.outputs, student.outputs),
    ):
        if [spec.sample_shape for spec in old] != [spec.sample_shape for spec in new]:
            return noun, _shapes(old), _shapes(new)
    return None


def check_layers(parameters: Parameters, student: Any, source: Artifact, models: Models) -> None:
    """Looks up the layers that `features` pairs, and holds their shapes against each other.

    Raises:
        UsageError: no such layer (with the nearest), outputs that differ in more than the channels,
            or a first teacher without layers.
    """
    if not parameters.features:
        return
    first = parameters.teacher[0]
    teacher = source if first == ORIGIN else models.open(first)
    if teacher.format != _FORMAT:
        raise UsageError(
            f"features: the teacher '{first}' is a {teacher.format} file, whose layers cannot be "
            "read",
            hint="give a Keras model as the first teacher, or leave features out",
        )
    taught = load_trainable(teacher.path, where=f"teacher '{first}'")
    for own, other in parameters.pairs:
        mine, theirs = _output(student, "student", own), _output(taught, "teacher", other)
        if mine[1:-1] != theirs[1:-1] or len(mine) != len(theirs):
            raise UsageError(
                f"features: '{own}:{other}' pairs {_shape(mine[1:])} with {_shape(theirs[1:])}, "
                "and only the channels (the last axis) may differ",
                hint="pair layers whose outputs have the same height and width",
            )


def _output(model: Any, noun: str, name: str) -> tuple[int | None, ...]:
    """The shape of the one output of a layer."""
    known = [layer.name for layer in model.layers]
    if name not in known:
        raise UsageError(
            f"features: the {noun} has no layer '{name}'", hint=did_you_mean(name, known)
        )
    layer = model.get_layer(name)
    if len(layer_graph(model).calls_of(layer)) > 1 or not hasattr(layer.output, "shape"):
        raise UsageError(
            f"features: layer '{name}' of the {noun} has no single output",
            hint="pair a layer that is used once",
        )
    return tuple(layer.output.shape)


def _from_zoo(student: str, signature: Signature) -> Any:
    name, known = student.removeprefix(ZOO), names("zoo")
    if name not in known:
        raise UsageError(f"student: the zoo has no '{name}'", hint=did_you_mean(name, known))
    sample = signature.inputs[0].sample_shape
    scores = signature.outputs[0].sample_shape
    if len(signature.inputs) != 1 or len(signature.outputs) != 1 or len(scores) != 1:
        raise UsageError(
            f"student: '{student}' has one input and one score a class, but the model takes "
            f"{_shapes(signature.inputs)} and gives {_shapes(signature.outputs)}",
            hint="give a model file as the student, or width",
        )
    if None in sample or scores[0] is None:
        raise UsageError(
            f"student: '{student}' is built for one shape, but the model takes "
            f"{_shapes(signature.inputs)}",
            hint="give a model file as the student, or width",
        )
    return load("zoo", name).build(sample, scores[0])


def _from_file(student: str, models: Models) -> Any:
    try:
        artifact = models.open(student)
    except UsageError as error:
        raise UsageError(f"student: {error.message}", hint=error.hint) from None
    if artifact.format != _FORMAT:
        raise UsageError(
            f"student: '{student}' is a {artifact.format} file, which cannot be trained",
            hint="give a Keras model as the student; a teacher may have any format",
        )
    return load_trainable(artifact.path, where=f"student '{student}'")


def _shapes(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(_shape(spec.sample_shape) for spec in specs)


def _shape(sizes: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in sizes) or "1"
