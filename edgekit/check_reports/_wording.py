"""Words that every output of a check shares: metrics, values, the sentence of a finding."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final, Literal

from edgekit.check_reports._values import difference_text, threshold_text, value_text
from edgekit.core.gate import CheckRow, Finding, FindingStatus, GateResult, RowResult
from edgekit.drawing.words import count, file_name
from edgekit.text import clean

__all__ = [
    "WORDS",
    "RowStatus",
    "about",
    "error_text",
    "finding_text",
    "heading",
    "label",
    "project_path",
    "row_name",
    "safe",
    "short_source",
    "source_text",
]

RowStatus = Literal["pass", "fail", "unmeasured", "skipped"]

WORDS: Final[Mapping[RowStatus | FindingStatus, str]] = {
    "pass": "ok",
    "fail": "FAIL",
    "unmeasured": "unmeasured",
    "improved": "improved",
    "skipped": "skipped",
}
"""What an ending is called; the words differ in more than colour."""

_LABELS: Final = {
    "max_size": "size",
    "max_compressed_ratio": "compressed",
    "max_accuracy_drop": "accuracy drop",
    "worst_class_drop": "worst class drop",
    "min_p_worse": "significance",
    "min_agreement": "agreement",
    "min_delegated": "placement",
    "max_latency": "latency",
    "max_latency_ratio": "latency ratio",
    "max_memory": "memory",
    "delegated": "placement",
    "broken_promises": "broken promises",
}


def safe(text: object, *, most: int = 80) -> str:
    """Makes a text that came from a file or a user fit to print, in a CI's log too.

    GitHub's runner reads `##[command]` anywhere in a line as an order to itself.
    """
    return clean(text, most=most).replace("##[", "# #[")


def row_name(result: RowResult) -> str:
    """The row's name, fit to print."""
    return safe(result.row.name)


def about(row: CheckRow) -> str:
    """Writes 'kws.keras · qat-int8 · cpu-litert · npz:data/kws.npz'."""
    parts = (file_name(row.model), row.recipe, row.target, file_name(row.data), row.on)
    return " · ".join(safe(part, most=120) for part in parts if part)


def heading(result: GateResult) -> str:
    """Writes '3 rows: 1 FAIL, 1 unmeasured, 1 ok'."""
    order: tuple[RowStatus, ...] = ("fail", "unmeasured", "skipped", "pass")
    found = [row.status for row in result.rows]
    parts = [f"{found.count(status)} {WORDS[status]}" for status in order if status in found]
    return f"{count(len(found), 'row')}{': ' if parts else ''}{', '.join(parts)}"


def project_path(result: GateResult) -> str:
    """The project's file as a CI finds it in the repository: relative, `edgekit.toml` at least."""
    path = PurePosixPath(file_name(result.project_file) or "edgekit.toml")
    return safe(path, most=200)


def label(finding: Finding) -> str:
    """The metric as people call it; one that this module has not met keeps its own name."""
    return _LABELS.get(finding.metric, safe(finding.metric.replace("_", " ")))


def source_text(finding: Finding) -> str:
    """The file and the key to edit: "edgekit.toml: check 'kws': max_size"."""
    return safe(file_name(finding.source), most=200)


def short_source(finding: Finding, row: CheckRow) -> str:
    """The same where the row is named already: 'edgekit.toml: max_size'."""
    return source_text(finding).replace(f": check '{safe(row.name)}'", "")


def finding_text(finding: Finding, row: CheckRow) -> str:
    """One line: metric, value, limit or baseline, difference, why, and what to edit."""
    if finding.status == "unmeasured" or finding.value is None:
        return _unmeasured(finding)
    parts = (value_text(finding), threshold_text(finding), difference_text(finding))
    reason = safe(finding.reason, most=400)
    said = ", ".join(part for part in parts if part) + (f" ({reason})" if reason else "")
    rest = {"fail": _to_accept, "improved": _to_tighten}.get(finding.status)
    return f"{label(finding)}: {said}{f'; {rest(finding, row)}' if rest else ''}"


def error_text(result: RowResult) -> str:
    """Why a row could not be measured or was skipped, and what to do."""
    reason = result.error or result.skipped
    hint = f" (hint: {safe(result.hint, most=400)})" if result.hint else ""
    return f"{safe(reason, most=400)}{hint}" if reason else ""


def _unmeasured(finding: Finding) -> str:
    reason = safe(finding.reason, most=400) or "no reason was given"
    held = threshold_text(finding)
    where = source_text(finding)
    against = f"; it is held against the {held}" if held else ""
    return f"{label(finding)}: could not be measured: {reason}{against}" + (
        f": measure it, or remove {where}" if where else ""
    )


def _to_accept(finding: Finding, row: CheckRow) -> str:
    if finding.kind == "limit":
        return f"to accept it, edit {source_text(finding)}"
    run = f"`{_accept(row)}`{_of_baseline(finding)}"
    return f"to accept it, run {run}, or edit {source_text(finding)}"


def _to_tighten(finding: Finding, row: CheckRow) -> str:
    if finding.kind == "limit":
        return f"tighten the limit: edit {source_text(finding)}"
    return f"tighten the limit: run `{_accept(row)}`{_of_baseline(finding)}"


def _accept(row: CheckRow) -> str:
    return f"edgekit check --accept {shlex.quote(safe(row.name))}"


def _of_baseline(finding: Finding) -> str:
    file = safe(file_name(finding.baseline_file), most=200)
    return f" (it rewrites {file})" if file else ""
