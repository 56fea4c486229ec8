"""What a report measured of a model, as far as a bundle of that very model may say it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.bundle import Accuracy, Latency, Memory, Metrics
from edgekit.engine.bundle_golden import travelling_name
from edgekit.errors import UsageError
from edgekit.text import clean

__all__ = ["ReportFacts", "facts_in", "facts_of"]

_MOST_BYTES = 100_000_000


@dataclass(frozen=True)
class ReportFacts:
    """Of a report: what its model is called, its target and task, and what was measured."""

    name: str
    target: str
    task: str | None
    metrics: Metrics


def facts_in(folder: Path) -> ReportFacts | None:
    """What stands in the report.json of a folder that compress wrote; None without one.

    Raises:
        UsageError: it is no report.
    """
    path = folder / "report.json"
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError
        return facts_of(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
        raise UsageError(
            f"{path}: is no report of edgekit's", hint="name the model instead of the folder"
        ) from None


def facts_of(report: Mapping[str, Any]) -> ReportFacts:
    """What a bundle takes from a report as `report.json` has it."""
    result, machine, data = report["result"], report["machine"], report["data"]
    metrics = Metrics(
        digest=str(result["digest"]),
        accuracy=_accuracy(result["accuracy"]),
        latency=_latency(result["latency"], machine),
        memory=_memory(result["memory"], machine),
        size_bytes=int(result["size_bytes"]),
        data=travelling_name(str(data["name"])) if data else None,
    )
    task = str(data["task"]) if data and data["task"] else None
    return ReportFacts(clean(report["model"]["name"]), clean(report["target"]), task, metrics)


def _accuracy(score: Mapping[str, Any] | None) -> Accuracy | None:
    if score is None or score["value"] is None or None in score["ci95"]:
        return None
    low, high = (float(value) for value in score["ci95"])
    return Accuracy(clean(score["metric"]), float(score["value"]), (low, high), int(score["n"]))


def _latency(latency: Mapping[str, Any], machine: Mapping[str, Any]) -> Latency | None:
    """Only what was measured: an estimate or an emulator's figure is of another kind."""
    if latency["kind"] != "measured" or latency["median_ns"] is None:
        return None
    threads = int(latency["threads"])
    where = f"{_machine(machine)}, {threads} thread{'' if threads == 1 else 's'}"
    return Latency(int(latency["median_ns"]), where)


def _memory(memory: Mapping[str, Any], machine: Mapping[str, Any]) -> Memory | None:
    if memory["kind"] != "measured" or memory["peak_bytes"] is None:
        return None
    return Memory(int(memory["peak_bytes"]), f"{_machine(machine)}, a fresh process")


def _machine(machine: Mapping[str, Any]) -> str:
    return clean(machine.get("cpu") or machine.get("architecture") or "an unknown machine")
