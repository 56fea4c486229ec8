"""Remove whole channels, so that shapes, MACs and latency shrink, and fine-tune."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from edgekit.core.technique import Trait
from edgekit.core.training import TrainingOptions
from edgekit.units import Points

__all__ = ["Importance", "Of", "Parameters"]

Of = Literal["channels", "macs", "parameters"]
Importance = Literal["l1", "batchnorm-scale", "taylor"]


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingOptions):
    """How much goes, and by what it is chosen.

    A channel goes from every layer that makes or reads it: the inputs of an Add have the same
    channels, a Concatenate joins them, a Flatten repeats them (dependency groups as in DepGraph,
    arXiv:2301.12900). What stays: the model's inputs and outputs, what `skip` matches, and what
    layers without a rule touch (LayerNormalization, recurrent layers, attention, grouped
    convolutions, softmax inside the net); each is a note with its reason.

    Attributes:
        ratio: the share that goes, of the whole model's MACs or parameters, or of the channels that
            may go.
        of: what `ratio` is of. The channels with the lowest importance over all layers go until
            that share is gone.
        layer_ratios: by name of a layer (or pattern), the share of its channels that goes; 0 keeps
            all. The other layers make up for the rest of `ratio`.
        importance: `l1` is the L1 norm of a channel's filter (Li et al., arXiv:1608.08710);
            `batchnorm-scale` the magnitude of its BatchNormalization scale (Liu et al.,
            arXiv:1708.06519), and L1 where a group has none; both are divided by their mean over
            the layer, so that layers compare. `taylor` is the change of the loss without the
            channel, to first order (Molchanov et al., arXiv:1906.10771), on `taylor_batches` train
            batches; it is in one unit in all layers and stays as it is.
        round_to: layers that have as many channels keep a multiple of it: 8 suits SIMD.
        min_channels: what a layer keeps at least.
        rounds: how often it prunes and fine-tunes; an equal part each, `epochs` in total.
        max_drop: a round that costs more accuracy than this on the select split, against the model
            that came in, is taken back, and it ends there with less than `ratio` (noted). Where
            there is no right and wrong, the share by which the select loss may rise.
        skip: names of layers (or patterns) whose output channels stay.

    Latency: `verify` runs the two Keras models interleaved in one process, batch 1, on this
    machine. A small net may not be faster there, because Keras's own overhead does not shrink;
    that is a note and no error, and the latency of the shipped file is judged by the report.
    """

    keeps: ClassVar[frozenset[Trait]] = frozenset()

    ratio: float
    of: Of = "macs"
    layer_ratios: Mapping[str, float] = field(default_factory=dict)
    importance: Importance = "l1"
    taylor_batches: int = 8
    round_to: int = 8
    min_channels: int = 2
    rounds: int = 3
    max_drop: Points | None = None
    skip: tuple[str, ...] = ()
    epochs: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.ratio < 1:
            raise ValueError(f"ratio must be above 0 and below 1, not {self.ratio}")
        for name in ("taylor_batches", "round_to", "min_channels", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.max_drop is not None and self.max_drop < 0:
            raise ValueError(f"max_drop must not be negative, but is {self.max_drop}")
        if self.rounds > self.epochs:
            raise ValueError(
                f"rounds = {self.rounds} needs as many epochs, and epochs is {self.epochs}"
            )
        for pattern, ratio in self.layer_ratios.items():
            if not 0 <= ratio < 1:
                raise ValueError(f"layer_ratios '{pattern}' must be from 0 to below 1, not {ratio}")
        if "" in self.skip or "" in self.layer_ratios:
            raise ValueError(
                f"{'skip' if '' in self.skip else 'layer_ratios'} has an empty pattern"
            )
