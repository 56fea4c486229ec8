"""Figures that github-action-benchmark reads as `customSmallerIsBetter`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from edgekit.check_reports._figures import Figure, figures
from edgekit.check_reports._wording import about, row_name, safe
from edgekit.core.gate import GateResult, RowResult

__all__ = ["SUFFIX", "render"]

SUFFIX = "github-action-benchmark.json"


def render(result: GateResult) -> str:
    """Returns the JSON array; a row that was not measured has no entry."""
    found = [entry for row in result.rows for entry in _entries(row, result.edgekit_version)]
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _entries(result: RowResult, version: str) -> Iterator[dict[str, Any]]:
    extra = f"{about(result.row)}\nedgekit {safe(version)}"
    for figure in figures(result):
        smaller = _smaller(figure)
        if smaller is not None:
            entry: dict[str, Any] = {
                "name": f"{row_name(result)} / {safe(smaller.name)}",
                "unit": smaller.unit,
                "value": smaller.value,
            }
            if smaller.interval is not None:
                low, high = smaller.interval
                entry["range"] = f"{low:.6g} to {high:.6g}"
            yield {**entry, "extra": extra}


def _smaller(figure: Figure) -> Figure | None:
    """A share of which more is better as what is missing to 100 %; another one has no such form."""
    if figure.smaller:
        return figure
    if figure.unit != "%":
        return None
    ends = figure.interval
    interval = (_missing(ends[1]), _missing(ends[0])) if ends else None
    value = _missing(figure.value)
    return Figure(figure.slug, f"100 % - {figure.name}", "%", value, interval=interval)


def _missing(value: float) -> float:
    return round(100.0 - value, 9)
