"""The training part of the four outputs."""

from __future__ import annotations

import json as stdlib_json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from training_steps import curve, training_step

from edgekit.core.report import Report
from edgekit.core.training import BEFORE_LOSS, BEFORE_METRIC, Curve, Epoch
from edgekit.reporters import html, json, markdown, terminal
from edgekit.reporters._curves import curve_plots
from edgekit.reporters._training import training_table

Make = Callable[..., Report]

RULES = stdlib_json.loads(
    (Path(__file__).parents[3] / "docs/report.schema.json").read_text(encoding="utf-8")
)
LINE = "prune: 4 epochs, kept epoch 4: loss 0.0404, accuracy 99.0 % on select"


def drawings(report: Report) -> list[ElementTree.Element]:
    """The drawings of trainings, without those of every report."""
    found = re.findall(r"<svg.*?</svg>", html.render(report), flags=re.S)
    roots = [ElementTree.fromstring(drawing) for drawing in found]
    return [root for root in roots if root.get("aria-label", "").startswith("Training")]


def test_one_line_says_what_a_training_step_did(trained_report: Report) -> None:
    assert f"\n  training    {LINE}\n" in terminal.render(trained_report)
    assert f"\n## Training\n\n- {LINE}\n" in markdown.render(trained_report)
    assert f"<li>step 1, {LINE}</li>" in html.render(trained_report)


def test_line_says_what_a_training_began_with(trained: Make) -> None:
    began = {BEFORE_LOSS: 0.1234, BEFORE_METRIC: 0.875}
    found = terminal.render(trained(training_step(replace(curve(), details=began))))
    assert f"training    {LINE} (87.5 % before)\n" in found
    found = terminal.render(trained(training_step(replace(curve(metric=""), details=began))))
    assert "on select (87.5 % before)" not in found
    began = {BEFORE_LOSS: 0.1234}
    found = terminal.render(trained(training_step(replace(curve(metric=""), details=began))))
    assert "loss 0.0404 on select (0.123 before)\n" in found


def test_second_training_step_has_a_line_of_its_own(trained: Make) -> None:
    report = trained(training_step(curve()), training_step(curve(metric=""), name="cluster"))
    lines = terminal.render(report).splitlines()
    first = next(i for i, row in enumerate(lines) if row.startswith("  training"))
    assert lines[first + 1] == (
        "              cluster: 4 epochs, kept epoch 4: loss 0.0404 on select"
    )


def test_step_with_many_trainings_says_how_the_last_one_ended(trained: Make) -> None:
    curves = (curve(2, title="round 1"), curve(3, title="round 2"))
    assert (
        "training    prune: 2 trainings, 5 epochs; the last one kept epoch 3: loss 0.0654, "
        "accuracy 98.4 % on select"
    ) in terminal.render(trained(training_step(*curves)))


def test_nothing_is_said_of_training_where_nothing_was_trained(report: Report) -> None:
    assert "training" not in terminal.render(report)
    assert "Training" not in markdown.render(report)
    assert "<h2>Training" not in html.render(report)


def test_json_has_every_epoch_and_keeps_to_the_schema(trained_report: Report) -> None:
    facts = stdlib_json.loads(json.render(trained_report))
    jsonschema.Draft202012Validator(RULES).validate(facts)
    (found,) = facts["steps"][0]["curves"]
    assert list(found) == ["title", "metric", "best_epoch", "details", "epochs"]
    assert [len(found["epochs"]), found["best_epoch"]] == [4, 4]
    assert list(found["epochs"][0]) == (
        ["loss", "metric", "select_loss", "select_metric", "seconds", "others"]
    )
    assert facts["steps"][1]["curves"] == []


@pytest.mark.parametrize("key", ["curves", "epochs", "best_epoch", "select_loss"])
def test_schema_refuses_a_curve_that_lacks_a_key(trained_report: Report, key: str) -> None:
    facts = stdlib_json.loads(json.render(trained_report))
    step = facts["steps"][0]
    for place in (step, step["curves"][0], step["curves"][0]["epochs"][0]):
        if key in place:
            del place[key]
            break
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(RULES).validate(facts)


def test_missing_and_non_finite_figures_are_null(trained: Make) -> None:
    epoch = Epoch(math.inf, None, math.nan, None, 1.0, {"own": math.nan})
    report = trained(training_step(Curve("x", "", (epoch,), 1)))
    facts = stdlib_json.loads(json.render(report))
    jsonschema.Draft202012Validator(RULES).validate(facts)
    (found,) = facts["steps"][0]["curves"][0]["epochs"]
    assert [found[key] for key in ("loss", "metric", "select_loss", "select_metric")] == [None] * 4
    assert found["others"] == {"own": None}


def test_each_training_is_drawn_with_the_kept_epochs_values(trained: Make) -> None:
    report = trained(training_step(curve(), curve(1, title="again", metric="")))
    first, second = drawings(report)
    texts = ["".join(root.itertext()) for root in (first, second)]
    assert "loss: select 0.0404, train 0.0202" in texts[0]
    assert "accuracy: select 99.0 %, train 99.3 %" in texts[0]
    assert "accuracy" not in texts[1]
    assert second.get("aria-label") == (
        "Training of step 1 prune: again: 1 epoch in 3.1 s, kept epoch 1."
    )


def test_axis_has_no_epoch_zero(trained: Make) -> None:
    (root,) = drawings(trained(training_step(curve(150, metric=""))))
    ticks = [text.strip() for text in root.itertext() if re.fullmatch(r"\s*\d+\s*", text)]
    assert ticks[:7] == ["1", "25", "50", "75", "100", "125", "150"]


def test_long_training_is_a_line_and_stays_small(trained: Make) -> None:
    text = html.render(trained(training_step(curve(400))))
    assert len(text.encode()) < 120_000


def test_loss_that_falls_far_has_a_logarithmic_axis(trained: Make) -> None:
    far = replace(curve(), epochs=(Epoch(90.0, 0.1, 80.0, 0.1, 1.0), *curve().epochs))
    assert "Logarithmic loss axis." in html.render(trained(training_step(far)))
    assert "Logarithmic" not in html.render(trained(training_step(curve())))


def test_of_very_many_trainings_the_last_are_drawn_and_all_are_in_the_table(trained: Make) -> None:
    curves = tuple(curve(2, title=f"round {number}") for number in range(1, 15))
    report = trained(training_step(*curves))
    text = html.render(report)
    labels = [root.get("aria-label", "") for root in drawings(report)]
    assert len(labels) == 12
    assert "round 3:" in labels[0]
    assert "; the last 12 are drawn</li>" in text
    assert "<summary>The kept and the last epoch of every training</summary>" in text
    assert all(f">round {number}</td>" in text for number in range(1, 15))


def test_table_has_the_kept_and_the_last_epoch(trained: Make) -> None:
    text = html.render(trained(training_step(replace(curve(), best_epoch=2))))
    assert ">2 of 4, kept</td>" in text
    assert ">4 of 4, last</td>" in text
    assert ">f1 0.9</td>" in text


def test_figures_that_cannot_be_drawn_break_nothing(trained: Make) -> None:
    lost = Epoch(math.nan, None, math.inf, None, 0.0)
    odd = (Curve("none", "accuracy", (lost,), 7), Curve("no epochs", "", (), 1))
    report = trained(training_step(*odd))
    assert len(drawings(report)) == 1
    assert "none of them kept" in terminal.render(report)
    assert "none of them kept" in html.render(report)
    markdown.render(report)


def test_names_in_a_curve_are_text(trained: Make) -> None:
    hostile = "<script>$\\frac|`\x1b[2J"
    named = replace(curve(title=hostile, metric=hostile), details={hostile: {hostile: None}})
    text = html.render(trained(training_step(named)))
    assert "<script>" not in text
    assert "\x1b" not in text + terminal.render(trained(training_step(named)))


FLOATS = st.none() | st.floats()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.tuples(st.floats(), FLOATS, st.floats(), FLOATS), max_size=3),
    best=st.integers(-1, 6),
)
def test_any_figures_give_a_report(
    trained: Make, rows: list[tuple[float, float | None, float, float | None]], best: int
) -> None:
    epochs = tuple(Epoch(*row, seconds=1.0) for row in rows)
    report = trained(training_step(Curve("t", "accuracy", epochs, best)))
    for reporter in (terminal, json, markdown):
        assert reporter.render(report)
    assert len(curve_plots(report)) == bool(rows)
    assert bool(training_table(report).rows) == bool(rows)
