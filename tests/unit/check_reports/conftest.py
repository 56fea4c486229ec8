"""The runs of check_runs.py as fixtures, and the comparison with golden files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from check_runs import RUNS, hostile

from edgekit.core.gate import GateResult

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(params=sorted(RUNS))
def any_run(request: pytest.FixtureRequest) -> GateResult:
    return RUNS[request.param]()


@pytest.fixture
def failed_run() -> GateResult:
    return RUNS["fail"]()


@pytest.fixture
def hostile_run() -> GateResult:
    return hostile()


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compares a text with tests/golden/NAME; EDGEKIT_UPDATE_GOLDEN=1 writes it instead."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if os.environ.get("EDGEKIT_UPDATE_GOLDEN") == "1":
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"see tests/golden/README.md: {name}"

    return compare
