"""Even out the weight ranges of neighbouring layers before quantization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from edgekit.core.data import SplitName
from edgekit.core.technique import Trait

__all__ = ["Parameters"]


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Cross-layer equalization (Nagel et al., arXiv:1906.04721, section 4.1).

    A channel between two layers can be divided by a factor behind the first layer and multiplied
    by it in front of the second, and nothing changes, where all that lies between passes factors
    on. The factor sqrt(r1 / r2), with r1 and r2 the largest absolute weights that make and take
    that channel, makes the two equal. It is done for all pairs again until no factor is further
    than 0.1 % from 1, or `iterations` are over.

    Layers: convolutions (plain, grouped, depthwise, separable, transposed; 1D to 3D) and dense.
    Between them: ReLU, LeakyReLU, PReLU, linear, dropout, max and average pooling, padding with
    zeros, cropping, upsampling, flatten and reshape.

    What it leaves, each with a note: pairs with another activation between them (relu6 too: its 6
    would be another number for each channel), BatchNormalization (put `fold-batchnorm` before),
    an addition or another layer with several inputs, a branch, a layer used several times. A
    channel whose factor would be beyond `limit` (all but dead: its bias would become huge) gets
    the limit.

    What it is for: weights quantized by tensor, and depthwise nets. Weights with one scale an
    output channel gain less, for the first layer of a pair has no use for it.
    """

    keeps: ClassVar[frozenset[Trait]] = frozenset({"sparsity"})

    iterations: int = 200
    limit: float = 1000.0

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, not {self.iterations}")
        if not 1 < self.limit < float("inf"):
            raise ValueError(f"limit must be above 1, not {self.limit:g}")

    @property
    def needs(self) -> Mapping[SplitName, int]:
        """No data."""
        return {}
