"""What is tried in which order, and which ops cost the most accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Artifact
from edgekit.core.ladder import Rung
from edgekit.core.technique import Work
from edgekit.errors import PromiseError
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize._onnx_calibrated import calibrate, quantizable, typed
from edgekit.techniques.quantize._onnx_calibration import Feed, calibration_batches, session
from edgekit.techniques.quantize._onnx_float16 import probe_batches
from edgekit.techniques.quantize._onnx_model import (
    CORE,
    Visit,
    float_weights,
    is_treated,
    visits,
)
from edgekit.techniques.quantize._onnx_rewrite import rewrite
from edgekit.techniques.quantize._onnx_static import quantize_static
from edgekit.techniques.quantize._rungs import sparing

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["ladder_rungs", "rank_ops"]

_Trial = tuple[Any, list[Visit], list[Feed], Callable[[tuple[str, ...]], Any]]
"""The float model, its ops, inputs to try on, and what quantizes the named ops alone."""

_WEIGHTED = (*CORE, "Gather")
_CORE_LABEL = "Conv, MatMul, Gemm and embeddings only"
_MOST_OPS = 200
_SAMPLES = 8
_CALIBRATION = 32
_VALUES = 200_000
"""Of input in all: an image of 480 x 480 is 700,000, and 2 of them say as much as 16 small ones.
Counted and not timed, so that a ranking is the same each time."""


def ladder_rungs(parameters: Parameters) -> tuple[Rung, ...]:
    """The rungs of a scheme, the smallest and fastest first."""
    last = [_weights(parameters, "dynamic-int8"), _weights(parameters, "float16")]
    scheme = parameters.scheme
    own = Rung(scheme, parameters)
    if scheme == "float16":
        return (own,)
    if scheme == "weight-only-int4":
        return (own, _weights(parameters, "weight-only-int8"), *last)
    if not parameters.is_static:
        return (own, *(rung for rung in last if rung.label != scheme))
    core = parameters if parameters.op_types else replace(parameters, op_types=_WEIGHTED)
    rungs = [Rung(_label(parameters), parameters)]
    if not parameters.op_types:
        rungs.append(Rung(_CORE_LABEL, core))
    dynamic, half = last
    return (
        *rungs,
        *sparing(core),
        dynamic,
        Rung("weights alone", replace(core, weights_only=("*",))),
        half,
    )


def _label(parameters: Parameters) -> str:
    return f"{', '.join(parameters.op_types)} only" if parameters.op_types else "all ops"


def _weights(parameters: Parameters, scheme: Any) -> Rung:
    """A scheme without calibration; of the options only what it has too."""
    kinds = tuple(kind for kind in parameters.op_types if kind in _WEIGHTED)
    made = replace(
        parameters,
        scheme=scheme,
        io="integer",
        ranges="min-max",
        allow_float=False,
        weights_only=(),
        per_channel=parameters.per_channel or scheme == "float16",
        op_types=() if scheme == "float16" else kinds,
    )
    return Rung(scheme, made)


def rank_ops(parameters: Parameters, source: Artifact, work: Work) -> tuple[tuple[str, float], ...]:
    """Quantizes each weighted op alone and measures what the model's outputs lose by it.

    The cost is the squared difference over the squared float outputs. Ranges are found once.
    """
    trial = _static_trial if parameters.is_static else _weights_trial
    model, candidates, feeds, only = trial(parameters, source, work)
    groups = _groups([visit for visit in candidates if float_weights(visit)], work)
    expected = _outputs(model, feeds)
    costs: list[tuple[str, float]] = []
    with work.progress("rank ops", len(groups)) as bar:
        for names in groups:
            try:
                cost = _error(expected, _outputs(only(names), feeds))
            except PromiseError:  # A range that no scale holds: it stays in float anyway.
                cost = 0.0
            costs += [(name, cost) for name in names]
            bar.advance(1, names[0])
    return tuple(sorted(costs, key=lambda item: (-item[1], item[0])))


def _static_trial(parameters: Parameters, source: Artifact, work: Work) -> _Trial:
    feeds: list[Feed] = []
    fewer = replace(parameters, samples=min(parameters.samples, _CALIBRATION))
    batches = _kept(calibration_batches(fewer, source, work), feeds)
    calibrated = calibrate(fewer, source, work, batches)

    def only(names: tuple[str, ...]) -> Any:
        return quantize_static(parameters, calibrated, work, only=names)

    candidates = quantizable(calibrated.model, parameters)
    # Embeddings have float activations anyway: to spare them would change nothing.
    candidates = [visit for visit in candidates if visit.kind != "Gather"]
    return calibrated.model, candidates, feeds, only


def _weights_trial(parameters: Parameters, source: Artifact, work: Work) -> _Trial:
    model, feeds = typed(source), list(probe_batches(source, work, _SAMPLES))
    candidates = [v for v in visits(model) if is_treated(v, parameters.op_types, parameters.skip)]

    def only(names: tuple[str, ...]) -> Any:
        made = type(model)()
        made.CopyFrom(model)
        rewrite(made, parameters, source.path.parent, only=names)
        return made

    return model, candidates, feeds[: _enough(feeds[0])], only


def _kept(batches: Iterable[Feed], feeds: list[Feed]) -> Iterator[Feed]:
    """Passes batches on, and keeps the first few."""
    for feed in batches:
        if len(feeds) < _enough(feed):
            feeds.append(feed)
        yield feed


def _enough(feed: Feed) -> int:
    values = sum(int(array.size) for array in feed.values())
    return max(2, min(_SAMPLES, _VALUES // max(1, values)))


def _groups(ranked: list[Visit], work: Work) -> list[tuple[str, ...]]:
    """One op each; neighbours together where there are too many to try one by one."""
    names = [visit.name for visit in ranked]
    size = max(1, -(-len(names) // _MOST_OPS))
    if size > 1:
        reason = f"{len(names)} ops are too many to try each alone"
        work.note("ranked in groups", f"{size} neighbouring ops", reason)
    return [tuple(names[start : start + size]) for start in range(0, len(names), size)]


def _outputs(model: Any, feeds: list[Feed]) -> list[list[Array]]:
    opened = session(model.SerializeToString(), level="ORT_ENABLE_ALL")
    return [opened.run(None, dict(feed)) for feed in feeds]


def _error(expected: list[list[Array]], found: list[list[Array]]) -> float:
    """The mean over the float outputs; one that is not finite any more costs infinitely much."""
    import numpy as np

    shares = []
    for place, first in enumerate(expected[0]):
        if first.dtype.kind != "f":
            continue
        lost = total = 0.0
        for before, after in zip(expected, found, strict=True):
            old, new = before[place].astype(np.float64), after[place].astype(np.float64)
            lost += float(np.sum((new - old) ** 2))
            total += float(np.sum(old**2))
        shares.append(lost / max(total, 1e-30))
    cost = sum(shares) / max(1, len(shares))
    return cost if cost == cost else float("inf")
