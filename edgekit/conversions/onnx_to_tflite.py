"""ONNX to a float .tflite with onnx2tf in its own environment; proven equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgekit.conversions._onnx2tf_check import ELSEWHERE, check_input, check_ops, named, shape_text
from edgekit.conversions._onnx2tf_edges import SPATIAL, Axes, Edges, between, last
from edgekit.conversions._onnx2tf_environment import REQUIREMENTS, VERSION
from edgekit.conversions._onnx2tf_model import COPY, Prepared, prepare
from edgekit.conversions._onnx2tf_proof import axes_of, bounded_outputs, difference, turned
from edgekit.conversions._onnx2tf_run import convert
from edgekit.core.artifact import Artifact
from edgekit.core.technique import Models, Work
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import isolated, onnx_files
from edgekit.frameworks.files import sha256
from edgekit.frameworks.isolated import Status
from edgekit.frameworks.scaling import KEY
from edgekit.frameworks.tflite import read_model, with_metadata
from edgekit.lazy import version
from edgekit.text import clean

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["TOLERANCE", "Parameters", "apply", "check", "environment", "verify", "versions"]

TOLERANCE = 1e-4
"""The largest difference of an output tensor, over its largest absolute value in the reference."""

_PROBES = 16
_MAX_BATCH = 4096


@dataclass(frozen=True)
class Parameters:
    """How a model is exported.

    Attributes:
        batch: the static batch size, where the model leaves it open.
        layout: where the channels of images are. Inside, a `.tflite` computes in NHWC. `as-is`
            keeps the inputs and outputs of the ONNX model, so that the same data goes into both; a
            transposition stands at each edge (measured: 0.5 % of a text detector's time). `nhwc`
            gives inputs and outputs with 4 or 5 axes the channels last, for a device whose camera
            delivers them so.
    """

    batch: int = 1
    layout: Literal["as-is", "nhwc"] = "as-is"

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= _MAX_BATCH:
            raise ValueError(f"batch must be from 1 to {_MAX_BATCH}, not {self.batch}")

    def turns(self, rank: int) -> bool:
        """Inputs and outputs of this rank get their channels last."""
        return self.layout == "nhwc" and rank in SPATIAL

    def axes(self, rank: int) -> Axes:
        """Which axes of an ONNX input or output those of the `.tflite` are."""
        return last(rank) if self.turns(rank) else tuple(range(rank))


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return {"onnx2tf": VERSION} | {name: version(name) for name in ("onnx", "ai-edge-litert")}


def environment() -> Status:
    """Whether onnx2tf's environment is there, or what would make it; for `edgekit doctor`."""
    return isolated.status(REQUIREMENTS)


def check(parameters: Parameters | None, source: Artifact, models: Models) -> None:
    """Raises UsageError for open axes, custom ops, text, another batch, and a missing Python."""
    chosen = parameters or Parameters()
    description = models.describe(source)
    for spec in description.signature.inputs:
        check_input(spec, chosen.batch)
    check_ops(source.name, description.ops)
    found = environment()
    if found.problem:
        raise UsageError(found.problem, hint=found.hint)


def apply(parameters: Parameters | None, source: Artifact, work: Work) -> None:
    """Writes the float `.tflite`."""
    chosen = parameters or Parameters()
    description = work.describe(source)
    check_ops(source.name, description.ops)  # an earlier step may have made another model of it
    ready = isolated.ensure(REQUIREMENTS, work.progress)
    inputs = description.signature.inputs
    batch = next((spec.shape[0] for spec in inputs if spec.shape and spec.shape[0]), None)
    if batch is not None and batch != chosen.batch:
        work.note("batch", source.name, f"it stays at {batch}, which the ONNX model fixes")
    probes = _rows(work.probes(_PROBES), batch or chosen.batch)
    reference = work.predict(source, probes)
    prepared = _prepare(chosen, source, reference, work)
    ends = zip(inputs, prepared.inputs, strict=True)
    keep = [name for spec, name in ends if not chosen.turns(len(spec.shape))]
    content = convert(ready, prepared, source, work, keep=keep)
    edges = _arranged(content, prepared, source, work)
    _turn(chosen, source, edges, (probes, reference), work)
    work.output.write_bytes(_with_properties(edges.content, source, work))
    _report(chosen, source, work)


def _rows(arrays: tuple[Array, ...], count: int) -> tuple[Array, ...]:
    """As many rows as one run takes, over again where there are fewer."""
    import numpy as np

    return tuple(array[np.arange(count) % len(array)] for array in arrays)


def _prepare(
    chosen: Parameters, source: Artifact, reference: tuple[Array, ...], work: Work
) -> Prepared:
    signature = work.describe(source).signature
    shapes = []
    for spec, array in zip(signature.outputs, reference, strict=True):
        # A runner puts a batch axis before an output that has none.
        has_batch = not spec.shape or len(spec.shape) == array.ndim
        shapes.append(array.shape if has_batch else array.shape[1:])
    copy = work.folder / COPY
    return prepare(source.path, copy, batch=chosen.batch, outputs=shapes)


def _arranged(content: bytes, prepared: Prepared, source: Artifact, work: Work) -> Edges:
    """The names and the order of the ONNX model."""
    signature = work.describe(source).signature
    edges = Edges.open(content)
    edges.arrange(
        {name: spec.name for name, spec in zip(prepared.inputs, signature.inputs, strict=True)},
        {name: spec.name for name, spec in zip(prepared.outputs, signature.outputs, strict=True)},
    )
    return edges


def _turn(
    chosen: Parameters,
    source: Artifact,
    edges: Edges,
    known: tuple[tuple[Array, ...], tuple[Array, ...]],
    work: Work,
) -> None:
    """Puts a TRANSPOSE behind each output that is not in the wanted layout.

    onnx2tf leaves some outputs with the channels last and does not say which: their shapes tell,
    and where they do not, their values (`known`: inputs, and the ONNX model's outputs).
    """
    probes, reference = known
    raw = work.folder / "raw.tflite"
    raw.write_bytes(edges.content)
    copy = Artifact(raw, "tflite", sha256(raw), source.name)
    _check_ops(copy, work)
    given = tuple(turned(array, chosen.axes(array.ndim)) for array in probes)
    made = work.predict(copy, given)
    for place, (expected, found) in enumerate(zip(reference, made, strict=True)):
        have, want = axes_of(expected, found), chosen.axes(expected.ndim)
        if have != want:
            edges.transpose_output(place, between(have, want))


def _with_properties(content: bytes, source: Artifact, work: Work) -> bytes:
    """Carries the metadata (labels, a reader's alphabet) over, under the same names."""
    for item in onnx_files.load(source.path).metadata_props:
        if item.key == KEY:  # the input scaling, which the engine writes
            continue
        content = with_metadata(content, item.key, item.value.encode(), where=source.name)
        work.evidence(
            "carried over", f"metadata '{clean(item.key)}'", f"{len(item.value)} characters"
        )
    return content


def _check_ops(made: Artifact, work: Work) -> None:
    """Raises PromiseError where an op came out that no device's runtime knows."""
    odd = [op for op in work.describe(made).ops if op.is_custom]
    if odd:
        raise PromiseError(
            f"model '{made.name}': onnx2tf wrote {named(odd)}, which no runtime for .tflite has "
            "a kernel for",
            hint=f"export the model without it; {ELSEWHERE}",
        )


def _report(chosen: Parameters, source: Artifact, work: Work) -> None:
    """Puts the layout of images on record."""
    signature = work.describe(source).signature
    for noun, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            rank, item = len(spec.shape), f"{noun} '{spec.name}'"
            there = f"{shape_text(spec.shape)} in the ONNX model"
            if chosen.turns(rank):
                here = shape_text(tuple(spec.shape[axis] for axis in last(rank)))
                work.note("layout", item, f"{there} is {here} in the .tflite (NCHW to NHWC)")
            elif rank in SPATIAL:
                inside = "kept as it is: the .tflite computes in NHWC only inside"
                work.evidence("layout", item, f"{there}, {inside}")


def verify(parameters: Parameters | None, source: Artifact, result: Artifact, work: Work) -> None:
    """Runs both models on the same inputs and compares every output.

    Raises:
        PromiseError: an output is missing, has another shape, or differs by more than TOLERANCE.
        UsageError: the source's own outputs are not finite, so nothing can be compared.
    """
    chosen = parameters or Parameters()
    read_model(result.path)
    before, after = work.describe(source).signature, work.describe(result).signature
    for noun, had, has in (
        ("inputs", before.inputs, after.inputs),
        ("outputs", before.outputs, after.outputs),
    ):
        names = [[spec.name for spec in specs] for specs in (had, has)]
        if names[0] != names[1]:
            raise PromiseError(
                f"model '{source.name}': its {noun} are {', '.join(names[0])}, and those of the "
                f".tflite {', '.join(names[1]) or 'none'}"
            )
    probes = work.probes(_PROBES)
    reference = work.predict(source, probes)
    made = work.predict(result, tuple(turned(a, chosen.axes(a.ndim)) for a in probes))
    _compare(chosen, source, reference, made, work)


def _compare(
    chosen: Parameters,
    source: Artifact,
    reference: tuple[Array, ...],
    made: tuple[Array, ...],
    work: Work,
) -> None:
    names = [spec.name for spec in work.describe(source).signature.outputs]
    bounded = bounded_outputs(source.path)
    gaps = {
        name: difference(
            name, turned(expected, chosen.axes(expected.ndim)), found, is_bounded=name in bounded
        )
        for name, expected, found in zip(names, reference, made, strict=True)
    }
    name, gap = max(gaps.items(), key=lambda item: item[1])
    if not gap <= TOLERANCE:
        raise PromiseError(
            f"output '{name}' of the .tflite differs from the ONNX model by {gap:.2g} of its "
            f"largest value, and at most {TOLERANCE:g} is allowed",
            hint=f"onnx2tf {VERSION} converts an op of this model wrongly; {ELSEWHERE}",
        )
    work.evidence(
        "proven equal",
        f"{len(gaps)} output{'s' if len(gaps) > 1 else ''} on {len(reference[0])} inputs",
        f"the largest difference is {gap:.2g} of the output's largest value ('{name}')",
    )
