"""Train on with 8-bit rounding in the forward pass, and write an integer .tflite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from edgekit.core.technique import Trait
from edgekit.core.training import TrainingOptions

__all__ = ["Parameters"]


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingOptions):
    """Which layers learn with 8-bit weights and activations, and what the file looks like.

    The engine is tensorflow-model-optimization's fake quantization (Jacob et al.,
    arXiv:1712.05877): forward, weights and activations are rounded to 8 bits; backward, the
    rounding is passed by. The `.tflite` has exactly the trained integers and ranges.

    What is quantized: the kernels of Dense, Conv1D, Conv2D, Conv2DTranspose and DepthwiseConv2D,
    and what flows between the layers; a BatchNormalization that follows such a layer goes into its
    weights, and its mean and variance stay as they are, so that training and inference are one.
    Ranges of activations begin with what `calibration_samples` samples of the train split reach,
    and follow the training as a moving average.

    Kernels that come pruned or clustered stay so. Which those are is seen from their values: at
    least 1 % zeros, or at least twice as many weights as different values. Zeros stay zero, and
    weights that are equal stay equal: they take the mean of their gradients (what PQAT, CQAT and
    PCQAT are for; the engine's own schemes for these destroy kernels of 1x1 convolutions:
    tensorflow/model-optimization#979).

    What stays float: layers that `skip` matches (names with * and ?), and layers of which
    TensorFlow Lite has no 8-bit form; these are an error unless `allow_float` is set. Each is a
    note.

    Attributes:
        io: what the inputs and outputs of the file are; `float` has a QUANTIZE and a DEQUANTIZE op
            at the edges.
        per_channel: one scale for each output channel of a convolution. False gives a kernel one
            scale before its BatchNormalization is folded in: a little less accurate, but k
            different weights are then k different bytes, which compress much better.
        skip: layers that stay float.
        allow_float: accepts layers that have no 8-bit form.
        calibration_samples: how many samples set the first ranges.
    """

    makes: ClassVar[frozenset[Trait]] = frozenset({"integers"})

    epochs: int = 2
    learning_rate: float = 1e-4
    io: Literal["integer", "float"] = "integer"
    per_channel: bool = True
    skip: tuple[str, ...] = ()
    allow_float: bool = False
    calibration_samples: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision != "float32":
            raise ValueError(
                f"precision must be float32, not {self.precision}: fake quantization has no other"
            )
        if self.calibration_samples < 1:
            raise ValueError(
                f"calibration_samples must be at least 1, not {self.calibration_samples}"
            )
        if "" in self.skip:
            raise ValueError("skip has an empty pattern")
