"""Fold batch normalization into the weights and biases around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from edgekit.core.data import SplitName
from edgekit.core.technique import Trait

__all__ = ["Parameters"]


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Takes BatchNormalization layers out of a model whose outputs stay what they were.

    1. Backward: one that takes the output of a convolution (plain, depthwise, separable,
       transposed; 1D to 3D) or dense layer, without an activation between, becomes part of that
       layer's weights and bias (Jacob et al., arXiv:1712.05877, section 3.2). Dropout between the
       two is passed through: it does nothing at inference.
    2. Forward: one whose output goes into such a layer only becomes part of that layer's weights
       and bias, where the layer pads nothing (padding "valid", a 1x1 kernel, or dense): padded
       zeros would have to become the shift of the normalization.

    What it leaves, each with a note: normalizations between layers that are used several times or
    branch, behind an activation, behind an addition, over another axis than the last. A layer
    without a bias gets one. The model is left as it is where there is nothing to fold.

    A TFLite conversion folds too. This step is for what comes between: `equalize`, `correct-bias`
    and training on the weights that will be quantized.
    """

    keeps: ClassVar[frozenset[Trait]] = frozenset({"sparsity"})

    @property
    def needs(self) -> Mapping[SplitName, int]:
        """No data."""
        return {}
