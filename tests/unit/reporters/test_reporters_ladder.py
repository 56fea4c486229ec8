"""What was tried to keep a promise, in every report; and weights that quantizers renamed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from edgekit.core.data import Score
from edgekit.core.ladder import Climb, RungRecord
from edgekit.core.measurement import Latency
from edgekit.core.report import Report
from edgekit.reporters import html, markdown, terminal
from edgekit.reporters import json as json_reporter
from edgekit.reporters._layers import largest

FLOAT = Score("accuracy", 0.98, (0.97, 0.99), 200)
SLOW = Latency("measured", ratio_to_reference=1.3, ratio_ci95=(1.2, 1.4))
RUNGS = (
    RungRecord("all ops", "failed", "quantize: the op x has no form"),
    RungRecord(
        "core only",
        "breaks",
        "max_accuracy_drop",
        {"scheme": "int8"},
        "0" * 64,
        900,
        0.3,
        replace(FLOAT, value=0.95),
        0.03,
        0.051,
        SLOW,
    ),
    RungRecord(
        "gentle", "holds", "", {}, "1" * 64, 950, 0.31, replace(FLOAT, value=0.981), -0.001, 0.004
    ),
    RungRecord("float16", "not tried", "an earlier one was taken"),
)


@pytest.fixture
def climbed(report: Report) -> Report:
    return replace(report, ladder=Climb("quantize", 200, FLOAT, RUNGS, "gentle"))


def test_the_terminal_has_a_line_for_each_that_was_tried(climbed: Report) -> None:
    lines = terminal.render(climbed).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("  ladder"))
    assert [line[10:].strip() for line in lines[start : start + 3]] == [
        "1 all ops: failed (quantize: the op x has no form)",
        "2 core only: breaks (size 0.30x, drop 3.0 pt (at most 5.1), latency 1.30x (slower))",
        "3 gentle: holds, taken (size 0.31x, drop -0.1 pt (at most 0.4))",
    ]
    assert "float16" not in "".join(lines[start : start + 4])


def test_the_pages_have_all_of_it(climbed: Report) -> None:
    text = markdown.render(climbed)
    assert "Decided on 200 samples of the select split" in text
    assert "| float |  | 98.0 % |" in text
    assert "| core only | 900 B (0.30x) | 95.0 % | 3.0 pt (at most 5.1) | 1.30x (slower) |" in text
    assert "not tried" in text
    assert "Ladder" in html.render(climbed)


def test_a_ladder_that_was_not_judged(report: Report) -> None:
    rungs = (replace(RUNGS[2], score=None, drop=None, drop_bound=None), RUNGS[3])
    text = markdown.render(replace(report, ladder=Climb("quantize", 0, None, rungs, "gentle")))
    assert "Not decided: nothing could be judged." in text
    assert "not judged, taken" in text


def test_a_metric_that_is_no_share(report: Report) -> None:
    score = replace(FLOAT, is_share=False, value=1.25)
    rung = replace(RUNGS[2], score=score, drop=0.125, drop_bound=0.2)
    text = markdown.render(replace(report, ladder=Climb("quantize", 9, score, (rung,), "gentle")))
    assert "| 0.125 |" in text


def test_json_follows_the_schema(climbed: Report) -> None:
    schema = Path(__file__).parents[3] / "docs" / "report.schema.json"
    found = json.loads(json_reporter.render(climbed))
    jsonschema.validate(found, json.loads(schema.read_text(encoding="utf-8")))
    assert found["ladder"]["taken"] == "gentle"
    assert found["ladder"]["rungs"][1]["latency_ratio"] == 1.3
    assert found["ladder"]["rungs"][1]["drop_bound"] == 0.051


def test_weights_that_were_renamed_stand_beside_their_own(report: Report) -> None:
    weight = replace(report.reference_description.weights[0], name="w", size_bytes=10**6)
    renamed = [
        replace(weight, name=name, dtype="int8", size_bytes=10**5)
        for name in ("w_quantized", "ConvBnFusion_W_v_quantized", "other_quantized")
    ]
    before = replace(
        report.reference_description, weights=(weight, replace(weight, name="v", size_bytes=10**6))
    )
    after = replace(report.result_description, weights=tuple(renamed))
    found, _ = largest(replace(report, reference_description=before, result_description=after), 9)
    pairs = {layer.name: (layer.reference_bytes, layer.result_bytes) for layer in found}
    assert pairs == {
        "w": (10**6, 10**5),
        "v": (10**6, 10**5),
        "other_quantized": (None, 10**5),
    }
