"""Collects what the ops of a model need in C: constants, structs, kernel files and calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgekit.mcu._graph import Activation, Graph

__all__ = ["Code"]

_PER_LINE = 16
_BYTES = {"int8_t": 1, "int32_t": 4, "double": 8}


@dataclass
class Code:
    """C under construction. `places` says in C where the computed tensors lie."""

    graph: Graph
    places: dict[int, str]
    kernels: set[str] = field(default_factory=set)
    constants: dict[tuple[str, tuple[str, ...]], str] = field(default_factory=dict)
    structs: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def place(self, tensor: Activation) -> str:
        """A pointer to the tensor's values; those of a constant are stored when first asked for."""
        if tensor.index not in self.places:
            values = self.graph.values(tensor.index).ravel().tolist()
            self.places[tensor.index] = self.constant("int8_t", values)
        return self.places[tensor.index]

    def constant(self, kind: str, values: Iterable[int | float]) -> str:
        """The name of an array of that C type; equal arrays are stored once."""
        texts = tuple(_number(value) for value in values)
        return self.constants.setdefault((kind, texts), f"ek_constant_{len(self.constants)}")

    def struct(self, kind: str, fields: Mapping[str, object]) -> str:
        """A pointer to a constant struct of that C type."""
        name = f"op_{len(self.structs)}"
        body = ",\n".join(f"    .{key} = {_value(value)}" for key, value in fields.items())
        self.structs.append(f"static const {kind} {name} = {{\n{body},\n}};\n")
        return f"&{name}"

    def call(self, kernel: str, function: str, *arguments: str) -> None:
        """A call of a function that the file `kernel`.c has."""
        self.kernels.add(f"{kernel}.c")
        self.calls.append(f"{function}({', '.join(arguments)});")

    @property
    def constant_bytes(self) -> int:
        """Flash that the arrays take."""
        return sum(_BYTES[kind] * len(texts) for kind, texts in self.constants)

    def weights(self) -> tuple[str, str]:
        """The definitions of all arrays, and their declarations."""
        definitions, declarations = [], []
        for (kind, texts), name in self.constants.items():
            head = f"const {kind} {name}[{len(texts)}]"
            definitions.append(f"{head} = {{\n{_lines(texts)}\n}};\n")
            declarations.append(f"extern {head};\n")
        return "\n".join(definitions), "".join(declarations)


def _number(value: int | float) -> str:
    """A literal of exactly this value: C11 has hexadecimal doubles."""
    if isinstance(value, float):
        return value.hex()
    return "INT32_MIN" if value == -(2**31) else str(int(value))


def _value(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "{" + ", ".join(map(str, value)) + "}"
    return str(value)


def _lines(texts: Sequence[str]) -> str:
    rows = (texts[start : start + _PER_LINE] for start in range(0, len(texts), _PER_LINE))
    return ",\n".join("    " + ", ".join(row) for row in rows)
