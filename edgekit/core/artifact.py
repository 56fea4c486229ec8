"""A model on disk, its signature, and the input scaling that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["IDENTITY", "Artifact", "InputScaling", "Quantization", "Signature", "TensorSpec"]


@dataclass(frozen=True)
class Quantization:
    """Per-tensor affine quantization: real = scale * (stored - zero_point)."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class TensorSpec:
    """A named input or output: shape (None where dynamic; axis 0 is the batch) and numpy dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    quantization: Quantization | None = None

    @property
    def sample_shape(self) -> tuple[int | None, ...]:
        """The shape of one sample: everything after the batch axis."""
        return self.shape[1:]


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model, in the model's own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class InputScaling:
    """What turns raw data into what the model was trained on: model input = raw * scale + offset.

    `scale` and `offset` have one value, or one for each channel: of the last axis, else of the
    first one after the batch. `low` and `high`
    are the range of the raw data that the model was trained on, where it is known; data far from
    it is refused, because a wrong range silently costs most of the accuracy.
    """

    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    low: float | None = None
    high: float | None = None

    @property
    def is_identity(self) -> bool:
        """True where raw data goes into the model unchanged."""
        return set(self.scale) == {1.0} and set(self.offset) == {0.0}


IDENTITY = InputScaling()


@dataclass(frozen=True)
class Artifact:
    """A model on disk; never changed once made, and every figure is keyed by its digest.

    `digest` is of the content, not of the file: two saves of one model have the same digest.
    `name` is what reports call it; `made_by` is the step that wrote it; `parent` is the digest of
    what it was made from.
    """

    path: Path
    format: str
    digest: str
    name: str
    made_by: str = "source"
    parent: str | None = None
    scaling: InputScaling = field(default=IDENTITY)
