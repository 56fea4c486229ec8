"""Keras to a float .tflite, proven to give equal outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.core.artifact import Artifact, Signature, TensorSpec
from edgekit.core.technique import Models, Work
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.keras import concrete_function, graph_names, load_model
from edgekit.frameworks.tflite_converter import convert
from edgekit.lazy import version

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["TOLERANCE", "Parameters", "apply", "check", "verify", "versions"]

TOLERANCE = 1e-4
"""The largest difference of an output tensor, over its largest absolute value in the reference."""

_PROBES = 32
_MAX_BATCH = 4096


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
        if not 0 <= self.batch <= _MAX_BATCH:
            raise ValueError(f"batch must be from 0 (open) to {_MAX_BATCH}, not {self.batch}")


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result; '' for those that are not installed."""
    return {name: version(name) for name in ("tensorflow", "keras", "tf-keras")}


def check(parameters: Parameters | None, source: Artifact, models: Models) -> None:
    """Raises UsageError for an input of text, and one whose shape is open or fixed otherwise."""
    batch = (parameters or Parameters()).batch
    for spec in models.describe(source).signature.inputs:
        if spec.dtype == "string":
            raise UsageError(
                f"input '{spec.name}' of the model holds text, and only numbers can be converted",
                hint="turn text into numbers in front of the model (a StringLookup or "
                "TextVectorization layer), and save the rest as a model of its own",
            )
        if None in spec.sample_shape:
            raise UsageError(
                f"input '{spec.name}' of the model has the shape {_shape(spec)}, and only the "
                "batch may be open",
                hint="save the model with an Input layer of a fixed shape",
            )
        fixed = spec.shape[0] if spec.shape else None
        if fixed is not None and fixed != batch:
            asked = f"a batch of {batch}" if batch else "an open batch"
            raise UsageError(
                f"input '{spec.name}' of the model has the shape {_shape(spec)}, and {asked} is "
                "asked for",
                hint=f"`edgekit convert MODEL --conversion-options batch={fixed}`, or save it with "
                "an open batch (None)",
            )


def _shape(spec: TensorSpec) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in spec.shape)})"


def apply(parameters: Parameters | None, source: Artifact, work: Work) -> None:
    """Writes the float `.tflite`."""
    chosen = parameters or Parameters()
    loaded = load_model(source.path)
    for reason in loaded.notes:
        work.note("opened", source.name, reason)
    with _about(source):
        function, module = concrete_function(loaded, chosen.batch or None)
        made = convert(function, module, allow_select_ops=chosen.allow_select_ops)
        work.output.write_bytes(made)


@contextlib.contextmanager
def _about(source: Artifact) -> Iterator[None]:
    """Lets an error begin with the user's model."""
    try:
        yield
    except (PromiseError, UsageError) as error:
        message = f"model '{source.name}': {error.message}"
        raise type(error)(message, hint=error.hint) from error


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
    with _about(source):
        order = _order(before.inputs, after.inputs, "input")
    made = work.predict(result, tuple(probes[index] for index in order))
    with _about(source):
        compare(reference, made, before, after, work)


def compare(
    reference: tuple[Array, ...],
    made: tuple[Array, ...],
    before: Signature,
    after: Signature,
    work: Work,
) -> None:
    """Compares outputs by name, and puts the largest difference on record."""
    places = _order(after.outputs, before.outputs, "output")
    worst = ("", -1.0)
    for spec, expected, place in zip(before.outputs, reference, places, strict=True):
        difference = relative_difference(spec.name, expected, made[place])
        if not difference <= worst[1]:
            worst = (spec.name, difference)
    name, difference = worst
    if not difference <= TOLERANCE:
        raise PromiseError(
            f"output '{name}' of the .tflite differs from the Keras model by "
            f"{difference:.2g} of its largest value, and at most {TOLERANCE:g} is allowed",
            hint="a layer computes otherwise in TensorFlow Lite: look for random ops, training "
            "behaviour in inference, or values that overflow",
        )
    work.evidence(
        "proven equal",
        f"{len(reference)} output{'s' if len(reference) > 1 else ''} on {len(reference[0])} inputs",
        f"the largest difference is {difference:.2g} of the output's largest value ('{name}')",
    )


def relative_difference(name: str, expected: Array, made: Array) -> float:
    """max |made - expected| / max |expected|.

    Raises:
        PromiseError: the shapes differ, or only `made` has values that are not finite.
        UsageError: `expected` has such values: NaN equals nothing, and all is 0 beside infinity.
    """
    import numpy as np

    if made.shape != expected.shape:
        raise PromiseError(
            f"output '{name}' of the .tflite has the shape {made.shape}, and "
            f"{expected.shape} in the Keras model"
        )
    _must_be_finite(name, expected, made)
    exact = expected.astype(np.float64)
    gap = float(np.max(np.abs(made.astype(np.float64) - exact), initial=0.0))
    if not gap:
        return 0.0
    largest = float(np.max(np.abs(exact)))
    return gap / largest if largest > 0 else float("inf")


def _must_be_finite(name: str, expected: Array, made: Array) -> None:
    import numpy as np

    before, after = (int(np.count_nonzero(~np.isfinite(array))) for array in (expected, made))
    found = f"of {expected.size} values NaN or infinite on the compared inputs"
    if before:
        raise UsageError(
            f"output '{name}' of the Keras model has {before} {found}",
            hint="look for weights that are NaN or infinite (a training that diverged); where "
            "random inputs cause it, give real ones with --data",
        )
    if after:
        raise PromiseError(
            f"output '{name}' of the .tflite has {after} {found}, and the Keras model none",
            hint="a layer computes otherwise in TensorFlow Lite: look for values that overflow",
        )


def _order(given: tuple[TensorSpec, ...], wanted: tuple[TensorSpec, ...], noun: str) -> list[int]:
    """For each wanted tensor the place of the given one with its name, as TensorFlow writes it.

    Raises:
        PromiseError: a tensor has no counterpart.
    """
    have = graph_names(spec.name for spec in given)
    want = graph_names(spec.name for spec in wanted)
    lost = [name for name in want if name not in have]
    if lost or len(have) != len(want):
        raise PromiseError(
            f"{noun} '{(lost or have)[0]}' has no counterpart",
            hint=f"the two models have {', '.join(have)} and {', '.join(want)}",
        )
    return [have.index(name) for name in want]
