"""Holds a quantized .onnx file against what its scheme promises, and notes what stayed float."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Work
from edgekit.errors import EdgekitError, PromiseError
from edgekit.frameworks import onnx_files
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize._onnx_calibrated import static_kinds
from edgekit.techniques.quantize._onnx_found import Found, bad_scale, find
from edgekit.techniques.quantize._onnx_model import Visit, few_values, matches, visits
from edgekit.techniques.quantize._onnx_spared import is_spared, spared

__all__ = ["prove"]

_PROBES = 8
_SHOWN = 3
_WEIGHTLESS = "weights_only matches it, and it has no weights"
_SPARED = ("integer weights", "integer table")
_WANTED = {
    "int8": ("integers", "integer table"),
    "int16x8": ("integers", "integer table"),
    "dynamic-int8": ("integers on the fly", "integer weights", "integer table"),
    "weight-only-int8": ("8-bit blocks", "integer weights", "integer table"),
    "weight-only-int4": ("4-bit blocks", "integer weights", "integer table"),
    "float16": ("float16",),
}


def prove(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Checks ops, scales, size, and outputs on probes, in this order.

    Raises:
        PromiseError: one of them is not what the scheme says.
    """
    found = find(result.path)
    small = _small_tables(source)
    _prove_treated(parameters, found, small)
    _prove_spared(parameters, found, source, work)
    _note_left(parameters, found, small, work)
    _prove_scales(parameters, found, result)
    _prove_smaller(parameters, source, result)
    _record_shares(parameters, found, source, work)
    _prove_outputs(parameters, source, result, work)


def _broken(parameters: Parameters, text: str, hint: str = "") -> PromiseError:
    return PromiseError(f"quantize: {parameters.scheme}: {text}", hint=hint)


def _small_tables(source: Artifact) -> frozenset[str]:
    """Embeddings that stay as they are: asked of the source, for narrow weights count otherwise."""
    found = visits(onnx_files.load(source.path))
    return frozenset(v.name for v in found if v.kind == "Gather" and few_values(v))


def _prove_treated(parameters: Parameters, found: Found, small: frozenset[str]) -> None:
    wanted = _WANTED[parameters.scheme]
    wanted += _SPARED if parameters.weights_only else ()
    if not any(made.how in wanted for made in found.treated):
        raise _broken(parameters, "no op with weights was quantized")
    asked = [visit for visit in found.left if _is_asked(parameters, visit, small)]
    if asked:
        raise _broken(
            parameters,
            f"{_listed(v.name for v in asked)} stayed float, and op_types names {asked[0].kind}",
            "skip = [...] leaves ops as they are",
        )


def _prove_spared(parameters: Parameters, found: Found, source: Artifact, work: Work) -> None:
    """The ops of `weights_only` have int8 weights, and inputs that were not made integers."""
    if not parameters.weights_only:
        return
    model = onnx_files.load(source.path)
    narrow = [visit.name for visit in spared(model, parameters)]
    left = {visit.name for visit in found.left}
    hows = {made.name: made.how for made in found.treated}
    wrong = [name for name in narrow if name in left or hows.get(name) not in _SPARED]
    if wrong:
        raise _broken(
            parameters,
            f"{_listed(wrong)} has not int8 weights and float activations, as "
            "weights_only asks for",
        )
    others: defaultdict[str, list[str]] = defaultdict(list)
    for visit in visits(model):
        is_able = visit.kind in static_kinds() and visit.kind != "Constant"
        if is_able and is_spared(visit, parameters) and visit.name not in {*narrow, *left}:
            others[visit.kind].append(visit.name)
    for kind, names in sorted(others.items()):
        work.note("left in float", f"{len(names)} {kind}: {_listed(names)}", _WEIGHTLESS)


def _is_few(parameters: Parameters, visit: Visit, small: frozenset[str]) -> bool:
    if visit.kind == "Gather":
        return visit.name in small
    return few_values(visit) and (not parameters.is_static or is_spared(visit, parameters))


def _is_asked(parameters: Parameters, visit: Visit, small: frozenset[str]) -> bool:
    if _is_few(parameters, visit, small):
        return False
    able = not parameters.is_static or not _inside(visit)
    return able and visit.kind in parameters.op_types and not _skipped(parameters, visit.name)


def _skipped(parameters: Parameters, name: str) -> bool:
    return matches(name, parameters.skip)


def _inside(visit: Visit) -> bool:
    """Of a graph inside If, Loop or Scan: the scope has more than one level."""
    return len(getattr(visit.scope, "maps", ())) > 2


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in every[:_SHOWN]) + more


def _note_left(parameters: Parameters, found: Found, small: frozenset[str], work: Work) -> None:
    """One note for each kind and reason, whatever the number of ops."""
    groups: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for visit in found.left:
        what = "skipped" if _skipped(parameters, visit.name) else "left in float"
        groups[what, visit.kind, _reason(parameters, visit, small)].append(visit.name)
    for made in found.treated:
        if parameters.is_static and made.how == "integer weights":
            is_asked = matches(made.name, parameters.weights_only)
            reason = "its weights are int8" + (", as weights_only says" if is_asked else "")
            groups["float activations", made.kind, reason].append(made.name)
        if parameters.scheme == "weight-only-int4" and made.how != "4-bit blocks":
            groups["made int8", made.kind, "4-bit blocks are for MatMul and Gemm"].append(made.name)
    for (what, kind, reason), names in sorted(groups.items()):
        work.note(what, f"{len(names)} {kind}: {_listed(names)}", reason)
    if parameters.scheme == "int16x8":
        work.note(
            "slow", parameters.scheme, "onnxruntime has no int16 kernels: it computes in float"
        )


def _reason(parameters: Parameters, visit: Visit, small: frozenset[str]) -> str:
    if _skipped(parameters, visit.name):
        return "as skip says"
    if parameters.op_types and visit.kind not in parameters.op_types:
        return "op_types leaves this kind out"
    if _is_few(parameters, visit, small):
        return "its weights are too few for int8 to make the file smaller"
    if parameters.is_static and _inside(visit):
        return "the engine does not calibrate inside If, Loop and Scan"
    if parameters.is_static and visit.kind not in static_kinds():
        return "the engine has no integer form of it"
    return "the engine left it"


def _prove_scales(parameters: Parameters, found: Found, result: Artifact) -> None:
    wrong = bad_scale(result.path)
    if wrong:
        raise _broken(parameters, f"{wrong}, which stands for no value")
    if not parameters.per_channel:
        return
    flat = [
        made.name for made in found.treated if made.channels > 1 and made.scales != made.channels
    ]
    if flat:
        raise _broken(
            parameters,
            f"{_listed(flat)} has one scale, and per_channel asks for one each channel",
        )


def _prove_smaller(parameters: Parameters, source: Artifact, result: Artifact) -> None:
    before, after = _size(source.path), _size(result.path)
    if after >= before:
        raise _broken(
            parameters,
            f"the file did not get smaller: {before} -> {after} bytes",
            "the model has too few weights for this scheme to pay off",
        )


def _size(path: Path) -> int:
    files = [path, *onnx_files.external_files(path, onnx_files.load(path))]
    return sum(file.stat().st_size for file in files)


def _record_shares(parameters: Parameters, found: Found, source: Artifact, work: Work) -> None:
    values = sum(made.values for made in found.treated)
    ways = Counter(made.how for made in found.treated)
    counts = ", ".join(f"{count} in {how}" for how, count in sorted(ways.items()))
    share = values / max(1, values + found.left_values)
    text = f"{len(found.treated)} of {len(found.treated) + len(found.left)} ({counts}), with "
    text += f"{share:.1%} of the values of weights"
    macs = {op.name: op.macs or 0 for op in work.describe(source).ops}
    total = sum(macs.values())
    if total:
        wide = {visit.name for visit in found.left}
        if parameters.is_static:
            wide |= {made.name for made in found.treated if made.how == "integer weights"}
        float_macs = sum(macs.get(name, 0) for name in wide)
        text += f" and {1 - float_macs / total:.1%} of the multiply-accumulates"
    if found.others:
        text += f"; {found.others} ops without weights compute in integers too"
    work.evidence("narrow", "ops with weights", text)


def _prove_outputs(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    import numpy as np

    probes = work.probes(_PROBES)
    try:
        made = work.predict(result, probes)
    except EdgekitError as error:
        raise _broken(parameters, f"the runtime does not run the file: {error.message}") from error
    expected = work.predict(source, probes)
    names = [spec.name for spec in work.describe(source).signature.outputs]
    for name, before, after in zip(names, expected, made, strict=True):
        wrong = int(np.count_nonzero(~np.isfinite(after)))
        own = int(np.count_nonzero(~np.isfinite(before)))
        if wrong > own:
            raise _broken(
                parameters,
                f"output '{name}' has {wrong} of {after.size} values NaN or infinite on "
                f"{len(after)} probes (the float model: {own})",
            )
        with np.errstate(invalid="ignore"):
            lost = np.abs(np.asarray(after, np.float64) - np.asarray(before, np.float64))
        largest = float(np.nanmax(lost, initial=0.0))
        peak = float(np.nanmax(np.abs(before), initial=0.0))
        if math.isfinite(peak):
            found = f"differs by {largest:.4g} at most on {len(after)} probes, from {peak:.4g}"
            work.evidence("output", name, f"{found}, its largest float value")
