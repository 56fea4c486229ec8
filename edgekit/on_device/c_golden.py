"""`c/golden.txt` of a bundle: what the native runner needs of manifest.json, a line for each thing.

The runner is C without a JSON parser; the format stands at the head of `c/run.c`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["KERNELS", "golden_text"]

KERNELS = ("xnnpack", "builtin")
"""What LiteRT's C API runs; its mode 'reference' is in truth builtin, so it is not offered."""

_MOST_TENSORS = 64
_MOST_MACHINES = 8


def golden_text(manifest: Mapping[str, Any]) -> str:
    """The text for the manifest of a bundle with a .tflite model.

    Raises:
        ValueError: the native runner cannot run such a bundle; the message says why.
    """
    model, target, golden = manifest["model"], manifest["target"], manifest["golden"]
    if model["format"] != "tflite":
        raise ValueError(f"the C runner runs .tflite models, not {model['format']!r}")
    lines = ["edgekit-golden/1", f"model {_word(model['file'])}"]
    lines += _kernels(str(target["options"].get("kernels", "xnnpack")))
    lines.append(f"threads {_whole(target['threads'], 1, 64)}")
    lines += [_tolerance(kernels, golden["tolerance"][kernels]) for kernels in KERNELS]
    if len(target["machines"]) > _MOST_MACHINES:
        raise ValueError(f"the C runner takes at most {_MOST_MACHINES} machines")
    lines += [f"machine {_word(machine)}" for machine in target["machines"]]
    lines += _tensors("input", manifest["inputs"], golden["inputs"])
    lines += _tensors("output", manifest["outputs"], golden["outputs"])
    return "\n".join(lines) + "\n"


def _kernels(asked: str) -> Iterator[str]:
    if asked not in KERNELS:
        yield f"# the target runs the kernels {_line(asked)}, which the C API does not have"
        asked = "builtin"
    yield f"kernels {asked}"


def _tolerance(kernels: str, allowed: Mapping[str, Any]) -> str:
    relative = float(allowed["relative"])
    if not math.isfinite(relative) or relative < 0:
        raise ValueError(f"the tolerance of {kernels} must be a number from 0, not {relative}")
    lsb = _whole(allowed["lsb"], 0, 65535)
    return f"tolerance {kernels} lsb {lsb} relative {relative!r}"


def _tensors(side: str, specs: Sequence[Mapping[str, Any]], files: Sequence[str]) -> Iterator[str]:
    if not 1 <= len(specs) <= _MOST_TENSORS or len(specs) != len(files):
        raise ValueError(f"the C runner takes 1 to {_MOST_TENSORS} {side}s, a golden file for each")
    for spec, file in zip(specs, files, strict=True):
        yield f"{side} {_word(file)} {_line(spec['name'])}"


def _whole(value: object, fewest: int, most: int) -> int:
    if not isinstance(value, int) or not fewest <= value <= most:
        raise ValueError(f"the C runner takes a whole number from {fewest} to {most}, not {value}")
    return value


def _word(text: str) -> str:
    if " " in text or not text:
        raise ValueError(f"the C runner takes a name without spaces, not {text!r}")
    return _line(text)


def _line(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError(f"the C runner takes a name without control characters, not {text!r}")
    return text
