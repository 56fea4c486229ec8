"""TFLite files: read with every offset checked, and without TensorFlow."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import UsageError
from edgekit.frameworks._tflite_model import (
    Operation,
    SignatureDef,
    Subgraph,
    Tensor,
    TensorQuantization,
    TfliteModel,
)
from edgekit.frameworks._tflite_parse import IDENTIFIER, parse
from edgekit.frameworks._tflite_write import add_signature, with_metadata

__all__ = [
    "IDENTIFIER",
    "Operation",
    "SignatureDef",
    "Subgraph",
    "Tensor",
    "TensorQuantization",
    "TfliteModel",
    "add_signature",
    "parse",
    "read_bytes",
    "read_metadata",
    "read_model",
    "with_metadata",
]

_MAX_FILE_BYTES = 8 * 10**9


def read_bytes(path: Path) -> bytes:
    """Reads a model file whole.

    Raises:
        UsageError: it cannot be read, or is too big for a .tflite.
    """
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise UsageError(f"{path}: is {path.stat().st_size} bytes, too big for a TFLite model")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_model(path: Path) -> TfliteModel:
    """Reads a .tflite file.

    Raises:
        UsageError: it cannot be read, or is no whole TFLite model.
    """
    return parse(read_bytes(path), where=str(path))


def read_metadata(data: bytes, name: str, *, where: str = "the model") -> bytes | None:
    """The payload of a metadata entry, or None where there is none of that name."""
    model = parse(data, where=where)
    index = dict(model.metadata).get(name)
    return None if index is None else bytes(model.buffer(index))
