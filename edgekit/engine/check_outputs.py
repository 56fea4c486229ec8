"""Where the result of a check goes: files, the job's summary, lines for the log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edgekit.core import catalog
from edgekit.core.gate import GateResult
from edgekit.engine.files import disk_errors
from edgekit.frameworks.files import replacing

__all__ = ["FAMILY", "publish", "write_outputs"]

FAMILY = "check_reports"

_SUMMARY = "GITHUB_STEP_SUMMARY"
_SUMMARY_MODULE = "markdown"
_ACTIONS = "GITHUB_ACTIONS"
_LOG_MODULE = "github-annotations"


def write_outputs(result: GateResult, out: Path) -> tuple[Path, ...]:
    """Renders every output first, then writes each in one go; returns the files.

    Raises:
        UsageError: the folder cannot be written.
    """
    texts = {}
    for name in catalog.names(FAMILY):
        module = catalog.load(FAMILY, name)
        if module.SUFFIX:
            texts[out / module.SUFFIX] = module.render(result)
    with disk_errors("--out", out):
        out.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
                temporary.chmod(0o644)
    return tuple(texts)


def publish(result: GateResult, environment: Mapping[str, str] = os.environ) -> str:
    """Adds the Markdown to GitHub's summary of the job; returns what its log should show.

    Raises:
        UsageError: the summary cannot be written.
    """
    summary = environment.get(_SUMMARY)
    if summary:
        text = catalog.load(FAMILY, _SUMMARY_MODULE).render(result)
        with disk_errors(_SUMMARY, Path(summary)), open(summary, "a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    if environment.get(_ACTIONS) != "true":
        return ""
    lines: str = catalog.load(FAMILY, _LOG_MODULE).render(result)
    return lines
