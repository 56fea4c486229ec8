"""Keras to a float .tflite, proven to give equal outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.conversions._keras_source import (
    about,
    check_batch,
    refuse_batch,
    refuse_text,
    shape_text,
)
from edgekit.core.artifact import Artifact
from edgekit.core.technique import Models, Work
from edgekit.errors import UsageError
from edgekit.frameworks.equality import TOLERANCE, Sides, order_by_name
from edgekit.frameworks.keras import concrete_function, load_model
from edgekit.frameworks.tflite_converter import convert
from edgekit.lazy import version

__all__ = [
    "TOLERANCE",
    "Parameters",
    "apply",
    "check",
    "compare",
    "relative_difference",
    "verify",
    "versions",
]

_PROBES = 32
_SIDES = Sides("the Keras model", "the .tflite", "TensorFlow Lite")
compare, relative_difference = _SIDES.compare, _SIDES.relative_difference


@dataclass(frozen=True)
class Parameters:
    """How a model is exported.

    Attributes:
        batch: the static batch size. 0 leaves it open, which costs ops that compute shapes and
            which compilers for accelerators and microcontrollers do not take.
        allow_select_ops: lets ops in that only a runtime with TensorFlow's own kernels (Flex) can
            run. Most device runtimes have none.
    """

    batch: int = 1
    allow_select_ops: bool = False

    def __post_init__(self) -> None:
        check_batch(self.batch)


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result; '' for those that are not installed."""
    return {name: version(name) for name in ("tensorflow", "keras", "tf-keras")}


def check(parameters: Parameters | None, source: Artifact, models: Models) -> None:
    """Raises UsageError for an input of text, and one whose shape is open or fixed otherwise."""
    signature = models.describe(source).signature
    refuse_text(signature)
    for spec in signature.inputs:
        if None in spec.sample_shape:
            raise UsageError(
                f"input '{spec.name}' of the model has the shape {shape_text(spec)}, and only the "
                "batch may be open",
                hint="save the model with an Input layer of a fixed shape",
            )
    refuse_batch(signature, (parameters or Parameters()).batch)


def apply(parameters: Parameters | None, source: Artifact, work: Work) -> None:
    """Writes the float `.tflite`."""
    chosen = parameters or Parameters()
    loaded = load_model(source.path)
    for reason in loaded.notes:
        work.note("opened", source.name, reason)
    with about(source):
        function, module = concrete_function(loaded, chosen.batch or None)
        made = convert(function, module, allow_select_ops=chosen.allow_select_ops)
        work.output.write_bytes(made)


def verify(parameters: Parameters | None, source: Artifact, result: Artifact, work: Work) -> None:
    """Runs both models on the same inputs and compares every output, matched by name.

    A model with select ops is the exception: no wheel has the kernels for them any more
    (TensorFlow 2.21 neither), so that it is not proven is put on record.

    Raises:
        PromiseError: an output is missing, has another shape, or differs by more than TOLERANCE.
        UsageError: the source's own outputs are not finite, so nothing can be compared.
    """
    made_of = work.describe(result)
    select = sorted({op.kind for op in made_of.ops if op.kind.startswith("Flex")})
    if select:
        reason = "no runtime here has these ops of TensorFlow's, so the outputs are not compared"
        work.note("not proven equal", ", ".join(select), reason)
        return
    before, after = work.describe(source).signature, made_of.signature
    probes = work.probes(_PROBES)
    reference = work.predict(source, probes)
    with about(source):
        order = order_by_name(before.inputs, after.inputs, "input")
    made = work.predict(result, tuple(probes[index] for index in order))
    with about(source):
        compare(reference, made, before, after, work)
