"""ONNX to ONNX Runtime's own .ort format, proven to give equal outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekit import lazy
from edgekit.core.artifact import Artifact
from edgekit.core.technique import Models, Work
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import likeness, ort_files
from edgekit.frameworks.onnx_words import runtime_words

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["TOLERANCE", "Parameters", "apply", "check", "verify", "versions"]

TOLERANCE = 1e-4
"""The largest difference of an output tensor, over its largest absolute value in the reference."""

_MOST_NOISE = 2.0
_STILL_NOISE = 0.1
"""A difference may be twice that of rounding alone, and no rounding is a tenth of the output."""
_PROBES = 32
_MOST_BYTES = 2**31 - 1
_QUIET = 4
_LEVELS = {
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_TIED_TO_THIS_CPU = ["NchwcTransformer"]


@dataclass(frozen=True)
class Parameters:
    """How much of ONNX Runtime's graph optimisation is done once and kept in the file.

    The file is not made for this computer's CPU: the blocked layout NCHWc, whose block is as wide
    as the CPU's registers, is left out at every level.

    Attributes:
        optimization: `basic` keeps to ONNX's own ops and folds what is constant; `extended` also
            fuses ops into those of `com.microsoft` that the CPU provider has (smaller and faster);
            `all` also moves quantized convolutions to the layout NHWC where that pays.
    """

    optimization: Literal["basic", "extended", "all"] = "extended"

    def __post_init__(self) -> None:
        if self.optimization not in _LEVELS:
            raise ValueError(
                f"optimization must be {', '.join(_LEVELS)}, not {self.optimization!r}"
            )


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result; '' for those that are not installed."""
    return {name: lazy.version(name) for name in ("onnx", "onnxruntime")}


def check(parameters: Parameters | None, source: Artifact, models: Models) -> None:
    """Raises UsageError for an op that ONNX Runtime does not have, and for too many bytes."""
    found = models.describe(source)
    custom = next((op for op in found.ops if op.is_custom), None)
    if custom is not None:
        raise UsageError(
            f"op '{custom.kind}' (node '{custom.name}') is a custom op, which an .ort file cannot "
            "hold",
            hint="replace it by ops of ONNX and export the model again",
        )
    values = sum(weight.size_bytes for weight in found.weights)
    if values > _MOST_BYTES:
        raise UsageError(
            f"weights of {values} bytes do not fit into an .ort file, which has {_MOST_BYTES}",
            hint="make the model smaller first, or deploy the .onnx",
        )


def apply(parameters: Parameters | None, source: Artifact, work: Work) -> None:
    """Writes the `.ort`; the metadata of the model goes along."""
    chosen = parameters or Parameters()
    made = work.folder / "optimized.ort"
    _optimize(source.path, made, _LEVELS[chosen.optimization])
    # What ONNX Runtime writes has another order in each process; the engine adds the scaling.
    ort_files.write(ort_files.read(made).root, work.output)
    made.unlink()


def _optimize(path: Path, output: Path, level: str) -> None:
    runtime = lazy.require("onnxruntime", extra="onnx", needed_for="the conversion to .ort")
    options = runtime.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(output)
    options.add_session_config_entry("session.save_model_format", "ORT")
    try:
        runtime.InferenceSession(
            str(path),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=_TIED_TO_THIS_CPU,
            enable_fallback=0,
        )
    except Exception as error:  # The errors of the runtime have no base of their own.
        raise UsageError(f"{path}: ONNX Runtime cannot convert it: {_words(error)}") from error


def _words(error: Exception) -> str:
    return (runtime_words(error) or str(error) or type(error).__name__)[:300]


def verify(parameters: Parameters | None, source: Artifact, result: Artifact, work: Work) -> None:
    """Runs both models on the same inputs and compares every output.

    Raises:
        PromiseError: an input or output is missing, or an output differs by more than
            TOLERANCE, and by more than rounding does.
    """
    before, after = work.describe(source).signature, work.describe(result).signature
    for noun, old, new in (
        ("inputs", before.inputs, after.inputs),
        ("outputs", before.outputs, after.outputs),
    ):
        names = [spec.name for spec in new]
        if [spec.name for spec in old] != names:
            raise PromiseError(
                f"the .ort file has the {noun} {', '.join(names) or 'none'}, and the ONNX model "
                f"{', '.join(spec.name for spec in old)}"
            )
    probes = work.probes(_PROBES)
    reference = work.predict(source, probes)
    difference = likeness.relative_difference(reference, work.predict(result, probes))
    if not difference <= TOLERANCE:
        noise = likeness.relative_difference(reference, _plain(source, result, work, probes))
        if not difference <= _MOST_NOISE * noise < _STILL_NOISE:
            raise PromiseError(
                f"the .ort file gives outputs that differ by {difference:.2g} of their largest "
                f"value from those of the ONNX model, and at most {TOLERANCE:g} is allowed",
                hint="convert with optimization=basic",
            )
        work.note(
            "rounding",
            result.name,
            f"outputs differ by {difference:.2g} of their largest value; without any optimisation "
            f"they differ by {noise:.2g}, so that much is rounding on these inputs",
        )
    work.evidence(
        "proven equal" if difference <= TOLERANCE else "equal but for rounding",
        f"{len(after.outputs)} output{'s' if len(after.outputs) > 1 else ''} on "
        f"{len(probes[0])} inputs",
        f"the largest difference is {difference:.2g} of the output's largest value",
    )


def _plain(
    source: Artifact, result: Artifact, work: Work, probes: tuple[Array, ...]
) -> tuple[Array, ...]:
    """What the model gives without any optimisation: the same but for rounding.

    Where all outputs lie in the tail of a sigmoid, rounding is large beside the largest of them.
    """
    path = work.folder / "plain.ort"
    _optimize(source.path, path, "ORT_DISABLE_ALL")
    plain = dataclasses.replace(result, path=path, digest=f"{result.digest}-plain")
    found = work.predict(plain, probes)
    path.unlink()
    return found
