"""Fold, raise the opset and infer shapes, so that quantization finds the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from edgekit.core.data import SplitName

__all__ = ["Parameters"]

_LEAST_OPSET, _MOST_OPSET = 13, 23


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Rewrites an ONNX model into the form that quantization and pruning need.

    Stages, in this order:
        1. `Constant` nodes become initializers, local functions are inlined, and initializers are
           no longer inputs that a caller could override.
        2. The opset is raised to `opset` where it is lower (per-channel QDQ needs 13); where that
           fails, to 13; where that fails too, it stays. It is never lowered.
        3. `fold`: constants, BatchNormalization and nodes without effect are folded, and the parts
           of a layer normalization become one op.
        4. Nodes and initializers that no output needs are dropped.
        5. `infer_shapes`: dtype and shape of what flows between the nodes, by onnx; where it leaves
           something open, by the symbolic inference of ONNX Runtime.
        6. Every node gets a name of its own: skip patterns and rankings go by names. A node without
           one is named after its first output, as `edgekit inspect` shows it.

    Inputs, outputs, their names and dynamic axes, metadata, and the names of nodes that stay are
    kept.

    The outputs are compared with those of the source on real samples: they may differ by 1e-4 of
    the largest value (of 1, where a sigmoid or softmax makes them). A stage that changes more, or
    that fails, is taken back with a note that says so.

    A model that is quantized already keeps its nodes, but for unused ones. Weights outside the file
    are taken into it. From 512 MB on they stay outside, and stage 3 is left out: it needs the model
    twice in memory.
    """

    keeps_layers: ClassVar[bool] = False

    opset: int = 17
    fold: bool = True
    infer_shapes: bool = True

    def __post_init__(self) -> None:
        if not _LEAST_OPSET <= self.opset <= _MOST_OPSET:
            raise ValueError(
                f"opset must be from {_LEAST_OPSET} to {_MOST_OPSET}, not {self.opset}"
            )

    @property
    def needs(self) -> Mapping[SplitName, int]:
        """No data; with data, the comparison is on real samples."""
        return {}
