"""Store weights, and activations too, in 8 or 16 bits instead of 32-bit floats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from edgekit.core.data import SplitName
from edgekit.core.technique import Trait

__all__ = ["STATIC", "Parameters", "Ranges", "Scheme"]

Scheme = Literal[
    "int8", "int16x8", "dynamic-int8", "weight-only-int8", "weight-only-int4", "float16"
]
Ranges = Literal["min-max", "average", "entropy", "percentile"]

STATIC: frozenset[Scheme] = frozenset({"int8", "int16x8"})
"""The schemes in which every op computes in integers, with ranges from calibration data."""

_MAX_SAMPLES = 100_000


@dataclass(frozen=True)
class Parameters:
    """What becomes narrow, and how its ranges are found.

    Schemes:
        1. `int8`: weights and activations int8, biases int32; every op computes in integers.
        2. `int16x8`: weights int8, activations int16, biases int64; every op in integers.
        3. `dynamic-int8`: weights int8; activations stay float, and the runtime's kernels make
           them int8 on the fly. No data is needed.
        4. `weight-only-int8`: weights int8, made float again before each op: small, not faster.
        5. `weight-only-int4`: weights int4 in blocks, for .onnx only.
        6. `float16`: weights float16; a .tflite makes them float32 again before each op, an .onnx
           computes in float16.

    `op_types` are the kinds of op to treat, in the format's own names (`Conv`, CONV_2D); all by
    default. `skip` are patterns of the names of ops that stay as they are; `weights_only` of those
    whose weights become int8 while their activations stay float: as small, and nearly as exact as
    float.

    `ladder = true` keeps the recipe's `max_accuracy_drop` by trying: where the drop on the select
    split is larger, the next rung is tried, and the first that holds is taken (`Rung`s of the
    format's own; `edgekit explain` prints them).

    What it leaves: biases under 3 to 5, constants of ops that have no weights (ADD, MUL) under
    3 to 5, ops that `skip` matches. Each of these is a note in the report.

    Ranges of activations: `ranges = "min-max"` holds every value that calibration saw;
    `"average"` is the engine's own default, a moving average of each sample's minimum and maximum
    (0.95 old, 0.05 new). The average cuts values off: on a digits net the outputs are 13 times
    further from the float model's (RMS) at the same top-1, and where 16 bits are there to hold the
    range it gains nothing. Try it where single outliers make the steps too coarse. `"entropy"` (the
    range that loses the least information, by Kullback-Leibler divergence) and `"percentile"`
    (99.999 % of the values) are for .onnx.

    Weights are symmetric, with one scale for each output channel (`per_channel`) or for each
    tensor. Scale and zero point as in Jacob et al., arXiv:1712.05877.

    `io` says what a static scheme's inputs and outputs are: `integer`, or `float` with a QUANTIZE
    and a DEQUANTIZE op at the edges. `allow_float` accepts ops that stay float in a static scheme
    because no integer form exists; without it they are an error.
    """

    makes: ClassVar[frozenset[Trait]] = frozenset({"integers"})
    keeps: ClassVar[frozenset[Trait]] = frozenset({"sparsity", "clusters"})

    scheme: Scheme
    io: Literal["integer", "float"] = "integer"
    samples: int = 128
    ranges: Ranges = "min-max"
    per_channel: bool = True
    op_types: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    weights_only: tuple[str, ...] = ()
    allow_float: bool = False
    ladder: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= _MAX_SAMPLES:
            raise ValueError(f"samples must be from 1 to {_MAX_SAMPLES}, not {self.samples}")
        if self.io == "float" and not self.is_static:
            raise ValueError(
                f"io 'float' is for {' and '.join(sorted(STATIC))}: the inputs and outputs of "
                f"{self.scheme} are float anyway"
            )
        if self.allow_float and not self.is_static:
            raise ValueError(
                f"allow_float is for {' and '.join(sorted(STATIC))}: {self.scheme} computes in "
                "float anyway"
            )
        if self.scheme == "float16" and not self.per_channel:
            raise ValueError("per_channel = false is for int8 weights: float16 has no scales")
        for name in ("skip", "weights_only"):
            if "" in getattr(self, name):
                raise ValueError(f"{name} has an empty pattern")
        if self.weights_only and not self.is_static:
            raise ValueError(
                f"weights_only is for {' and '.join(sorted(STATIC))}: the activations of "
                f"{self.scheme} are float anyway"
            )
        if "" in self.op_types:
            raise ValueError("op_types has an empty name")

    @property
    def is_static(self) -> bool:
        """True where activations are quantized too, with ranges from calibration data."""
        return self.scheme in STATIC

    @property
    def needs(self) -> Mapping[SplitName, int]:
        """Calibration samples for the static schemes, samples to decide on for a ladder."""
        wanted: dict[SplitName, int] = {"calibrate": 1} if self.is_static else {}
        return {**wanted, "select": 1} if self.ladder else wanted

    @property
    def activation_bits(self) -> int:
        """8 or 16 in a static scheme, else 32."""
        return {"int8": 8, "int16x8": 16}.get(self.scheme, 32)
