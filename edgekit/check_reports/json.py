"""result.json for programs: versioned, see docs/check-result.schema.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from edgekit.check_reports._values import difference_text
from edgekit.check_reports._wording import (
    finding_text,
)
from edgekit.core.gate import CheckRow, Finding, GateResult, RowResult
from edgekit.core.measurement import Measurements
from edgekit.drawing.words import file_name

__all__ = ["SCHEMA", "SUFFIX", "render"]

SUFFIX = "result.json"

SCHEMA: Final = "edgekit-check/1"
"""The version of `result.json`; docs/check-result.schema.json describes it."""


def render(result: GateResult) -> str:
    """Returns strict JSON: no NaN or Infinity (they become null), no absolute path of ours."""
    facts = {
        "schema": SCHEMA,
        "exit_code": result.exit_code,
        "edgekit_version": result.edgekit_version,
        "started_utc": result.started_utc,
        "project_file": file_name(result.project_file),
        "machine": result.machine,
        "rows": [_row(row) for row in result.rows],
        "notes": result.notes,
    }
    return json.dumps(_plain(facts), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _row(result: RowResult) -> dict[str, Any]:
    report = result.report
    measured = result.measured or (report.result if report else None)
    return {
        **_names(result.row),
        "status": result.status,
        "error": result.error,
        "hint": result.hint,
        "skipped": result.skipped,
        "seconds": result.seconds,
        "findings": [_finding(finding, result.row) for finding in result.findings],
        "notes": result.notes,
        "measured": _measurements(measured) if measured else None,
        "reference": _measurements(report.reference) if report else None,
    }


def _names(row: CheckRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "model": file_name(row.model),
        "recipe": row.recipe,
        "reference_model": file_name(row.reference),
        "target": row.target,
        "data": file_name(row.data),
        "on": row.on,
        "seed": row.seed,
        "required": row.required,
    }


def _finding(finding: Finding, row: CheckRow) -> dict[str, Any]:
    return {
        **{item.name: getattr(finding, item.name) for item in fields(finding)},
        "source": file_name(finding.source),
        "baseline_file": file_name(finding.baseline_file),
        "difference": difference_text(finding),
        "sentence": finding_text(finding, row),
    }


def _measurements(measured: Measurements) -> dict[str, Any]:
    """The figures without the raw samples, which the report of the row has."""
    score, latency, memory = measured.score, measured.latency, measured.memory
    return {
        "digest": measured.digest,
        "size_bytes": measured.size_bytes,
        "size_compressed_bytes": measured.size_compressed_bytes,
        "metric": score.metric if score else None,
        "accuracy": score.value if score else None,
        "accuracy_ci95": score.ci95 if score else None,
        "samples": score.n if score else None,
        "latency_kind": latency.kind,
        "latency_median_ns": latency.median_ns,
        "latency_ratio": latency.ratio_to_reference,
        "latency_ratio_ci95": latency.ratio_ci95,
        "latency_reason": latency.reason,
        "memory_kind": memory.kind,
        "memory_peak_bytes": memory.peak_bytes,
        "memory_reason": memory.reason,
        "delegated": measured.placement.delegated,
    }


def _plain(value: Any) -> Any:
    """Turns frozen values, mappings and tuples into what JSON has; a non-finite float is null."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return _plain({item.name: getattr(value, item.name) for item in fields(value)})
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
