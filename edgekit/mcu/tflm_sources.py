"""C++ sources of a .tflite model for a program with TensorFlow Lite Micro."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.frameworks.tflite import Subgraph, parse, read_bytes
from edgekit.mcu import tflm_templates as templates
from edgekit.mcu.tflm_ops import resolver_methods

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["tflm_sources"]

_MOST_MODEL_BYTES = 32 * 2**20
"""More than any microcontroller's flash; as C++ text it is six times as much."""
_MOST_SAMPLES = 64
_PER_LINE = 16
_TYPES = {
    "int8": "kInt8",
    "uint8": "kUint8",
    "bool": "kUint8",
    "int16": "kInt16",
    "int32": "kInt32",
    "float32": "kFloat32",
}


def tflm_sources(
    path: Path,
    *,
    arena_bytes: int,
    golden: tuple[Sequence[Array], Sequence[Array]],
    lsb: int = 0,
    relative: float = 1e-5,
) -> Mapping[str, bytes]:
    """The files by name. `arena_bytes` is what the interpreter needs here.

    `golden` is the model's inputs and its outputs in their own dtypes, in the order of the graph;
    every array has N samples on its first axis. Integers may be off by `lsb`, floats by `relative`
    of the largest.

    Raises:
        UsageError: not a .tflite file, one with an op that TFLM lacks, or with dtypes that the
            golden test does not know.
    """
    data = read_bytes(path)
    if len(data) > _MOST_MODEL_BYTES:
        raise UsageError(
            f"{path}: is {len(data)} bytes, more than the flash of any microcontroller",
            hint="compress it first",
        )
    model = parse(data, where=str(path))
    methods = resolver_methods(model, str(path))
    inputs, outputs = golden
    samples = _samples((*inputs, *outputs), str(path))
    _check_fit(model.subgraphs[0], inputs, outputs, str(path))
    words = {
        "name": _plain(path.name),
        "sha256": hashlib.sha256(data).hexdigest(),
        "model_bytes": str(len(data)),
        "arena_bytes": str(arena_bytes),
        "count": str(len(methods)),
        "calls": "".join(f" &&\n         static_cast<int>(resolver.{m}()) == 0" for m in methods),
        "methods": ", ".join(f"`{method}`" for method in methods),
        "samples": str(samples),
        "inputs": str(len(inputs)),
        "outputs": str(len(outputs)),
        "lsb": str(lsb),
        "millionths": str(round(relative * 1e6)),
    }
    texts = {
        "README.md": templates.README.substitute(words),
        "golden_data.cc": "\n".join(_golden_lines(inputs, outputs, samples, str(path))),
        "golden_data.h": templates.GOLDEN_DATA_H.substitute(words),
        "golden_test.cc": templates.GOLDEN_TEST,
        "model_data.cc": "\n".join(_model_lines(data, words["name"])),
        "model_data.h": templates.MODEL_DATA_H.substitute(words),
        "op_resolver.h": templates.OP_RESOLVER.substitute(words),
        "tflm.mk": templates.MAKEFILE,
    }
    return {name: text.encode() for name, text in texts.items()}


def _samples(arrays: Sequence[Array], where: str) -> int:
    """How many samples all of them have."""
    counts = {len(array) for array in arrays}
    if len(counts) != 1 or not 1 <= min(counts) <= _MOST_SAMPLES:
        raise UsageError(
            f"{where}: golden arrays of {sorted(counts)} samples; the golden test takes the same "
            f"number of each, from 1 to {_MOST_SAMPLES}"
        )
    return counts.pop()


def _check_fit(
    graph: Subgraph, inputs: Sequence[Array], outputs: Sequence[Array], where: str
) -> None:
    """Refuses golden arrays of another model."""
    tensors = [graph.tensors[index] for index in (*graph.inputs, *graph.outputs)]
    wanted = [(tensor.dtype, math.prod(tensor.shape)) for tensor in tensors]
    given = [(array.dtype.name, array[0].size) for array in (*inputs, *outputs)]
    if wanted != given or len(inputs) != len(graph.inputs):
        raise UsageError(
            f"{where}: golden arrays of {_named(given)} a sample; the model has {_named(wanted)}"
        )


def _named(sizes: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {dtype}" for dtype, count in sizes) or "nothing"


def _model_lines(data: bytes, name: str) -> Iterator[str]:
    yield f"// Made by edgekit of {name}."
    yield '#include "model_data.h"'
    yield ""
    yield "// TFLM reads it in place, so it must start where a flatbuffer may."
    yield "alignas(16) const unsigned char g_model[] = {"
    yield from _byte_lines(data)
    yield "};"
    yield ""


def _golden_lines(
    inputs: Sequence[Array], outputs: Sequence[Array], samples: int, where: str
) -> Iterator[str]:
    yield "// Made by edgekit."
    yield '#include "golden_data.h"'
    yield ""
    yield "namespace {"
    for side, arrays in (("input", inputs), ("output", outputs)):
        for number, array in enumerate(arrays):
            for sample in range(samples):
                yield f"alignas(16) const unsigned char {side}_{number}_{sample}[] = {{"
                yield from _byte_lines(_little_endian(array[sample]))
                yield "};"
    yield "}  // namespace"
    for side, size, arrays in (
        ("input", "[kGoldenInputs]", inputs),
        ("output", "[kGoldenOutputs]", outputs),
    ):
        yield ""
        yield f"const GoldenTensor g_golden_{side}s[kGoldenSamples]{size} = {{"
        for sample in range(samples):
            rows = (
                f"{{{side}_{number}_{sample}, sizeof({side}_{number}_{sample}), "
                f"GoldenType::{_type(array, f'{side} {number}', where)}}}"
                for number, array in enumerate(arrays)
            )
            yield f"    {{{', '.join(rows)}}},"
        yield "};"
    yield ""


def _type(array: Array, what: str, where: str) -> str:
    name = array.dtype.name
    if name not in _TYPES:
        raise UsageError(
            f"{where}: its {what} is {name}, which the golden test does not compare",
            hint=f"it knows {', '.join(_TYPES)}",
        )
    return _TYPES[name]


def _little_endian(values: Array) -> bytes:
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def _byte_lines(data: bytes) -> Iterator[str]:
    for start in range(0, len(data), _PER_LINE):
        yield "    " + ", ".join(f"0x{byte:02x}" for byte in data[start : start + _PER_LINE]) + ","


def _plain(name: str) -> str:
    """A file's name as it may stand in a comment of one line, and in Markdown."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in name)
