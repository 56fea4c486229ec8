"""The graph of an int8 .tflite with everything checked that generated code relies on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edgekit.errors import UsageError
from edgekit.frameworks._flat import Flat, Table
from edgekit.frameworks._tflite_parse import damage_is_an_error
from edgekit.frameworks.tflite import Operation, Subgraph, Tensor, TfliteModel, read_model

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["INT8_HINT", "Activation", "Graph", "Node", "Options", "read_graph"]

INT8_HINT = "generated C computes in int8 only: quantize the model, its inputs and outputs too"
_MOST_BYTES = 1 << 28
_MOST_RANK = 6
_MOST_SETTING = 1 << 15
_OPTIONS_SLOT = 4
_NUMPY = {"int8": "<i1", "int32": "<i4", "int64": "<i8", "float32": "<f4"}


@dataclass(frozen=True)
class Options:
    """The settings of an op; one that the file leaves out has the schema's default."""

    table: Table | None

    def integer(self, slot: int, code: str = "i", default: int = 0) -> int:
        """A whole number."""
        return default if self.table is None else self.table.integer(slot, code, default)

    def real(self, slot: int, default: float = 0.0) -> float:
        """A float32."""
        position = None if self.table is None else self.table.field(slot)
        if self.table is None or position is None:
            return default
        return float(self.table.flat.read("f", position))


@dataclass(frozen=True)
class Activation:
    """An int8 tensor that is computed, with the quantization of the whole of it."""

    index: int
    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int

    @property
    def size(self) -> int:
        """Elements, and bytes."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Node:
    """An op with its tensors; what it cannot use, it refuses in the user's words."""

    where: str
    operation: Operation
    options: Options
    graph: Graph

    @property
    def kind(self) -> str:
        """The op's kind, such as CONV_2D."""
        return self.operation.kind

    def refuse(self, problem: str, *, hint: str = "") -> NoReturn:
        """Raises the error that says which op has what problem."""
        raise UsageError(
            f"{self.where}: op {self.operation.index} ({self.kind}) {problem}", hint=hint
        )

    def input(self, position: int) -> Activation:
        """An int8 input, computed or constant."""
        return self._activation(self._tensor(position), f"input {position}")

    def output(self, shape: Sequence[int]) -> Activation:
        """The one int8 output, which has the shape that the op computes."""
        if len(self.operation.outputs) != 1:
            self.refuse(f"has {len(self.operation.outputs)} outputs, where 1 is understood")
        tensor = self.graph.tensors[self.operation.outputs[0]]
        if tensor.shape != tuple(shape):
            self.refuse(
                f"makes {list(shape)}, and its output says {list(tensor.shape)}",
                hint="the file contradicts itself or has dynamic shapes: convert the model again "
                "with a fixed shape and batch 1",
            )
        return self._activation(tensor, "the output")

    def has_input(self, position: int) -> bool:
        """True where an input that may be left out is there."""
        inputs = self.operation.inputs
        return position < len(inputs) and inputs[position] >= 0

    def constant(self, position: int, dtypes: tuple[str, ...]) -> tuple[Tensor, Array]:
        """An input whose values the file holds."""
        tensor = self._tensor(position)
        if not tensor.is_constant:
            self.refuse(
                f"computes its input {position} ('{tensor.name}'), which must be a constant",
                hint="generated code has fixed weights, shapes and axes",
            )
        if tensor.dtype not in dtypes:
            self.refuse(
                f"has {tensor.dtype} in its input {position} ('{tensor.name}'), where "
                f"{' or '.join(dtypes)} is understood",
                hint=INT8_HINT,
            )
        return tensor, self.graph.values(tensor.index)

    def positive(self, slot: int, name: str, default: int = 0) -> int:
        """A setting such as a stride: from 1 to what a microcontroller can ever need."""
        value = self.options.integer(slot, "i", default)
        if not 0 < value <= _MOST_SETTING:
            self.refuse(f"has the {name} {value}, where 1 to {_MOST_SETTING} is understood")
        return value

    def _tensor(self, position: int) -> Tensor:
        if not self.has_input(position):
            self.refuse(f"lacks its input {position}", hint="the file is damaged")
        return self.graph.tensors[self.operation.inputs[position]]

    def _activation(self, tensor: Tensor, role: str) -> Activation:
        problem = _unfit(tensor)
        if problem:
            self.refuse(f"has {problem} in {role} ('{tensor.name}')", hint=INT8_HINT)
        assert tensor.quantization is not None
        (scale,), (zero_point,) = tensor.quantization.scales, tensor.quantization.zero_points
        return Activation(tensor.index, tensor.name, tensor.shape, scale, zero_point)


@dataclass(frozen=True)
class Graph:
    """The first subgraph of a model; the others are only reached by ops that are refused."""

    where: str
    model: TfliteModel
    subgraph: Subgraph

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, by index."""
        return self.subgraph.tensors

    def nodes(self) -> tuple[Node, ...]:
        """The ops in the order in which they run."""
        with damage_is_an_error(self.where):
            (root, *_) = Flat(self.model.data).root().tables(2)
            tables = [table.table(_OPTIONS_SLOT) for table in root.tables(3)]
            return tuple(
                Node(self.where, operation, Options(table), self)
                for operation, table in zip(self.subgraph.operations, tables, strict=True)
            )

    def values(self, index: int) -> Array:
        """The values of a constant."""
        import numpy as np

        tensor = self.tensors[index]
        dtype = np.dtype(_NUMPY[tensor.dtype])
        data = self.model.buffer(tensor.buffer)
        wanted = math.prod(tensor.shape) * dtype.itemsize
        if tensor.is_sparse or min(tensor.shape, default=1) < 0 or len(data) != wanted:
            raise UsageError(
                f"{self.where}: the constant '{tensor.name}' has {len(data)} bytes, where "
                f"{list(tensor.shape)} {tensor.dtype} take {wanted}",
                hint="sparse and packed constants are not understood: convert without them",
            )
        return np.frombuffer(data, dtype).reshape(tensor.shape)

    def edge(self, index: int, role: str) -> Activation:
        """An input or output of the model."""
        tensor = self.tensors[index]
        problem = _unfit(tensor) or ("a constant" if tensor.is_constant else "")
        if problem:
            raise UsageError(
                f"{self.where}: the {role} '{tensor.name}' has {problem}, where "
                "generated C has computed int8",
                hint=INT8_HINT,
            )
        assert tensor.quantization is not None
        (scale,), (zero_point,) = tensor.quantization.scales, tensor.quantization.zero_points
        return Activation(index, tensor.name, tensor.shape, scale, zero_point)


def read_graph(path: Path) -> Graph:
    """Reads a .tflite.

    Raises:
        UsageError: it is no whole TFLite model, or has dynamic inputs.
    """
    model = read_model(path)
    graph = Graph(str(path), model, model.subgraphs[0])
    if not graph.subgraph.operations:
        raise UsageError(f"{path}: has no op to generate C for")
    for index in graph.subgraph.inputs:
        tensor = graph.tensors[index]
        if None in tensor.shape_signature[1:]:
            sizes = ["?" if size is None else size for size in tensor.shape_signature]
            raise UsageError(
                f"{path}: the input '{tensor.name}' has the dynamic shape {sizes}",
                hint="convert the model with a fixed shape and batch 1",
            )
    return graph


def _unfit(tensor: Tensor) -> str:
    """What keeps a tensor from being an activation; '' where nothing does."""
    quantization = tensor.quantization
    if tensor.dtype != "int8":
        return tensor.dtype
    if quantization is None or quantization.details or len(quantization.scales) != 1:
        return "no quantization of the whole tensor"
    if not 0 < quantization.scales[0] < math.inf or not -128 <= quantization.zero_points[0] <= 127:
        return f"the scale {quantization.scales[0]} and zero point {quantization.zero_points[0]}"
    if tensor.is_variable or tensor.is_sparse:
        return "a state that is kept between runs or a sparse layout"
    if len(tensor.shape) > _MOST_RANK or min(tensor.shape, default=1) < 1:
        return f"the shape {list(tensor.shape)}"
    if math.prod(tensor.shape) > _MOST_BYTES:
        return f"{math.prod(tensor.shape)} elements (too many for a microcontroller)"
    return ""
