"""report.json for programs: versioned, see docs/report.schema.json."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

from edgekit.core.artifact import Artifact
from edgekit.core.data import Judgement
from edgekit.core.description import Description
from edgekit.core.ladder import Climb, RungRecord
from edgekit.core.measurement import Measurements
from edgekit.core.report import SCHEMA, DataFacts, Report, StepRecord
from edgekit.core.training import Curve
from edgekit.reporters._settings import without_folders
from edgekit.reporters._wording import file_name

__all__ = ["SUFFIX", "render"]

SUFFIX = ".json"

_NUMBERS = re.compile(r"\[\n\s+((?:-?[\d.eE+-]+|null)(?:,\n\s+(?:-?[\d.eE+-]+|null))*)\n\s*\]")


def render(report: Report) -> str:
    """Returns strict JSON: no NaN or Infinity (they become null), no absolute path."""
    facts = {
        "schema": SCHEMA,
        "status": report.status,
        "title": report.title,
        "model": _artifact(report.source),
        "recipe": report.recipe,
        "target": report.target,
        "seed": report.seed,
        "edgekit_version": report.edgekit_version,
        "machine": report.machine,
        "steps": [_step(step) for step in report.steps],
        "reference": _model(
            report.reference_artifact, report.reference, report.reference_description, None
        ),
        "result": _model(
            report.result_artifact, report.result, report.result_description, report.judgement
        ),
        "data": _data(report.data) if report.data else None,
        "verdicts": [
            {**_fields(verdict), "source": file_name(verdict.source)} for verdict in report.verdicts
        ],
        "skipped": report.skipped,
        "evidence": report.evidence,
        "ladder": _ladder(report.ladder) if report.ladder else None,
        "command": report.command,
        "seconds": report.seconds,
    }
    text = json.dumps(_plain(facts), indent=2, ensure_ascii=False, allow_nan=False)
    return _NUMBERS.sub(_on_one_line, text) + "\n"


def _artifact(artifact: Artifact) -> dict[str, Any]:
    return {
        "path": artifact.path.name,
        "format": artifact.format,
        "digest": artifact.digest,
        "name": artifact.name,
        "made_by": artifact.made_by,
        "scaling": artifact.scaling,
    }


def _step(step: StepRecord) -> dict[str, Any]:
    return {
        "technique": step.name,
        "kind": step.kind,
        "format": step.format,
        "params": without_folders(step.parameters),
        "digest": step.digest,
        "size_bytes": step.size_bytes,
        "seconds": step.seconds,
        "cached": step.cached,
        "notes": step.notes,
        "curves": [_curve(curve) for curve in step.curves],
    }


def _ladder(climb: Climb) -> dict[str, Any]:
    return {**_fields(climb), "rungs": [_rung(rung) for rung in climb.rungs]}


def _rung(rung: RungRecord) -> dict[str, Any]:
    """Of the latency the ratio alone: it is too short a measurement for more."""
    latency = rung.latency
    return {
        **{name: value for name, value in _fields(rung).items() if name != "latency"},
        "parameters": without_folders(rung.parameters),
        "latency_ratio": latency.ratio_to_reference if latency else None,
        "latency_ratio_ci95": latency.ratio_ci95 if latency else None,
    }


def _curve(curve: Curve) -> dict[str, Any]:
    return {
        "title": curve.title,
        "metric": curve.metric,
        "best_epoch": curve.best_epoch,
        "details": without_folders(curve.details),
        "epochs": curve.epochs,
    }


def _model(
    artifact: Artifact,
    measured: Measurements,
    description: Description,
    judgement: Judgement | None,
) -> dict[str, Any]:
    """One shape for reference and result; what compares the two is null in the reference."""
    return {
        "path": artifact.path.name,
        "format": artifact.format,
        "digest": measured.digest,
        "size_bytes": measured.size_bytes,
        "size_compressed_bytes": measured.size_compressed_bytes,
        "bytes_by": dict(description.bytes_by),
        "inputs": description.signature.inputs,
        "outputs": description.signature.outputs,
        "weights": description.weights,
        "ops": description.op_counts,
        "parameters": description.parameters,
        "macs": description.macs,
        "notes": description.notes,
        "accuracy": measured.score,
        "agreement": judgement.agreement if judgement else None,
        "flips": _flips(judgement),
        "smallest_visible_drop": judgement.smallest_visible_drop if judgement else None,
        "p_worse": judgement.p_worse if judgement else None,
        "latency": measured.latency,
        "memory": measured.memory,
        "placement": measured.placement,
        "figures": measured.figures,
    }


def _flips(judgement: Judgement | None) -> dict[str, int] | None:
    if judgement is None or judgement.right_to_wrong is None or judgement.wrong_to_right is None:
        return None
    return {
        "right_to_wrong": judgement.right_to_wrong,
        "wrong_to_right": judgement.wrong_to_right,
    }


def _data(data: DataFacts) -> dict[str, Any]:
    return {**_fields(data), "name": file_name(data.name)}


def _fields(value: Any) -> dict[str, Any]:
    return {item.name: getattr(value, item.name) for item in fields(value)}


def _plain(value: Any) -> Any:
    """Turns frozen values, mappings and tuples into what JSON has; a non-finite float is null."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(_fields(value))
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, PurePath):
        return file_name(str(value))
    item = getattr(value, "item", None)
    return _plain(item()) if callable(item) and getattr(value, "ndim", 1) == 0 else str(value)


def _on_one_line(match: re.Match[str]) -> str:
    """Puts an array of numbers on one line: hundreds of samples are one value, not a page."""
    return f"[{', '.join(part.strip() for part in match[1].split(','))}]"
