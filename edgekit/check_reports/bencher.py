"""Figures in the Bencher Metric Format: benchmarks are rows, measures are figures."""

from __future__ import annotations

import json
import math

from edgekit.check_reports._figures import Figure, figures
from edgekit.check_reports._wording import row_name
from edgekit.core.gate import GateResult

__all__ = ["SUFFIX", "render"]

SUFFIX = "bencher.json"


def render(result: GateResult) -> str:
    """Returns the JSON object; a row that was not measured is not in it."""
    found = {
        row_name(row): {figure.slug: _metric(figure) for figure in found}
        for row in result.rows
        if (found := figures(row))
    }
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _metric(figure: Figure) -> dict[str, float]:
    metric = {"value": figure.value}
    if figure.interval is not None and all(math.isfinite(end) for end in figure.interval):
        low, high = figure.interval
        metric |= {"lower_value": low, "upper_value": high}
    return metric
