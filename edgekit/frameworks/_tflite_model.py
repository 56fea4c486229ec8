"""What a .tflite file holds, as values."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = [
    "Operation",
    "SignatureDef",
    "Subgraph",
    "Tensor",
    "TensorQuantization",
    "TfliteModel",
]


@dataclass(frozen=True)
class TensorQuantization:
    """real = scale * (stored - zero point), for the whole tensor or each index of one axis.

    `details` names block-wise and other schemes that this reader does not take apart.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0
    details: str = ""


@dataclass(frozen=True)
class Tensor:
    """A tensor of a subgraph; `shape_signature` has None where `shape` has a stand-in 1."""

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int | None, ...]
    dtype: str
    quantization: TensorQuantization | None
    buffer: int
    size_bytes: int
    is_variable: bool = False
    is_sparse: bool = False

    @property
    def is_constant(self) -> bool:
        """True where the file holds its values."""
        return self.size_bytes > 0 and not self.is_variable


@dataclass(frozen=True)
class Operation:
    """An op; `inputs` has -1 where an optional one is left out; `version` is that of its kind."""

    index: int
    kind: str
    custom_code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    version: int = 1

    @property
    def is_custom(self) -> bool:
        """True for an op that the runtime does not bring along."""
        return self.kind == "CUSTOM"


@dataclass(frozen=True)
class Subgraph:
    """Tensors, ops in execution order, and the tensor indices that go in and come out."""

    name: str
    tensors: tuple[Tensor, ...]
    operations: tuple[Operation, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class SignatureDef:
    """Names for the inputs and outputs of one subgraph: (name, tensor index) pairs."""

    key: str
    subgraph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class TfliteModel:
    """A whole .tflite file. `buffers` are (start, end) in `data`; `metadata` are (name, buffer)."""

    version: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[SignatureDef, ...]
    metadata: tuple[tuple[str, int], ...]
    buffers: tuple[tuple[int, int], ...]
    bytes_by: tuple[tuple[str, int], ...]
    data: bytes = field(repr=False)

    def signature(self) -> SignatureDef | None:
        """The signature that names the inputs and outputs of the first subgraph."""
        main = [item for item in self.signatures if item.subgraph == 0]
        named = [item for item in main if item.key == "serving_default"]
        return next(iter(named or main), None)

    def buffer(self, index: int) -> memoryview:
        """The bytes of a buffer, not copied."""
        start, end = self.buffers[index]
        return memoryview(self.data)[start:end]
