"""Set the smallest weights of each kernel to zero while the model trains on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from edgekit.core.data import SplitName
from edgekit.core.technique import Trait
from edgekit.core.training import TrainingOptions

__all__ = ["Parameters", "Structure"]

Structure = Literal["unstructured", "block", "2:4"]


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingOptions):
    """Which kernels become how sparse, and when during the training.

    Treated are the kernels of Dense, Conv1D to Conv3D, Conv2DTranspose and Conv3DTranspose, the
    pointwise kernels of SeparableConv and the tables of Embedding. Biases and normalization stay:
    they are few. Left alone, each with a note: depthwise kernels, recurrent layers, attention,
    what `skip` matches (names with * and ?), and kernels of fewer than `min_weights` weights.
    Zeros are stored like other weights, so a file gets smaller by compression only.

    The engine is tensorflow-model-optimization: of each kernel the weights of least magnitude are
    set to zero while the rest trains on. `ramp = "polynomial"` raises the share of zeros by a cube
    (Zhu & Gupta, arXiv:1710.01878) between the shares `begin` and `end` of all training steps;
    `"constant"` asks for all of it at once from `begin`, and still exchanges weights until `end`.
    After `end` the zeros are fixed, and only epochs that end there or later count as the best one.

    `structure`:
        1. `unstructured`: single weights.
        2. `block`: whole blocks of `block` = [inputs, outputs] weights, by their mean magnitude;
           in kernels of two axes (Dense, Embedding), others are left alone with a note.
        3. `2:4`: two of four consecutive input channels (Dense, Conv2D), all of it in the first
           step, which `sparsity`, `ramp`, `begin` and `end` have no say in.

    `allocation`:
        1. `uniform`: `sparsity` in each kernel.
        2. `sensitivity`: `sparsity` over all treated weights together. Each kernel alone is pruned
           to rising shares, the loss on the select split is taken (`scan_samples` of it), and the
           zeros go where the sum of these losses rises least (as Han et al., arXiv:1506.02626, do
           by hand).

    `layer_sparsity` gives kernels by layer name (with * and ?, the first match counts) a share of
    their own; 0 leaves one dense. A kernel that is sparser already keeps its zeros, and so does one
    that is left alone.

    What is promised of each kernel in the file: the share asked for within half a point, or within
    half a weight (block) where that is more: the engine rounds to whole ones, so that 30 % of 175
    weights, 52.5, are 52 or 53.

    On an `onnx` model nothing is trained: the weights of Conv, ConvTranspose, Gemm and MatMul of
    least magnitude become zero, and what the accuracy loses by it stays lost. `skip` and
    `layer_sparsity` go by names of nodes. What is for training only (`epochs`, `ramp`, `begin`,
    `end`, `allocation`, `scan_samples`, ...) is refused there. With `ladder` the sparsity is tried
    as asked for, then 75, 50 and 25 % of it, and the first that keeps the recipe's promise on the
    select split is taken; it is for `onnx` alone.
    """

    makes: ClassVar[frozenset[Trait]] = frozenset({"sparsity"})
    keeps: ClassVar[frozenset[Trait]] = frozenset({"sparsity"})

    sparsity: float = 0.5
    ramp: Literal["polynomial", "constant"] = "polynomial"
    begin: float = 0.0
    end: float = 0.5
    structure: Structure = "unstructured"
    block: tuple[int, ...] = (1, 4)
    allocation: Literal["uniform", "sensitivity"] = "uniform"
    scan_samples: int = 1024
    layer_sparsity: Mapping[str, float] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    min_weights: int = 64
    ladder: bool = False

    def needs_on(self, format: str) -> Mapping[SplitName, int]:
        """Samples to train on; an ONNX model is not trained, and a ladder decides on `select`."""
        if format != "onnx":
            return self.needs
        return {"select": 1} if self.ladder else {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sparsity < 1:
            raise ValueError(f"sparsity must be between 0 and 1, not {self.sparsity}")
        if not 0 <= self.begin <= self.end <= 1:
            raise ValueError(
                f"begin and end must rise within 0 to 1, not {self.begin} and {self.end}"
            )
        for name, value in self.layer_sparsity.items():
            if not 0 <= value < 1:
                raise ValueError(f"layer_sparsity of '{name}' must be 0 to below 1, not {value}")
        for name in ("scan_samples", "min_weights"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if "" in (*self.skip, *self.layer_sparsity):
            raise ValueError("skip and layer_sparsity must not have an empty name")
        if self.precision != "float32":
            raise ValueError(
                f"precision {self.precision} is not for prune: its engine, "
                "tensorflow-model-optimization, trains in float32"
            )
        self._check_structure()

    def _check_structure(self) -> None:
        if len(self.block) != 2 or min(self.block) < 1 or max(self.block) == 1:
            raise ValueError(f"block must be two sizes, one of them above 1, not {self.block}")
        if self.structure != "2:4":
            return
        if self.sparsity != 0.5 or self.layer_sparsity:
            raise ValueError("structure 2:4 makes half of each kernel zero: leave sparsity out")
        if self.allocation != "uniform":
            raise ValueError("structure 2:4 is alike in all layers: leave allocation out")
