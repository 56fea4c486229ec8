"""Which models `run.py` runs, with which kernels, and which of these give the golden outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["DELEGATE", "FORMATS", "FORMAT_OF_C", "KERNELS", "OPTIONS", "Kernels"]


@dataclass(frozen=True)
class Kernels:
    """A way to run a model: what a manifest's tolerances call it, the runner, its options."""

    name: str
    runner: str
    options: Mapping[str, Any]


_LITERT = tuple(
    Kernels(name, "litert", {"kernels": name}) for name in ("reference", "builtin", "xnnpack")
)
_ONNXRUNTIME = Kernels("onnxruntime", "onnxruntime", {})
_AS_WRITTEN = Kernels("onnxruntime", "onnxruntime", {"optimization": "none"})

KERNELS: Mapping[str, tuple[Kernels, ...]] = {
    "tflite": _LITERT,
    "onnx": (_ONNXRUNTIME, _AS_WRITTEN),
    "ort": (_ONNXRUNTIME,),
}
"""By the format of a model; the first gives the golden outputs, the others are held against it."""
DELEGATE = "delegate"
"""What a manifest's tolerances call whatever a delegate computes."""
FORMATS = tuple(KERNELS)
OPTIONS = ("kernels", "optimization")
"""The options of a target that `run.py` is always told; others only where they are no default."""
FORMAT_OF_C = "tflite"
"""What the C runner runs."""
