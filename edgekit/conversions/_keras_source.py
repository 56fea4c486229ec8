"""What conversions ask of a Keras model before they start, and errors that begin with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from edgekit.core.artifact import Artifact, Signature, TensorSpec
from edgekit.errors import PromiseError, UsageError

__all__ = ["about", "check_batch", "refuse_batch", "refuse_text", "shape_text"]

_MAX_BATCH = 4096


def check_batch(batch: int) -> None:
    """Raises ValueError for a batch size that nobody can mean."""
    if not 0 <= batch <= _MAX_BATCH:
        raise ValueError(f"batch must be from 0 (open) to {_MAX_BATCH}, not {batch}")


def refuse_text(signature: Signature) -> None:
    """Raises UsageError for an input of text."""
    for spec in signature.inputs:
        if spec.dtype == "string":
            raise UsageError(
                f"input '{spec.name}' of the model holds text, and only numbers can be converted",
                hint="turn text into numbers in front of the model (a StringLookup or "
                "TextVectorization layer), and save the rest as a model of its own",
            )


def refuse_batch(signature: Signature, batch: int) -> None:
    """Raises UsageError where the model has another fixed batch than the one asked for."""
    for spec in signature.inputs:
        fixed = spec.shape[0] if spec.shape else None
        if fixed is not None and fixed != batch:
            asked = f"a batch of {batch}" if batch else "an open batch"
            raise UsageError(
                f"input '{spec.name}' of the model has the shape {shape_text(spec)}, and {asked} "
                "is asked for",
                hint=f"`edgekit convert MODEL --conversion-options batch={fixed}`, or save it with "
                "an open batch (None)",
            )


def shape_text(spec: TensorSpec) -> str:
    """Writes '(?, 8, 8, 1)'."""
    return f"({', '.join('?' if size is None else str(size) for size in spec.shape)})"


@contextlib.contextmanager
def about(source: Artifact) -> Iterator[None]:
    """Lets an error begin with the user's model."""
    try:
        yield
    except (PromiseError, UsageError) as error:
        message = f"model '{source.name}': {error.message}"
        raise type(error)(message, hint=error.hint) from error
