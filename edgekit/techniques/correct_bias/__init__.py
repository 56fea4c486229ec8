"""Correct biases for the mean shift that rounded weights cause in each channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from edgekit.core.data import SplitName
from edgekit.core.technique import Trait

__all__ = ["Parameters"]

_MAX_SAMPLES = 100_000


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Empirical bias correction (Nagel et al., arXiv:1906.04721, section 4.2 and appendix D).

    Rounded weights shift the mean of what a channel computes. Layer by layer, in the order of
    computation and with all layers before rounded and corrected, that shift is measured before the
    activation on calibration samples, and taken out of the bias. Weights are rounded as
    `quantize` does it: symmetric, `bits` wide, one scale an output channel (`per_channel`) or a
    tensor. Activations are not rounded here.

    The float model that comes out is off by these shifts itself: the report says how far. It is
    meant for `quantize` as the next step, with the same `per_channel`.

    Layers: convolutions (plain, grouped, depthwise, separable, transposed; 1D to 3D) and dense;
    those without a bias get one. Layers that are used several times are left as they are, with a
    note. With one scale a channel a normalization behind a layer does not matter; with one a
    tensor it does, for the quantizer folds it into the weights: put `fold-batchnorm` before (it
    is noted where one is left).
    """

    keeps: ClassVar[frozenset[Trait]] = frozenset({"sparsity", "clusters"})

    samples: int = 128
    per_channel: bool = True
    bits: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= _MAX_SAMPLES:
            raise ValueError(f"samples must be from 1 to {_MAX_SAMPLES}, not {self.samples}")
        if not 2 <= self.bits <= 8:
            raise ValueError(f"bits must be from 2 to 8, not {self.bits}")

    @property
    def needs(self) -> Mapping[SplitName, int]:
        """Samples to measure means on."""
        return {"calibrate": 1}
