"""report.json and its schema."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jsonschema
import numpy as np
import pytest

from edgekit.core.report import SCHEMA, Report
from edgekit.reporters import json as reporter

ROOT = Path(__file__).parents[3]
RULES: dict[str, Any] = json.loads((ROOT / "docs/report.schema.json").read_text(encoding="utf-8"))


def check(facts: object) -> None:
    jsonschema.Draft202012Validator(RULES).validate(facts)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def strict(text: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return facts


def test_schema_is_itself_valid_and_has_the_version() -> None:
    jsonschema.Draft202012Validator.check_schema(RULES)
    assert RULES["properties"]["schema"]["const"] == SCHEMA


def test_every_report_keeps_to_the_schema(named_report: tuple[str, Report]) -> None:
    check(strict(reporter.render(named_report[1])))


def test_status_is_that_of_the_verdicts(named_report: tuple[str, Report]) -> None:
    name, report = named_report
    assert strict(reporter.render(report))["status"] == name


def test_unknown_and_missing_keys_break_the_schema(report: Report) -> None:
    facts = strict(reporter.render(report))
    for path in ((), ("result",), ("result", "latency"), ("model", "scaling"), ("data",)):
        for change in (lambda place: place.update(extra=1), lambda place: place.popitem()):
            broken = deepcopy(facts)
            place = broken
            for key in path:
                place = place[key]
            change(place)
            with pytest.raises(jsonschema.ValidationError):
                check(broken)


def test_non_finite_figures_become_null(report: Report) -> None:
    assert report.result.score is not None
    score = replace(report.result.score, value=math.nan, ci95=(-math.inf, math.inf))
    facts = strict(
        reporter.render(replace(report, result=replace(report.result, score=score), seconds={}))
    )
    assert facts["result"]["accuracy"]["value"] is None
    assert facts["result"]["accuracy"]["ci95"] == [None, None]
    check(facts)


def test_no_path_has_a_folder(report: Report) -> None:
    moved = tuple(
        replace(verdict, source="/home/somebody/limits.toml") for verdict in report.verdicts
    )
    text = reporter.render(replace(report, verdicts=moved))
    assert "/home" not in text
    assert "/tmp" not in text
    facts = strict(text)
    assert facts["model"]["path"] == "digits-cnn.keras"
    assert facts["verdicts"][0]["source"] == "limits.toml"


def test_what_compares_is_in_the_result_only(report: Report) -> None:
    facts = strict(reporter.render(report))
    keys = ("agreement", "flips", "smallest_visible_drop", "p_worse")
    assert [facts["reference"][key] for key in keys] == [None] * 4
    assert [facts["result"][key] for key in keys] == [
        *(0.9956, {"right_to_wrong": 1, "wrong_to_right": 1}, 0.0092, 0.75)
    ]


@dataclass(frozen=True)
class _Inner:
    ratio: float


def test_parameters_of_any_plain_kind_are_written(report: Report) -> None:
    parameters = MappingProxyType(
        {
            "share": np.float32(0.5),
            "inner": _Inner(math.inf),
            "names": frozenset({"b", "a"}),
            "file": Path("/home/me/x.npz"),
            "lone": "\ud800",
            "kind": complex(1, 2),
        }
    )
    step = replace(report.steps[1], parameters=parameters)
    facts = strict(reporter.render(replace(report, steps=(step,))))
    assert facts["steps"][0]["params"] == {
        "share": 0.5,
        "inner": {"ratio": None},
        "names": ["a", "b"],
        "file": "x.npz",
        "lone": "?",
        "kind": "(1+2j)",
    }


def test_samples_stand_on_one_line_and_read_back(report: Report) -> None:
    text = reporter.render(report)
    assert sum('"samples_ns": [' in row and row.endswith("],") for row in text.splitlines()) == 2
    assert strict(text)["result"]["latency"]["samples_ns"] == list(report.result.latency.samples_ns)
