"""Code-quality findings that GitLab shows in a merge request."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from edgekit.check_reports._problems import Problem, problems
from edgekit.check_reports._wording import project_path, safe
from edgekit.core.gate import GateResult

__all__ = ["SUFFIX", "render"]

SUFFIX = "gl-code-quality-report.json"

_SEVERITIES: Final = {
    "fail": "critical",
    "unmeasured": "major",
    "skipped": "info",
    "improved": "info",
}


def render(result: GateResult) -> str:
    """Returns the JSON array; empty where everything passed."""
    path = project_path(result)
    found = [_finding(problem, path) for problem in problems(result)]
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _finding(problem: Problem, path: str) -> dict[str, Any]:
    return {
        "description": f"{safe(problem.row)}: {problem.text}",
        "check_name": f"edgekit/{safe(problem.check)}",
        "fingerprint": _fingerprint(problem),
        "severity": _SEVERITIES[problem.status],
        "location": {"path": path, "lines": {"begin": 1}},
    }


def _fingerprint(problem: Problem) -> str:
    """The same while a row and metric stay: GitLab tells by it what a change made or mended."""
    key = "\0".join(("edgekit", problem.row, problem.check, problem.source))
    return hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()[:32]
