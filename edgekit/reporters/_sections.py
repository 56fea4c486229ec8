"""The detailed tables of the pages: steps, accuracy, placement, sizes, machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from edgekit.core.artifact import TensorSpec
from edgekit.core.data import Score
from edgekit.core.report import Report
from edgekit.reporters._ladder import ladder_table
from edgekit.reporters._layers import Layer, largest, rest_of_file
from edgekit.reporters._placement import groups
from edgekit.reporters._rows import interval_text, score_text, visible_text
from edgekit.reporters._settings import setting, settings
from edgekit.reporters._tables import Table
from edgekit.reporters._wording import count, file_name, ratio_text
from edgekit.text import clean
from edgekit.units import (
    format_bytes,
    format_nanoseconds,
    format_points,
    format_seconds,
    format_share,
)

__all__ = ["parts", "sections"]

_MOST_LAYERS: Final = 20
_MOST_CLASSES: Final = 100


def sections(report: Report) -> tuple[Table, ...]:
    """The tables after the main one, in reading order; empty ones are left out."""
    tables = (
        _steps(report),
        ladder_table(report),
        _accuracy(report),
        _classes(report),
        _timing(report),
        _placement(report),
        _layers(report),
        _signature(report),
        _models(report),
        _pairs("Machine", report.machine),
    )
    return tuple(table for table in tables if table.rows)


def _steps(report: Report) -> Table:
    cells = tuple(
        (
            str(number),
            clean(step.name),
            clean(step.format),
            _settings(step.parameters),
            format_bytes(step.size_bytes),
            f"{format_seconds(step.seconds)}{' (reused)' if step.cached else ''}",
            clean(step.digest)[:12],
        )
        for number, step in enumerate(report.steps, 1)
    )
    heads = ("", "step", "makes", "parameters", "size", "time", "digest")
    return Table("Steps", heads, cells, frozenset({0, 4, 5}))


def _settings(parameters: Mapping[str, Any]) -> str:
    found = settings(parameters)
    rest = f" ({found.left_out} more in report.json)" if found.left_out else ""
    return f"{found.line}{rest}"


def _accuracy(report: Report) -> Table:
    """The metric with its interval, then the comparison sample by sample, then the details."""
    before, after, judged = report.reference.score, report.result.score, report.judgement
    if after is None:
        return Table("Accuracy", (), ())
    cells = [
        (clean(after.metric), score_text(before), score_text(after)),
        ("95 % interval", interval_text(before) if before else "", interval_text(after)),
        ("samples", f"{before.n:,}" if before else "", f"{after.n:,}"),
    ]
    for name, value in after.details.items():
        if name.endswith("]"):  # of one class: it stands in the table of classes
            continue
        old = before.details.get(name) if before else None
        cells.append((clean(name), "" if old is None else f"{old:.4g}", f"{value:.4g}"))
    if judged is not None:
        cells += [
            (name, "", text)
            for name, text in (
                ("agreement", _optional(judged.agreement, format_share)),
                ("right to wrong", _optional(judged.right_to_wrong, "{:,}".format)),
                ("wrong to right", _optional(judged.wrong_to_right, "{:,}".format)),
                ("smallest visible drop", _visible(report)),
                ("p (worse than the reference)", _optional(judged.p_worse, "{:.3g}".format)),
            )
            if text
        ]
    heads = ("", "reference", "result")
    data = report.data
    caption = ""
    if data is not None:
        sizes = ", ".join(f"{clean(name)} {size:,}" for name, size in data.splits.items())
        name = clean(file_name(data.name), most=200)
        caption = f"{name} ({clean(data.task)}; {sizes}), digest {clean(data.digest)[:12]}."
    return Table("Accuracy", heads, tuple(cells), frozenset({1, 2}), caption)


def _optional(value: Any, show: Callable[[Any], str]) -> str:
    return "" if value is None else str(show(value))


def _visible(report: Report) -> str:
    judged = report.judgement
    if judged is None or judged.smallest_visible_drop is None:
        return ""
    return visible_text(judged.smallest_visible_drop, judged.result)


def _classes(report: Report) -> Table:
    after, before = report.result.score, report.reference.score
    if after is None:
        return Table("By class", (), ())
    old = before.by_class if before else {}
    names = _most_changed(after.by_class, old)
    extra = _class_details(after)
    cells = []
    for name in names:
        further = (figures.get(name, "") for figures in extra.values())
        cells.append((*_class_cells(name, old.get(name), after), *further))
    more = len(after.by_class) - len(names)
    caption = f"The {_MOST_CLASSES} that changed most; report.json has all." if more else ""
    title = clean(after.metric, most=40)
    return Table(
        f"{title[:1].upper()}{title[1:]} by class",
        ("class", "reference", "result", "change", *extra),
        tuple(cells),
        frozenset(range(1, 4 + len(extra))),
        caption,
    )


def _class_details(score: Score) -> dict[str, dict[str, str]]:
    """The details that are of one class, 'precision[cat]', by figure and then by class."""
    found: dict[str, dict[str, str]] = {}
    for name, value in score.details.items():
        figure, bracket, rest = name.partition("[")
        if bracket and rest.endswith("]"):
            found.setdefault(clean(figure), {})[rest[:-1]] = f"{value:.4g}"
    return found


def _most_changed(after: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    """The classes in the task's order; of more than a page of them those that changed most."""
    ranked = sorted(after, key=lambda name: -abs(after[name] - before.get(name, after[name])))
    chosen = set(ranked[:_MOST_CLASSES])
    return [name for name in after if name in chosen]


def _class_cells(name: str, old: float | None, score: Score) -> tuple[str, ...]:
    new = score.by_class[name]
    show = format_share if score.is_share else "{:.4g}".format
    change = ""
    if old is not None:
        change = format_points(new - old) if score.is_share else f"{new - old:+.3g}"
    return (clean(name), "" if old is None else show(old), show(new), change)


def _timing(report: Report) -> Table:
    cells = []
    for role, measured in (("reference", report.reference), ("result", report.result)):
        latency, memory = measured.latency, measured.memory
        if latency.kind != "unmeasured":
            cells.append(
                (
                    role,
                    latency.kind,
                    _optional(latency.median_ns, format_nanoseconds),
                    f"{len(latency.samples_ns):,}",
                    _optional(latency.load_ns, format_nanoseconds),
                    _optional(latency.first_ns, format_nanoseconds),
                    str(latency.threads),
                    _optional(memory.peak_bytes, format_bytes),
                )
            )
    heads = ("", "kind", "median", "samples", "load", "first run", "threads", "peak memory")
    caption = ""
    ratio, interval = report.result.latency.ratio_to_reference, report.result.latency.ratio_ci95
    if ratio is not None and interval is not None:
        caption = (
            f"The result takes {ratio_text(ratio)} the reference's time, 95 % interval "
            f"{ratio_text(interval[0])} to {ratio_text(interval[1])}. Only this ratio carries over "
            "to another day: the times are of one machine at one moment."
        )
    for what, process in (
        ("Latency", report.result.latency.process),
        ("Memory", report.result.memory.process),
    ):
        if process:
            caption = f"{caption} {what}: {clean(process, most=200)}.".strip()
    return Table("Latency and memory", heads, tuple(cells), frozenset({2, 3, 4, 5, 6, 7}), caption)


def _placement(report: Report) -> Table:
    cells = tuple(
        (clean(g.kind), f"{g.count:,}", clean(g.where), clean(g.dtype), clean(g.reason, most=200))
        for g in groups(report.result.placement)
    )
    heads = ("op", "count", "runs on", "dtype", "why not accelerated")
    return Table("Placement", heads, cells, frozenset({1}))


def _layers(report: Report) -> Table:
    shown, more = largest(report, _MOST_LAYERS)
    rest = rest_of_file(report, shown)
    cells = [_layer_cells(layer) for layer in shown]
    if rest is not None:
        label = f"rest of the file, with {count(more, 'smaller tensor')}" if more else rest.name
        cells.append((label, *_layer_cells(rest)[1:]))
    if report.result_description.weights or report.reference_description.weights:
        heads = ("tensor", "shape", "reference", "result", "change", "dtype")
        caption = f"The {_MOST_LAYERS} largest of {len(shown) + more:,}." if more else ""
        return Table("Size by tensor", heads, tuple(cells), frozenset({2, 3, 4}), caption)
    return Table("Size by tensor", (), ())


def _layer_cells(layer: Layer) -> tuple[str, ...]:
    before, after = layer.reference_bytes, layer.result_bytes
    dtypes = " → ".join(dict.fromkeys(d for d in (layer.reference_dtype, layer.result_dtype) if d))
    return (
        clean(layer.name),
        "×".join(str(size) for size in layer.shape),
        "–" if before is None else format_bytes(before),
        "–" if after is None else format_bytes(after),
        ratio_text(after / before) if before and after is not None else "",
        clean(dtypes),
    )


def parts(report: Report) -> Table:
    """The bytes of both files by kind: weights, tables, strings, metadata, what else there is."""
    before = dict(report.reference_description.bytes_by)
    after = dict(report.result_description.bytes_by)
    cells = tuple(
        (
            clean(name),
            format_bytes(before[name]) if name in before else "–",
            format_bytes(after[name]) if name in after else "–",
        )
        for name in dict.fromkeys([*after, *before])
        if before.get(name) or after.get(name)
    )
    return Table("Size by kind", ("", "reference", "result"), cells, frozenset({1, 2}))


def _signature(report: Report) -> Table:
    signature = report.result_description.signature
    tensors = [("input", t) for t in signature.inputs] + [("output", t) for t in signature.outputs]
    cells = tuple(
        (role, clean(tensor.name), _shape(tensor), clean(tensor.dtype), _quantization(tensor))
        for role, tensor in tensors
    )
    return Table("Inputs and outputs", ("", "name", "shape", "dtype", "quantization"), cells)


def _shape(tensor: TensorSpec) -> str:
    return "×".join("?" if size is None else str(size) for size in tensor.shape) or "scalar"


def _quantization(tensor: TensorSpec) -> str:
    found = tensor.quantization
    if found is None:
        return ""
    sign = "−" if found.zero_point >= 0 else "+"
    return f"{found.scale:.6g} × (q {sign} {abs(found.zero_point)})"


def _models(report: Report) -> Table:
    before, after = report.reference_description, report.result_description
    cells = (
        (
            "file",
            *(_file(a.path.name) for a in (report.reference_artifact, report.result_artifact)),
        ),
        ("format", clean(before.format), clean(after.format)),
        ("digest", clean(report.reference.digest)[:12], clean(report.result.digest)[:12]),
        ("parameters", f"{before.parameters:,}", f"{after.parameters:,}"),
        ("multiply-accumulates", _macs(before.macs), _macs(after.macs)),
        ("ops", _ops(before.op_counts), _ops(after.op_counts)),
    )
    return Table("Models", ("", "reference", "result"), cells)


def _file(name: str) -> str:
    return clean(name, most=200)


def _macs(macs: int | None) -> str:
    return "not counted" if macs is None else f"{macs:,}"


def _ops(counts: Mapping[str, int]) -> str:
    shown = [f"{clean(kind)} {times}" for kind, times in list(counts.items())[:12]]
    rest = len(counts) - len(shown)
    return ", ".join([*shown, *([f"+{count(rest, 'more kind')}"] if rest else [])])


def _pairs(title: str, values: Mapping[str, Any]) -> Table:
    """A table of names and values; a nested mapping is spread out as 'outer.inner'."""
    cells: list[tuple[str, ...]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            cells += [(f"{clean(name)}.{inner}", text) for inner, text in _pairs(title, value).rows]
        else:
            cells.append((clean(name), setting(value) if value is not None else "unknown"))
    return Table(title, ("", ""), tuple(cells))
