"""Simplifies an `.onnx`, and proves that its outputs are what they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Models, Work
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import onnx_files
from edgekit.lazy import version
from edgekit.techniques.simplify import Parameters
from edgekit.techniques.simplify._files import LARGE_BYTES, write
from edgekit.techniques.simplify._graph import light_copy, quantized_kinds
from edgekit.techniques.simplify._outputs import (
    TOLERANCE,
    Outputs,
    full_scales,
    gap,
    open_session,
    probes,
    run,
)
from edgekit.techniques.simplify._stages import RAISE, Stage, first_line, stages

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["apply", "check", "verify", "versions"]

_SHOWN = 3
_LOW_OPSET = "low_opset"


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return {name: version(name) for name in ("onnx", "onnxruntime", "sympy")}


def check(parameters: Parameters, source: Artifact, models: Models) -> None:
    """Raises UsageError for custom ops, and for a model that the runtime does not open."""
    if source.format != "onnx":
        return  # It is converted before; the conversion proves what it makes.
    custom = [op for op in models.describe(source).ops if op.is_custom]
    if custom:
        shown = ", ".join(f"{op.kind} ('{op.name}')" for op in custom[:_SHOWN])
        more = " ..." if len(custom) > _SHOWN else ""
        raise UsageError(
            f"{source.name}: cannot be simplified: it has custom ops, which nothing here can run: "
            f"{shown}{more}",
            hint="export the model with standard ONNX ops",
        )
    reason = _not_opened(source.path)
    if reason:
        raise UsageError(
            f"{source.name}: cannot be simplified: ONNX Runtime does not open it ({reason})",
            hint="export the model again with an opset from 13 to 17, or update onnxruntime",
        )


def _not_opened(path: Path) -> str:
    """Why the runtime does not open a file; first asked without its weights, which is quick."""
    try:
        open_session(light_copy(onnx_files.outline(path).model).SerializeToString())
    except Exception:  # Some op may want its weights to be constants: the file itself decides.
        try:
            open_session(str(path))
        except Exception as error:  # The errors of the runtime have no base of their own.
            return first_line(error)
    return ""


def apply(parameters: Parameters, source: Artifact, work: Work) -> None:
    """Does all stages and compares once; where that differs, again with a comparison a stage."""
    inputs = probes(work)
    try:
        reference = run(source.path, inputs)
    except Exception as error:  # The errors of the runtime have no base of their own.
        raise UsageError(
            f"{source.name}: ONNX Runtime cannot run it: {first_line(error)}",
            hint="look at the samples of --data; without it random ones are tried, which not "
            "every model takes",
        ) from error
    reference.save(work.folder)
    todo = _todo(parameters, source, work)
    scales = _transform(source.path, work.output, todo, work)
    if not _difference(reference, work.output, inputs, scales) <= TOLERANCE:
        _one_by_one(source.path, todo, reference, inputs, work)


def _todo(parameters: Parameters, source: Artifact, work: Work) -> tuple[Stage, ...]:
    """What is to be done to a model, with a note for what is left out."""
    model = onnx_files.outline(source.path).model
    kinds, large = quantized_kinds(model), _is_large(source.path)
    if kinds:
        reason = f"it is quantized already ({', '.join(kinds[:_SHOWN])}): only unused nodes go"
        work.note("left alone", source.name, reason)
        _opset_may_stay(work)
    elif large and parameters.fold:
        reason = "the weights would be in memory twice: only Constant nodes are folded"
        work.note("left out", "fold", reason)
    if not large and onnx_files.external_files(source.path, model):
        work.note("taken in", source.name, "its weights lay in another file, and are in it now")
    return stages(parameters, quantized=bool(kinds), large=large)


def _is_large(path: Path) -> bool:
    files = (path, *onnx_files.external_files(path, onnx_files.outline(path).model))
    return sum(file.stat().st_size for file in files) >= LARGE_BYTES


def _transform(source: Path, target: Path, todo: tuple[Stage, ...], work: Work) -> dict[str, float]:
    """All stages on one model in memory; one that raises is left out, with a note.

    Returns the full scales of its outputs: the model itself is given back before it is run.
    """
    model = onnx_files.load(source) if _is_large(source) else onnx_files.load_full(source)
    for stage in todo:
        model = _acted(stage, model, work)
    write(model, target, folder=source.parent)
    return full_scales(model)


def _acted(stage: Stage, model: Any, work: Work) -> Any:
    try:
        return stage.act(model, work.folder, lambda *found: _report(stage, *found, work=work))
    except Exception as error:  # Converter, optimiser and inference raise what they like.
        _take_back(stage, first_line(error), work)
        return model


def _report(stage: Stage, item: str, reason: str, *, work: Work) -> None:
    work.note(stage.name, item, reason)
    if stage.name == RAISE:
        _opset_may_stay(work)


def _take_back(stage: Stage, reason: str, work: Work) -> None:
    work.note("taken back", stage.name, reason)
    if stage.name == RAISE:
        _opset_may_stay(work)


def _opset_may_stay(work: Work) -> None:
    """Tells `verify` that a note says why the opset is lower than asked for."""
    (work.folder / _LOW_OPSET).touch()


def _difference(
    reference: Outputs, path: Path, inputs: tuple[Array, ...], scales: Mapping[str, float]
) -> float:
    """Of a file's outputs from the reference; infinite where the runtime does not run it."""
    try:
        return gap(reference, run(path, inputs), scales)
    except Exception:  # A model that became invalid differs as much as can be.
        return float("inf")


def _one_by_one(
    source: Path,
    todo: tuple[Stage, ...],
    reference: Outputs,
    inputs: tuple[Array, ...],
    work: Work,
) -> None:
    """Writes the model again, with those stages only that leave the outputs what they were."""
    kept = source
    for number, stage in enumerate(todo):
        tried = work.folder / f"stage{number}.onnx"
        scales = _transform(kept, tried, (stage,), work)
        found = _difference(reference, tried, inputs, scales)
        if found <= TOLERANCE:
            kept = tried
        else:
            _take_back(stage, _too_much(found), work)
    _transform(kept, work.output, (), work)


def _too_much(found: float) -> str:
    if found == float("inf"):
        return "after it the model does not run, or its outputs have other shapes or no values"
    return (
        f"after it the outputs differ by {found:.2g} of their largest value, and at most "
        f"{TOLERANCE:g} is allowed"
    )


def verify(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where outputs, signature, opset or names are not as promised."""
    inputs = probes(work)
    kept = (work.folder / "outputs.npz").exists()
    before = Outputs.load(work.folder) if kept else run(source.path, inputs)
    try:
        after = run(result.path, inputs)
    except Exception as error:  # The errors of the runtime have no base of their own.
        raise PromiseError(f"simplify: the result does not run: {first_line(error)}") from error
    past, model = _facts(source.path), onnx_files.outline(result.path).model
    if past.ends != _facts(result.path).ends:
        raise PromiseError("simplify: the inputs or outputs of the model are not what they were")
    found = gap(before, after, full_scales(model))
    if not found <= TOLERANCE:
        raise PromiseError(f"simplify: {_too_much(found)}")
    _prove_form(parameters, past, model, low=(work.folder / _LOW_OPSET).exists())
    count = len(inputs[0])
    work.evidence(
        "proven equal",
        f"{len(before.arrays)} output{'s' if len(before.arrays) > 1 else ''}",
        f"the largest difference on {count} sample{'s' if count > 1 else ''} is {found:.2g} of the "
        f"output's largest value",
    )
    nodes = f"nodes {past.nodes} -> {len(model.graph.node)}"
    opsets = f"opset {past.opset} -> {onnx_files.opset(model)}"
    work.evidence("simplified", "the model", f"{nodes}, {opsets}")


@dataclass(frozen=True)
class _Facts:
    opset: int
    nodes: int
    domains: frozenset[str]
    ends: tuple[bytes, ...]


def _facts(path: Path) -> _Facts:
    model = onnx_files.outline(path).model
    domains = frozenset(node.domain for node in onnx_files.all_nodes(model)) | {"", "ai.onnx"}
    held = {tensor.name for tensor in model.graph.initializer}
    ends = (*(v for v in model.graph.input if v.name not in held), *model.graph.output)
    return _Facts(
        onnx_files.opset(model),
        len(model.graph.node),
        domains,
        tuple(value.SerializeToString(deterministic=True) for value in ends),
    )


def _prove_form(parameters: Parameters, past: _Facts, model: Any, *, low: bool) -> None:
    """Names, domains and opset of the result; `low` where a note says that the opset stayed."""
    nodes = [node for graph in onnx_files.all_graphs(model) for node in graph.node]
    if len({node.name for node in nodes} - {""}) < len(nodes):
        raise PromiseError("simplify: two nodes of the result have one name, or one has none")
    foreign = next((node for node in nodes if node.domain not in past.domains), None)
    if foreign is not None:
        raise PromiseError(f"simplify: the op {foreign.domain}.{foreign.op_type} was put in")
    opset = onnx_files.opset(model)
    if opset < (past.opset if low else max(past.opset, parameters.opset)):
        raise PromiseError(
            f"simplify: the opset is {opset}; it was {past.opset}, and {parameters.opset} is "
            "asked for"
        )
