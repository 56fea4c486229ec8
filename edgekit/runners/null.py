"""No runtime: invented outputs, to test what stands above a runner."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.core.runner import Placement
from edgekit.units import Nanoseconds

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = [
    "FORMATS",
    "FRAMEWORKS",
    "MODULES",
    "PREDICTS",
    "UNREAL",
    "NullSession",
    "Options",
    "open",
    "unavailable",
    "versions",
]

FORMATS = ("keras", "onnx", "tflite")
PREDICTS: tuple[str, ...] = ()
MODULES: tuple[str, ...] = ()
FRAMEWORKS: frozenset[str] = frozenset()
UNREAL = "the null runner invents its outputs"


@dataclass(frozen=True)
class Options:
    """`latency` is how long one inference keeps the processor busy; the file is never opened."""

    threads: int = 1
    latency: Nanoseconds = 0


def open(path: Path, signature: Signature, options: object) -> NullSession:  # noqa: A001 (what core.runner.Runner calls it)
    """Opens nothing: the signature alone says what the outputs look like."""
    assert isinstance(options, Options), options
    return NullSession(signature, options.latency)


def unavailable() -> str:
    """It works everywhere."""
    return ""


def versions() -> Mapping[str, str]:
    """No package has a part in the outputs."""
    return {}


class NullSession:
    """Outputs are drawn from a hash of each sample's bytes: equal inputs give equal outputs."""

    def __init__(self, signature: Signature, latency_ns: int) -> None:
        self.signature = signature
        self._latency_ns = latency_ns

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Invents the outputs of N samples in the model's own dtypes."""
        import numpy as np

        columns: list[list[Array]] = [[] for _ in self.signature.outputs]
        for row in range(len(inputs[0])):
            content = hashlib.blake2b(digest_size=8)
            for array in inputs:
                content.update(np.ascontiguousarray(array[row]).tobytes())
            rng = np.random.default_rng(int.from_bytes(content.digest(), "little"))
            for column, spec in zip(columns, self.signature.outputs, strict=True):
                column.append(_draw(rng, spec))
            self.invoke()
        return tuple(np.stack(column) for column in columns)

    def invoke(self) -> None:
        """Keeps the processor busy for the time that was asked for."""
        if self._latency_ns:
            end = time.perf_counter_ns() + self._latency_ns
            while time.perf_counter_ns() < end:
                pass

    def placement(self) -> Placement:
        """Nothing runs anywhere."""
        return Placement((), "the null runner runs nothing")

    def close(self) -> None:
        """Holds nothing."""


def _draw(rng: object, spec: TensorSpec) -> Array:
    import numpy as np

    assert isinstance(rng, np.random.Generator)
    shape, dtype = tuple(size or 1 for size in spec.sample_shape), np.dtype(spec.dtype)
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        return rng.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)
    return rng.random(shape).astype(dtype)
