"""Ranges of activations: runs the float model on calibration samples, one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Artifact, TensorSpec
from edgekit.core.technique import Work
from edgekit.errors import UsageError
from edgekit.techniques.quantize import Parameters, Ranges
from edgekit.techniques.quantize._onnx_model import require

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["Channels", "Feed", "Span", "calibration_batches", "collect", "session"]

Feed = Mapping[str, "Array"]
Span = tuple[float, float]

_INFINITE = float("inf")
_REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceSum")
_NEW = 0.05
"""What a sample adds to the moving average."""
_HISTOGRAM = {
    "entropy": {"num_bins": 128, "num_quantized_bins": 128, "percentile": 99.999},
    "percentile": {"num_bins": 2048, "num_quantized_bins": 128, "percentile": 99.999},
}
"""The engine's own figures. It makes `percentile` symmetric by default, which would waste half of
the values behind a Relu."""


def session(content: Any, *, level: str = "ORT_ENABLE_EXTENDED") -> Any:
    """An onnxruntime session on the CPU that writes nothing to the terminal."""
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, level)
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def calibration_batches(parameters: Parameters, source: Artifact, work: Work) -> Iterator[Feed]:
    """Calibration samples by input name; as many at once as a static batch holds.

    Raises:
        UsageError: there is none, or one has NaN.
    """
    specs = work.describe(source).signature.inputs
    batch = next((spec.shape[0] for spec in specs if spec.shape and spec.shape[0]), None) or 1
    count, used = -(-parameters.samples // batch) * batch, 0
    held: list[tuple[Array, ...]] = []
    with work.progress("calibrate", count) as bar:
        for sample in work.samples("calibrate", count):
            held.append(sample)
            if len(held) == batch:
                yield _joined(specs, held)
                used += batch
                bar.advance(batch)
                held.clear()
    if not used:
        raise UsageError(
            "quantize: the data has no sample to calibrate on", hint="give more data with --data"
        )
    if used < count:
        verb = "was" if used == 1 else "were"
        work.note("fewer samples", "calibration", f"{used} {verb} used, and {count} are asked for")


def _joined(specs: tuple[TensorSpec, ...], held: list[tuple[Array, ...]]) -> Feed:
    import numpy as np

    found = {}
    for spec, arrays in zip(specs, zip(*held, strict=True), strict=True):
        values = np.concatenate(arrays)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UsageError(
                f"quantize: input '{spec.name}' of a calibration sample is NaN or infinite",
                hint="remove such samples from the data",
            )
        whole = np.dtype(spec.dtype).kind in "iu" and values.dtype.kind == "f"
        found[spec.name] = (np.rint(values) if whole else values).astype(spec.dtype)
    return found


@dataclass
class _Spans:
    """The least and the greatest value of each tensor, over all samples or as moving average."""

    is_average: bool
    found: dict[str, Span]

    def add(self, name: str, low: float, high: float) -> None:
        before = self.found.get(name)
        if before is not None and self.is_average:
            low = before[0] + _NEW * (low - before[0])
            high = before[1] + _NEW * (high - before[1])
        elif before is not None:
            low, high = min(low, before[0]), max(high, before[1])
        self.found[name] = (low, high)


class Channels:
    """The least and greatest value of each channel (last axis) of a tensor, and the mean square."""

    def __init__(self, count: int) -> None:
        import numpy as np

        self.low, self.high = np.full(count, _INFINITE), np.full(count, -_INFINITE)
        self.total, self.rows = np.zeros(count), 0

    def add(self, values: Array) -> None:
        """Takes the values of one run into account."""
        import numpy as np

        rows: Any = values.reshape(-1, values.shape[-1])
        self.low = np.minimum(self.low, rows.min(axis=0, initial=_INFINITE))
        self.high = np.maximum(self.high, rows.max(axis=0, initial=-_INFINITE))
        self.total = self.total + np.einsum("ij,ij->j", rows, rows)
        self.rows += len(rows)

    @property
    def mean_square(self) -> Array:
        """Over all values of a channel."""
        found: Array = self.total / max(1, self.rows)
        return found

    @property
    def is_finite(self) -> bool:
        """There were values, and none was infinite."""
        import numpy as np

        return bool(np.isfinite([self.low, self.high, self.total]).all())


def collect(
    model: Any,
    tensors: Iterable[str],
    batches: Iterable[Feed],
    ranges: Ranges,
    channels: Mapping[str, Channels] | None = None,
) -> dict[str, Span]:
    """The range of each tensor; one that becomes infinite has an infinite range.

    With the moving average or the full range, the `channels` are filled on the way.

    Raises:
        UsageError: a tensor becomes NaN; the first one in the graph is named.
    """
    names = sorted(tensors)
    if not names:
        return {}
    return (
        _histograms(model, names, batches, ranges)
        if ranges in _HISTOGRAM
        else _extremes(model, names, batches, channels or {}, is_average=ranges == "average")
    )


def _extremes(
    model: Any,
    names: list[str],
    batches: Iterable[Feed],
    channels: Mapping[str, Channels],
    *,
    is_average: bool,
) -> dict[str, Span]:
    """Reductions inside the graph, so that only three values a tensor come out of it."""
    spans = _Spans(is_average, {})
    watched = _watched(model, names, _REDUCTIONS, whole=channels)
    outputs = [item.name for item in watched.get_outputs()]
    count = len(outputs) - len(channels)
    for feed in batches:
        made = watched.run(outputs, dict(feed))
        for tensor, whole in zip(outputs[count:], made[count:], strict=True):
            channels[tensor].add(whole)
        values = [float(value) for value in made[:count]]
        rows = zip(names, values[::3], values[1::3], values[2::3], strict=True)
        found = [(name, low, high, total) for name, low, high, total in rows if low <= high]
        # The runtime's ReduceMin and ReduceMax pass over NaN; a sum does not.
        _refuse_nan(
            model, {n for n, low, high, total in found if total != total and high - low < _INFINITE}
        )
        for name, low, high, _ in found:
            spans.add(name, low, high)
    return spans.found


def _histograms(
    model: Any, names: list[str], batches: Iterable[Feed], ranges: Ranges
) -> dict[str, Span]:
    """The engine's own histograms, a sample at a time: all at once would hold every tensor."""
    import numpy as np

    engine = require("onnxruntime.quantization.calibrate")
    collector = engine.HistogramCollector(
        method=ranges, symmetric=False, scenario="same", **_HISTOGRAM[ranges]
    )
    watched, infinite = _watched(model, names, ()), set()
    for feed in batches:
        values = dict(zip(names, watched.run(names, dict(feed)), strict=True))
        _refuse_nan(model, {name for name, found in values.items() if np.isnan(found).any()})
        infinite |= {name for name, found in values.items() if not np.isfinite(found).all()}
        collector.collect(
            {n: [found] for n, found in values.items() if n not in infinite and found.size}
        )
    ends = collector.compute_collection_result()
    found = {name: _span(value) for name, value in ends.items() if name not in infinite}
    return found | dict.fromkeys(infinite, (-_INFINITE, _INFINITE))


def _span(value: Any) -> Span:
    low, high = (value.lowest, value.highest) if hasattr(value, "lowest") else value[:2]
    return float(low), float(high)


def _refuse_nan(model: Any, wrong: set[str]) -> None:
    if not wrong:
        return
    order = [item.name for item in model.graph.input]
    order += [name for node in model.graph.node for name in node.output]
    first = next((name for name in order if name in wrong), min(wrong))
    raise UsageError(
        f"quantize: tensor '{first}' becomes NaN on a calibration sample",
        hint="look at that sample: the float model has no answer to it",
    )


def _watched(
    model: Any, names: list[str], reductions: tuple[str, ...], *, whole: Iterable[str] = ()
) -> Any:
    """A session of the model whose outputs are these tensors, or what they are reduced to; and
    behind them those of `whole`."""
    helper = require("onnx.helper")
    copy = type(model)()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    for number, name in enumerate(names):
        ends = [f"edgekit/{kind}/{number}" for kind in reductions]
        for kind, end in zip(reductions, ends, strict=True):
            copy.graph.node.append(helper.make_node(kind, [name], [end], end, keepdims=0))
        for end in ends or [name]:
            copy.graph.output.append(helper.make_empty_tensor_value_info(end))
    for name in whole:
        copy.graph.output.append(helper.make_empty_tensor_value_info(name))
    return session(copy.SerializeToString())
