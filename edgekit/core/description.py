"""What a model file holds: signature, ops, weights, and where the bytes are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from edgekit.core.artifact import Signature

__all__ = ["Description", "Op", "Weight"]


@dataclass(frozen=True)
class Op:
    """One operation. `dtypes` are those of its activations (inputs and outputs, no weights).

    `kind` is the format's own name (CONV_2D, Conv, Conv2D); `name` tells this op from its likes
    and is what a `skip` pattern matches. `macs` is None where no rule counts them. `version` is the
    one that a runtime must have, in formats that count them.
    """

    index: int
    kind: str
    name: str
    dtypes: tuple[str, ...]
    macs: int | None = None
    is_custom: bool = False
    version: int | None = None


@dataclass(frozen=True)
class Weight:
    """A constant tensor with trained or fixed values."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    size_bytes: int

    @property
    def parameters(self) -> int:
        """The number of values."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True)
class Description:
    """The content of one model file, read without running it.

    `size_bytes` is of the whole file or folder. `bytes_by` splits it without a rest: weights,
    tables, strings, metadata, and what else the format has. `notes` say what could not be read,
    `facts` what else there is to know: versions, open axes.
    """

    format: str
    signature: Signature
    ops: tuple[Op, ...]
    weights: tuple[Weight, ...]
    size_bytes: int
    bytes_by: tuple[tuple[str, int], ...]
    parameters: int
    notes: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one inference, over the ops that have a count."""
        counted = [op.macs for op in self.ops if op.macs is not None]
        return sum(counted) if counted else None

    @property
    def op_counts(self) -> dict[str, int]:
        """How often each kind of op occurs, most frequent first."""
        return dict(Counter(op.kind for op in self.ops).most_common())
