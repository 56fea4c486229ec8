"""Train the model further on the data, keeping the zeros of pruned weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgekit.core.technique import Trait
from edgekit.core.training import TrainingOptions

__all__ = ["Parameters"]


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingOptions):
    """Plain training of all weights that the model says are trainable; its layers stay.

    It stands between other steps: after `prune-channels` or `equalize`, which cost accuracy that a
    few epochs bring back, or with a teacher, whose outputs it then learns from as well.

    What it keeps: a kernel in which two weights or more are exactly 0 counts as pruned, because
    training leaves practically none so, and its zeros are set back after every optimizer step (Han
    et al., arXiv:1506.02626, retrain so). A kernel that is all 0 was never trained, and is.

    What it refuses: kernels of few different values, which `cluster` makes, because training moves
    each weight on its own. Fine-tune before `cluster`, or use `quantize-aware-train`, which keeps
    clusters.

    The learning rate is a tenth of what trains a net from the beginning.
    """

    keeps: ClassVar[frozenset[Trait]] = frozenset({"sparsity"})

    learning_rate: float = 1e-4
