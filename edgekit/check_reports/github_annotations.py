"""Annotations that GitHub shows beside a change: ten at most, worst first."""

from __future__ import annotations

from typing import Final

from edgekit.check_reports._problems import Problem, problems
from edgekit.check_reports._wording import project_path
from edgekit.core.gate import GateResult

__all__ = ["SUFFIX", "render"]

SUFFIX = ""
"""Printed, not written to a file: the runner reads them from the job's log."""

_MOST: Final = 10
"""GitHub shows as many of a step and drops the others."""
_COMMANDS: Final = {
    "fail": "error",
    "unmeasured": "error",
    "skipped": "warning",
    "improved": "notice",
}


def render(result: GateResult) -> str:
    """Returns a line an annotation; where there are more than ten, the last one says how many."""
    found = problems(result)
    shown = found if len(found) <= _MOST else found[: _MOST - 1]
    file = project_path(result)
    lines = [_line(_COMMANDS[problem.status], file, problem) for problem in shown]
    left = found[len(shown) :]
    if left:
        command = _COMMANDS[left[0].status]
        lines.append(_annotation(command, file, "edgekit check", f"and {len(left)} more"))
    return "".join(f"{line}\n" for line in lines)


def _line(command: str, file: str, problem: Problem) -> str:
    return _annotation(command, file, problem.title, problem.text)


def _annotation(command: str, file: str, title: str, text: str) -> str:
    return f"::{command} file={_property(file)},line=1,title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    """Escaped as GitHub's own toolkit does; `%` first, or the others would be escaped twice."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
