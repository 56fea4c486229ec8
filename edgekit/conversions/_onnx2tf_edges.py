"""The inputs and outputs of onnx2tf's `.tflite`: names, order, and layout as they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.errors import PromiseError

__all__ = ["SPATIAL", "Axes", "Edges", "between", "last", "shaped"]

_TRANSPOSE = 39
_INT32 = 2
SPATIAL = (4, 5)
"""The ranks of images and volumes, which the layout 'nhwc' turns."""
Axes = tuple[int, ...]


def last(rank: int) -> Axes:
    """The axes that bring the channels of an ONNX tensor to the end: 0, 2, 3, 1."""
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


def between(have: Axes, want: Axes) -> Axes:
    """What turns a tensor whose axes are `have` of another one's into one with `want` of them."""
    return tuple(have.index(axis) for axis in want)


def shaped(shape: Sequence[int], axes: Axes) -> tuple[int, ...]:
    """A shape with its axes permuted."""
    return tuple(shape[axis] for axis in axes)


@dataclass
class Edges:
    """A `.tflite` opened to change what is at its ends; `content` writes it again."""

    model: Any

    @classmethod
    def open(cls, content: bytes) -> Edges:
        """Reads a .tflite that onnx2tf made; its constants stay as they are."""
        from ai_edge_litert.tools.flatbuffer_utils import convert_bytearray_to_object

        return cls(convert_bytearray_to_object(content))

    @property
    def content(self) -> bytes:
        """The file as it is now."""
        from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray

        return bytes(convert_object_to_bytearray(self.model))

    @property
    def _graph(self) -> Any:
        return self.model.subgraphs[0]

    def shape(self, index: int) -> tuple[int, ...]:
        """The static shape of a tensor."""
        return tuple(int(size) for size in self._graph.tensors[index].shape)

    def arrange(
        self, inputs: dict[str, str], outputs: dict[str, str]
    ) -> tuple[list[int], list[int]]:
        """Orders and renames the ends: from the names in the copy to those of the user's model.

        Raises:
            PromiseError: one got lost.
        """
        graph = self._graph
        graph.inputs = self._named(list(graph.inputs), inputs, "input")
        graph.outputs = self._named(list(graph.outputs), outputs, "output")
        self._sign(list(inputs.values()), list(outputs.values()))
        return list(graph.inputs), list(graph.outputs)

    def _named(self, ends: list[int], names: dict[str, str], noun: str) -> list[int]:
        tensors = self._graph.tensors
        held = {tensors[index].name.decode(): index for index in ends}
        for inner, outer in names.items():
            if inner not in held:
                raise PromiseError(f"onnx2tf lost the {noun} '{outer}'")
        for tensor in tensors:  # no other tensor may have the name of an end
            if tensor.name.decode() in names.values():
                tensor.name = b"inner/" + tensor.name
        for inner, outer in names.items():
            tensors[held[inner]].name = outer.encode()
        return [held[inner] for inner in names]

    def _sign(self, inputs: list[str], outputs: list[str]) -> None:
        """One signature with these names, in the order of the ends."""
        from ai_edge_litert import schema_py_generated as schema

        def entries(names: list[str], indices: Any) -> list[Any]:
            found = []
            for name, index in zip(names, indices, strict=True):
                entry = schema.TensorMapT()
                entry.name, entry.tensorIndex = name.encode(), int(index)
                found.append(entry)
            return found

        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs = entries(inputs, self._graph.inputs)
        signature.outputs = entries(outputs, self._graph.outputs)
        self.model.signatureDefs = [signature]

    def transpose_output(self, place: int, axes: Axes) -> None:
        """Puts a TRANSPOSE behind an output; what comes out has its name."""
        from ai_edge_litert import schema_py_generated as schema

        graph = self._graph
        inner = graph.outputs[place]
        old = graph.tensors[inner]
        new = schema.TensorT()
        new.name, new.type, new.buffer = old.name, old.type, 0
        new.shape = list(shaped(self.shape(inner), axes))
        old.name = old.name + b"/before_transpose"
        graph.tensors.append(new)
        outer = len(graph.tensors) - 1
        op = schema.OperatorT()
        op.opcodeIndex = self._opcode(_TRANSPOSE)
        op.inputs, op.outputs = [inner, self._constant(axes)], [outer]
        op.builtinOptionsType = schema.BuiltinOptions.TransposeOptions
        op.builtinOptions = schema.TransposeOptionsT()
        graph.operators.append(op)
        graph.outputs[place] = outer
        for entry in self.model.signatureDefs[0].outputs:
            if entry.tensorIndex == inner and entry.name == new.name:
                entry.tensorIndex = outer

    def _opcode(self, builtin: int) -> int:
        from ai_edge_litert import schema_py_generated as schema

        for index, code in enumerate(self.model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 1
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def _constant(self, axes: Axes) -> int:
        import numpy as np
        from ai_edge_litert import schema_py_generated as schema

        buffer = schema.BufferT()
        buffer.data = np.asarray(axes, np.int32).view(np.uint8)
        self.model.buffers.append(buffer)
        tensor = schema.TensorT()
        tensor.name = f"edgekit/axes_{len(self._graph.tensors)}".encode()
        tensor.type, tensor.shape = _INT32, [len(axes)]
        tensor.buffer = len(self.model.buffers) - 1
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1
