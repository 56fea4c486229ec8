"""The history of a project's checks: one line a row and run, only ever added to."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgekit.core.gate import RowResult
from edgekit.core.measurement import Measurements
from edgekit.core.strict_json import parse_json
from edgekit.engine.files import disk_errors
from edgekit.errors import UsageError
from edgekit.frameworks.files import replacing

__all__ = ["HISTORY", "append", "history_line", "load_history", "machine_digest", "same_machine"]

HISTORY = "history.jsonl"

_MOST_BYTES = 64_000_000
_MOST_SHOWN = 200
_OF_A_MACHINE = ("cpu", "architecture", "cores", "governor")


def load_history(state: Path) -> tuple[Mapping[str, tuple[Mapping[str, Any], ...]], str]:
    """The last lines of each row by its name, oldest first, and what had to be repaired.

    A line that is no line of ours, as a run that was killed or a full disk leaves it, is set aside
    into `history.jsonl.damaged`, so that nothing is lost and what comes is readable.
    """
    path = state / HISTORY
    with disk_errors("history", path):
        if not path.exists():
            return {}, ""
        if path.stat().st_size > _MOST_BYTES:
            return {}, f"{path} is larger than 64 MB: it is added to, and not shown"
        data = path.read_bytes()
    good: list[bytes] = []
    bad: list[bytes] = []
    for line in data.splitlines():
        (good if _read(line) is not None else bad).append(line)
    if bad or (data and not data.endswith(b"\n")):
        _repair(path, good, bad)
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for line in good:
        table = _read(line)
        assert table is not None
        rows.setdefault(table["name"], []).append(table)
    note = f"{path}: {_lines(bad)} cut off, now in {path.name}.damaged" if bad else ""
    return {name: tuple(lines[-_MOST_SHOWN:]) for name, lines in rows.items()}, note


def append(state: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Adds lines at the end, all of them in one write under a lock."""
    path = state / HISTORY
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    with disk_errors("history", path), path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def history_line(
    result: RowResult,
    *,
    utc: str,
    machine: Mapping[str, Any],
    baseline_ratio: float | None,
) -> dict[str, Any]:
    """What is kept of one row of one run."""
    return {
        "name": result.row.name,
        "utc": utc,
        "status": result.status,
        **_figures(result.measured),
        "baseline_latency_ratio": baseline_ratio,
        "machine": machine_digest(machine),
    }


def machine_digest(machine: Mapping[str, Any]) -> str:
    """Short and stable: equal where times may be compared."""
    text = json.dumps(same_machine(machine), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def same_machine(machine: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that tell one machine from another; load and temperature are of the moment."""
    facts = {name: machine.get(name) for name in _OF_A_MACHINE}
    device = machine.get("device")
    if isinstance(device, Mapping):
        facts["device"] = device.get("device")
    return facts


def _figures(measured: Measurements | None) -> dict[str, Any]:
    if measured is None:
        return {}
    score, latency = measured.score, measured.latency
    return {
        "digest": measured.digest,
        "size_bytes": measured.size_bytes,
        "size_compressed_bytes": measured.size_compressed_bytes,
        "metric": score.metric if score else None,
        "accuracy": score.value if score and math.isfinite(score.value) else None,
        "latency_median_ns": latency.median_ns,
        "latency_ratio": latency.ratio_to_reference,
        "memory_peak_bytes": measured.memory.peak_bytes,
        "delegated": measured.placement.delegated,
    }


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        table = parse_json(line, where=HISTORY)
    except UsageError:
        return None
    is_ours = isinstance(table, dict) and isinstance(table.get("name"), str) and "utc" in table
    return table if is_ours else None


def _repair(path: Path, good: list[bytes], bad: list[bytes]) -> None:
    """First what is damaged is safe, then the file is replaced."""
    damaged = path.with_name(f"{path.name}.damaged")
    if bad:
        with disk_errors("history", damaged), damaged.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in bad))
            file.flush()
            os.fsync(file.fileno())
    with replacing(path) as temporary:
        temporary.write_bytes(b"".join(line + b"\n" for line in good))


def _lines(lines: list[bytes]) -> str:
    return "1 line was" if len(lines) == 1 else f"{len(lines)} lines were"
