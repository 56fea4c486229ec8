"""Drop what no runtime reads from a TFLite file; lay the rest out for xz."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgekit.core.data import SplitName

__all__ = ["Parameters"]


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Rewrites a `.tflite` smaller; every op computes what it did, bit for bit.

    What goes: names of tensors other than inputs and outputs, and of graphs; minima and maxima of
    calibration; the description; metadata other than edgekit's own (each entry is a note); op
    codes, buffers and tensors that nothing uses. Equal buffers, scales, zero points, shapes,
    options and other tables are stored once. Constants are aligned to their element size, to 4
    bytes at least.

    What stays: ops, tensors in use, signatures, edgekit's metadata. Custom ops keep their options.

    Several orders of the parts are tried, and the one that is smallest after xz is taken.

    `bias_scales = "share"` lets a bias that has one scale a channel point at the scales of its
    weights, which saves 4 bytes a channel that hardly compress. LiteRT's kernels do not need them
    (they multiply input scale and weight scale), and the outputs are compared bit for bit here; but
    a program that makes such a bias float again gets wrong values, and so may another runtime or
    compiler. `keep` leaves them.
    """

    bias_scales: Literal["keep", "share"] = "keep"

    @property
    def needs(self) -> Mapping[SplitName, int]:
        """No data."""
        return {}
