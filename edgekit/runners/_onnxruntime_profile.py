"""What ONNX Runtime writes down while it runs: which op, where, in which dtype, for how long."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.runner import OpPlacement, OpTime, Placement
from edgekit.runners._onnxruntime import CPU, Options, assigned, create, short_name

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["op_times", "read_placement", "record"]

_KERNEL = "_kernel_time"
_DTYPES = {"float": "float32", "double": "float64"}
_INT8_INSIDE = frozenset({"DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention"})
"""Ops that take and give floats, and compute in int8 in between."""


def record(
    path: Path, options: Options, feed: Mapping[str, Array], runs: int
) -> list[dict[str, Any]]:
    """Runs the model in a session of its own and returns the events; leaves no file behind."""
    with tempfile.TemporaryDirectory() as folder:
        native = create(path, options, profile=Path(folder) / "run")
        try:
            for _ in range(runs):
                native.run(None, feed)
        finally:
            written = native.end_profiling()
        events: list[dict[str, Any]] = json.loads(Path(written).read_bytes())
    return events


def read_placement(native: Any, events: Sequence[dict[str, Any]]) -> Placement:
    """Every op that was executed once, in the order of execution."""
    wanted = short_name(native.get_providers()[0])
    if not events:
        found = [(where, kind, "unknown") for where, kind, _ in assigned(native)]
        reason = "as planned: ONNX Runtime ran none of the inputs that were tried"
    else:
        first = {_identity(event): event for event in reversed(list(_kernels(events)))}
        found = [
            (short_name(args["provider"]), args["op_name"], _dtype(args))
            for args in (event["args"] for event in reversed(first.values()))
        ]
        reason = ""
    return Placement(
        tuple(
            OpPlacement(index, kind, where, dtype, _reason(where, wanted))
            for index, (where, kind, dtype) in enumerate(found)
        ),
        reason,
    )


def op_times(events: Sequence[dict[str, Any]]) -> tuple[OpTime, ...]:
    """The ops by their time, the longest first, over the faster half of the runs.

    The first run does not count, and in the slower half the machine did something else as well. The
    runtime counts in microseconds.
    """
    runs = sorted((event["ts"], event["dur"]) for event in events if event["name"] == "model_run")
    calm = sorted(runs[1:], key=lambda run: run[1])[: len(runs) // 2]
    calls: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for event in _kernels(events):
        if any(start <= event["ts"] < start + length for start, length in calm):
            calls.setdefault(_identity(event), []).append(event)
    times = [
        OpTime(
            event["name"].removesuffix(_KERNEL),
            event["args"]["op_name"],
            short_name(event["args"]["provider"]),
            len(same),
            1000 * sum(int(item["dur"]) for item in same),
        )
        for same in calls.values()
        for event in same[:1]
    ]
    return tuple(sorted(times, key=lambda time: -time.total_ns))


def _kernels(events: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            yield event


def _identity(event: dict[str, Any]) -> tuple[Any, ...]:
    """A node's number is only its own within its graph, and its name may be empty."""
    return event["name"], event["args"]["op_name"], event["args"]["node_index"]


def _dtype(args: dict[str, Any]) -> str:
    """'uint8', or 'float32 to uint8': of the first tensor in, and the first one out."""
    found = []
    for side in ("input_type_shape", "output_type_shape"):
        for tensor in args.get(side, [])[:1]:
            found += [_DTYPES.get(name, name) for name in tensor]
    label = " to ".join(dict.fromkeys(found)) or "unknown"
    return f"{label} (int8 inside)" if args["op_name"] in _INT8_INSIDE else label


def _reason(where: str, wanted: str) -> str:
    if where == CPU and wanted != CPU:
        return f"{wanted} did not take it (the runtime gives no reason)"
    return ""
