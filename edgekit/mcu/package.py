"""The folder that a user gets of a model as C: sources, a Makefile, and a test that proves it."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.artifact import TensorSpec
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.core.data import Array
    from edgekit.mcu.generate import Sources

__all__ = ["write_sources"]

_FIRMWARE = Path(__file__).with_name("firmware")
_AS_IT_IS = (
    *("golden.c", "startup.c", "startup.h", "semihosting.c", "semihosting.h"),
    *("cortex-m.ld", "Makefile", "sizes.awk"),
)
_GOLDEN_BYTES = 64 * 1024
"""As much of the golden data as a small chip's flash has room for; one sample at least."""
_A_LINE = 24


def write_sources(
    path: Path, *, inputs: Sequence[Array], outputs: Sequence[Array], name: str = "model"
) -> Mapping[str, bytes]:
    """The files of that folder by name, for an int8 .tflite and its golden samples.

    `inputs` and `outputs` are an array for each of the model's tensors, with the samples along
    axis 0, in the model's own dtypes.

    Raises:
        UsageError: the model has what C is not generated for, or the golden data is not its own.
    """
    from edgekit.mcu.generate import generate

    sources = generate(path)
    count = _samples(sources, inputs, outputs)
    return {
        **sources.files,
        **{file: (_FIRMWARE / file).read_bytes() for file in _AS_IT_IS},
        "golden_data.h": _header(sources, count).encode(),
        "golden_data.c": _data(sources, inputs, outputs, count).encode(),
        "README.md": _readme(sources, name).encode(),
    }


def _samples(sources: Sources, inputs: Sequence[Array], outputs: Sequence[Array]) -> int:
    """How many of the golden samples are taken."""
    for side, specs, arrays in (
        ("inputs", sources.inputs, inputs),
        ("outputs", sources.outputs, outputs),
    ):
        if len(specs) != len(arrays):
            raise UsageError(
                f"golden {side}: the model has {len(specs)} {side}, and {len(arrays)} are given"
            )
        for spec, array in zip(specs, arrays, strict=True):
            _check(side, spec, array)
    count = len(inputs[0]) if inputs else 0
    if not count or any(len(array) != count for array in (*inputs, *outputs)):
        raise UsageError(
            "golden samples: every input and output needs the same number, one at least"
        )
    a_sample = sum(int(array[0].nbytes) for array in (*inputs, *outputs))
    return max(1, min(count, _GOLDEN_BYTES // a_sample))


def _check(side: str, spec: TensorSpec, array: Array) -> None:
    shape = tuple(size or 1 for size in spec.shape[1:])
    if array.dtype.name != spec.dtype or array.shape[1:] != shape:
        raise UsageError(
            f"golden {side}: '{spec.name}' is {spec.dtype} {shape} for each sample, and "
            f"{array.dtype.name} {array.shape[1:]} is given"
        )


def _header(sources: Sources, count: int) -> str:
    return (
        "/* Golden samples: inputs, and the answers that the reference kernels give. */\n"
        "#ifndef GOLDEN_DATA_H\n#define GOLDEN_DATA_H\n\n"
        '#include "ek_model.h"\n\n#include <stddef.h>\n#include <stdint.h>\n\n'
        f"#define GOLDEN_SAMPLES {count}\n\n"
        "/* The bytes of a sample, and the samples one after another, of each tensor. */\n"
        "extern const size_t golden_input_bytes[EK_INPUT_COUNT];\n"
        "extern const size_t golden_output_bytes[EK_OUTPUT_COUNT];\n"
        "extern const uint8_t *const golden_inputs[EK_INPUT_COUNT];\n"
        "extern const uint8_t *const golden_outputs[EK_OUTPUT_COUNT];\n\n#endif\n"
    )


def _data(sources: Sources, inputs: Sequence[Array], outputs: Sequence[Array], count: int) -> str:
    lines = ['#include "golden_data.h"', ""]
    for side, arrays in (("input", inputs), ("output", outputs)):
        for number, array in enumerate(arrays):
            lines += _array(f"{side}_{number}", array[:count])
        sizes = ", ".join(str(array[0].nbytes) for array in arrays)
        names = ", ".join(f"{side}_{number}" for number in range(len(arrays)))
        macro = f"EK_{side.upper()}_COUNT"
        lines.append(f"const size_t golden_{side}_bytes[{macro}] = {{{sizes}}};")
        lines += [f"const uint8_t *const golden_{side}s[{macro}] = {{{names}}};", ""]
    return "\n".join(lines)


def _array(name: str, array: Array) -> Iterator[str]:
    """Bytes as they lie in the memory of a little-endian machine."""
    import numpy as np

    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    content = little.tobytes()
    yield f"static const uint8_t {name}[{len(content)}] = {{"
    for begin in range(0, len(content), _A_LINE):
        yield "    " + "".join(f"{byte}," for byte in content[begin : begin + _A_LINE])
    yield "};"
    yield ""


def _readme(sources: Sources, name: str) -> str:
    template = string.Template((_FIRMWARE / "README.md").read_text(encoding="utf-8"))
    kinds = {kind: sources.ops.count(kind) for kind in dict.fromkeys(sources.ops)}
    return template.substitute(
        name=name,
        usage="\n".join(_usage(sources)),
        tensors="\n".join(_tensors(sources)),
        arena=sources.arena_bytes,
        constants=sources.constant_bytes,
        ops=", ".join(f"{kind} {times}" for kind, times in kinds.items()),
    )


def _usage(sources: Sources) -> Iterator[str]:
    for number in range(len(sources.inputs)):
        yield f"memcpy(ek_input({number}), my_input_{number}, EK_INPUT_{number}_BYTES);"
    yield "ek_invoke();"
    for number in range(len(sources.outputs)):
        yield f"memcpy(my_output_{number}, ek_output({number}), EK_OUTPUT_{number}_BYTES);"


def _tensors(sources: Sources) -> Iterator[str]:
    for side, specs in (("input", sources.inputs), ("output", sources.outputs)):
        for number, spec in enumerate(specs):
            shape = " x ".join(str(size or 1) for size in spec.shape)
            scaled = spec.quantization
            real = f", real = {scaled.scale:.9g} * (stored - {scaled.zero_point})" if scaled else ""
            yield f"| {side} {number} `{_plain(spec.name)}` | {spec.dtype}, {shape}{real} |"


def _plain(name: str) -> str:
    """A tensor's name comes from the model's file: no Markdown, no control code."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-.:/;") else "_" for c in name[:80])
