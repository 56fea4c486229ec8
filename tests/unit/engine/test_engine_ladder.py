"""The ladder: which rung is tried, judged, taken; the technique is a stand-in."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
from litert_quantizer.utils.tfl_flatbuffer_utils import read_model

from edgekit.core.ladder import Rung
from edgekit.core.limits import Limits, SourcedLimits
from edgekit.core.plan import Plan, Step
from edgekit.core.recipe import Recipe
from edgekit.core.target import Target
from edgekit.engine import ladder, passes, steps
from edgekit.engine.bench import compare_latency
from edgekit.engine.cache import StepCache
from edgekit.engine.data import open_data
from edgekit.engine.ladder import climb
from edgekit.engine.models import describe, open_artifact
from edgekit.engine.steps import Run
from edgekit.engine.work import predict
from edgekit.errors import PromiseError, UsageError
from edgekit.runners.litert import Options

FORMAT = "tflite"


@dataclass(frozen=True)
class Noisy:
    """Adds noise to the weights: what a rung costs."""

    noise: float = 0.0
    skip: tuple[str, ...] = ()
    ladder: bool = True
    needs: Mapping[str, int] = field(default_factory=dict)


RUNGS = (Rung("all", Noisy(9.0)), Rung("fewer", Noisy(8.0), 0.5), Rung("none", Noisy(0.0)))


@dataclass
class StandIn:
    folder: Path
    rungs: tuple[Rung, ...] = RUNGS
    log: list[str] = field(default_factory=list)
    refuse: Callable[[Noisy], bool] = lambda parameters: False
    fail: Callable[[Noisy], bool] = lambda parameters: False

    def load(self, step: Step) -> Any:
        code = self.folder / "tflite.py"
        code.touch()
        return SimpleNamespace(
            __file__=str(code),
            check=self.check,
            apply=self.apply,
            verify=lambda *_: None,
            versions=dict,
            rungs=lambda parameters: self.rungs,
            rank=self.rank,
        )

    def check(self, parameters: Noisy, source: Any, models: Any) -> None:
        if self.refuse(parameters):
            raise UsageError(f"noise {parameters.noise} is refused", hint="less of it")

    def apply(self, parameters: Noisy, source: Any, work: Any) -> None:
        self.log.append(f"apply {parameters.noise} {parameters.skip}")
        assert not parameters.ladder
        if self.fail(parameters):
            raise PromiseError(f"noise {parameters.noise} failed")
        model, rng = read_model(source.path.read_bytes()), np.random.default_rng(0)
        for buffer in model.buffers:
            if buffer.data is not None and len(buffer.data) > 100:
                values = buffer.data.view(np.float32)
                noise = rng.normal(0, parameters.noise + 1e-6, values.shape)
                buffer.data = (values + noise).astype(np.float32).view(np.uint8)
        work.output.write_bytes(bytes(convert_object_to_bytearray(model)))

    def rank(self, parameters: Noisy, source: Any, work: Any) -> tuple[tuple[str, float], ...]:
        self.log.append("rank")
        return (("conv[0]", 2.0), ("dense*", 1.0), ("last", 0.5))


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    (tmp_path / "code").mkdir()
    made = StandIn(tmp_path / "code")
    monkeypatch.setattr(steps, "load_pass", made.load)
    monkeypatch.setattr(passes, "load_pass", made.load)
    monkeypatch.setattr(ladder, "_SECONDS", 0.02)
    return made


@pytest.fixture
def source(tiny_float: Path) -> Any:
    return open_artifact(tiny_float)


@pytest.fixture
def run(tmp_path: Path, source: Any) -> Run:
    """Data that the float model gets all right."""
    signature = describe(source).signature
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, *signature.inputs[0].sample_shape)).astype(np.float32)
    y = predict(source, (x,))[0].argmax(axis=1)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    data = open_data(f"npz:{tmp_path / 'd.npz'}", signature=signature)
    return Run(StepCache(tmp_path / "cache"), 0, data)


def plan(
    *parameters: Any, promise: Limits | None = None, runner: str = "litert", **options: Any
) -> Plan:
    limits = SourcedLimits(promise or Limits(max_accuracy_drop=0.01), "recipes/r.toml")
    none = SourcedLimits(Limits(), "targets/t.toml")
    made = tuple(Step("technique", "noise", FORMAT, FORMAT, each) for each in parameters)
    device = Target("t", "", FORMAT, runner, Options(), none)
    return Plan(FORMAT, Recipe("r", "", (), limits), device, made)


def test_the_first_rung_that_holds_is_taken(stand_in: StandIn, source: Any, run: Run) -> None:
    found = climb(run, plan(Noisy()), source, source)
    assert found.climb is not None
    first, second, third = found.climb.rungs
    assert [rung.status for rung in found.climb.rungs] == ["breaks", "breaks", "holds"]
    assert (first.reason, found.climb.taken) == ("max_accuracy_drop", "none")
    assert first.drop is not None
    assert first.drop > 0.01 > abs(third.drop or 0)
    assert first.score is not None
    assert first.score.n == found.climb.samples == run.data.split_sizes["select"]  # type: ignore[union-attr]
    assert first.size_ratio == pytest.approx(1, rel=0.1)
    assert first.latency is not None
    assert first.latency.ratio_to_reference
    assert found.climb.reference is not None
    assert found.climb.reference.value == 1
    assert found.result.digest == third.digest != first.digest
    assert found.plan.steps[0].parameters == Noisy(0.0, ladder=False)
    assert [record.parameters["noise"] for record in found.records] == [0.0]
    # The worst half of three ops, their names as patterns that match nothing else.
    assert second.parameters["skip"] == ("conv[[]0]", "dense[*]")
    assert stand_in.log.count("rank") == 1


def test_what_holds_at_once_ends_it(stand_in: StandIn, source: Any, run: Run) -> None:
    stand_in.rungs = (RUNGS[2], *RUNGS[:2])
    found = climb(run, plan(Noisy()), source, source)
    assert found.climb is not None
    assert [rung.status for rung in found.climb.rungs] == ["holds", "not tried", "not tried"]
    assert stand_in.log == ["apply 0.0 ()"]
    assert found.notes == ()


def test_a_ranking_is_found_once(stand_in: StandIn, source: Any, run: Run) -> None:
    climb(run, plan(Noisy()), source, source)
    again = Run(run.cache, 0, run.data)
    stand_in.log.clear()
    climb(again, plan(Noisy()), source, source)
    assert stand_in.log == []


def test_where_none_holds_the_smallest_drop_is_taken(
    stand_in: StandIn, source: Any, run: Run
) -> None:
    stand_in.rungs = (Rung("much", Noisy(9.0)), Rung("less", Noisy(0.3)), Rung("more", Noisy(5.0)))
    found = climb(run, plan(Noisy(), promise=Limits(min_agreement=1.0)), source, source)
    assert found.climb is not None
    assert {rung.status for rung in found.climb.rungs} == {"breaks"}
    assert found.climb.taken == "less"
    (note,) = [note for note in found.notes if note.what == "promise not kept"]
    assert "'less' has the smallest drop" in note.reason


def test_a_rung_that_fails_or_is_refused_is_on_record(
    stand_in: StandIn, source: Any, run: Run
) -> None:
    stand_in.refuse = lambda parameters: parameters.noise == 9.0
    stand_in.fail = lambda parameters: parameters.noise == 8.0
    found = climb(run, plan(Noisy()), source, source)
    assert found.climb is not None
    refused, failed, taken = found.climb.rungs
    assert (refused.status, failed.status, taken.status) == ("failed", "failed", "holds")
    assert "noise 9.0 is refused" in refused.reason
    assert failed.reason == "noise 8.0 failed"


def test_where_all_are_refused_the_first_reason_is_the_error(
    stand_in: StandIn, source: Any, run: Run
) -> None:
    stand_in.refuse = lambda parameters: True
    with pytest.raises(UsageError, match=r"noise 9\.0 is refused"):
        run.check(plan(Noisy()), source)
    with pytest.raises(UsageError, match=r"noise 9\.0 is refused"):
        climb(run, plan(Noisy()), source, source)
    stand_in.refuse = lambda parameters: parameters.noise > 0
    run.check(plan(Noisy()), source)


def test_without_labels_the_first_rung_is_taken(
    stand_in: StandIn, source: Any, run: Run, tmp_path: Path
) -> None:
    x = np.zeros((50, *describe(source).signature.inputs[0].sample_shape), np.float32)
    np.savez(tmp_path / "u.npz", x=x)
    run.data = open_data(f"npz:{tmp_path / 'u.npz'}", signature=describe(source).signature)
    found = climb(run, plan(Noisy()), source, source)
    assert found.climb is not None
    assert (found.climb.taken, found.climb.samples) == ("all", 0)
    assert found.climb.rungs[1].status == "not tried"
    (note,) = found.notes
    assert note.what == "ladder not climbed"
    assert "has no labels" in note.reason


def test_a_plan_without_a_ladder_runs_as_it_is(stand_in: StandIn, source: Any, run: Run) -> None:
    found = climb(run, plan(Noisy(ladder=False)), source, source)
    assert found.climb is None
    assert stand_in.log == ["apply 0.0 ()"]


def test_a_ladder_needs_a_promise_and_is_one(stand_in: StandIn) -> None:
    with pytest.raises(UsageError, match="no promise to climb for"):
        ladder.check(plan(Noisy(), promise=Limits(max_latency_ratio=1.0)))
    with pytest.raises(UsageError, match="both have a ladder"):
        ladder.check(plan(Noisy(), Noisy()))
    ladder.check(plan(Noisy(ladder=False)))


def test_a_technique_without_rungs(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "load_pass", lambda step: SimpleNamespace())
    with pytest.raises(UsageError, match="'noise' has no ladder on a tflite model"):
        ladder.check(plan(Noisy()))


def test_slower_is_said(
    stand_in: StandIn, source: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:

    def slow(*models: Any, **options: Any) -> Any:
        before, after = compare_latency(*models, **options)
        return before, dataclasses.replace(after, ratio_to_reference=2.0, ratio_ci95=(1.9, 2.1))

    monkeypatch.setattr(ladder, "compare_latency", slow)
    found = climb(run, plan(Noisy()), source, source)
    assert [note.what for note in found.notes] == ["slower"]
    assert found.climb is not None
    assert found.climb.rungs[-1].is_slower


def test_a_damaged_ranking_is_made_anew(stand_in: StandIn, source: Any, run: Run) -> None:
    climb(run, plan(Noisy()), source, source)
    (held,) = run.cache.root.glob("steps/*/ranking.json")
    held.write_text(json.dumps([["x", 1.0]]))
    stand_in.log.clear()
    climb(Run(run.cache, 0, run.data), plan(Noisy()), source, source)
    assert stand_in.log == ["rank"]
