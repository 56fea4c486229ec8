"""Steps: who is asked when, what is reused, and what changes a key. The passes are stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
from litert_quantizer.utils.tfl_flatbuffer_utils import read_model as read_object

from edgekit.core.limits import Limits, SourcedLimits
from edgekit.core.plan import Plan, Step
from edgekit.core.recipe import Recipe
from edgekit.core.target import Target
from edgekit.core.training import Curve, Epoch, TrainingOptions
from edgekit.engine import passes as passes_module
from edgekit.engine import steps
from edgekit.engine.cache import StepCache
from edgekit.engine.data import LoadedData, open_data
from edgekit.engine.models import open_artifact
from edgekit.engine.steps import Run, check_needs, check_samples
from edgekit.errors import PromiseError, UsageError

FORMAT = "tflite"
CURVE = Curve("tune", "accuracy", (Epoch(1.0, 0.5, 0.9, 0.6, 2.0, {"f1": 0.5}),), 1)
LIMITS = SourcedLimits(Limits(), "recipes/r.toml")


@dataclass(frozen=True)
class Plain:
    """Parameters of a technique that needs no data."""

    factor: float = 2.0
    needs: Mapping[str, int] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    keeps_layers: bool = True


NEEDY = Plain(needs={"calibrate": 1})
"""A step that works on data: it is not done while the others are asked."""


@dataclass
class Passes:
    """Stand-ins for techniques, by name; they note what they are asked and do."""

    folder: Path
    log: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    during: dict[str, Callable[[Any], None]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    drafts: set[str] = field(default_factory=set)
    asked: dict[str, Any] = field(default_factory=dict)

    def load(self, step: Step) -> Any:
        folder = self.folder / step.name
        folder.mkdir(exist_ok=True)
        code = folder / "tflite.py"
        code.touch()
        return SimpleNamespace(
            __file__=str(code),
            check=lambda parameters, source, models: self.check(step, source, models),
            apply=lambda parameters, source, work: self.apply(step, source, work),
            verify=lambda parameters, source, result, work: self.verify(step),
            versions=dict,
        )

    def check(self, step: Step, source: Any, models: Any) -> Any:
        assert models.describe(source).ops
        self.log.append(f"check {step.name}")
        self.asked[step.name] = source
        if step.name in self.refused:
            raise UsageError(f"{step.name} cannot", hint="leave it out")
        made = source.path.read_bytes()
        return (lambda path: path.write_bytes(made)) if step.name in self.drafts else None

    def apply(self, step: Step, source: Any, work: Any) -> None:
        self.log.append(f"apply {step.name}")
        self.during.get(step.name, lambda work: None)(work)
        model = read_object(source.path.read_bytes())
        weights = max((b for b in model.buffers if b.data is not None), key=lambda b: len(b.data))
        factor = np.float32(getattr(step.parameters, "factor", 3.0))
        weights.data = (factor * weights.data.view(np.float32)).view(np.uint8)
        work.output.write_bytes(bytes(convert_object_to_bytearray(model)))

    def verify(self, step: Step) -> None:
        self.log.append(f"verify {step.name}")
        if step.name in self.broken:
            raise PromiseError(f"{step.name} did not")

    def take(self) -> list[str]:
        """The log so far, which starts anew."""
        held, self.log = self.log, []
        return held


@pytest.fixture
def passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Passes:
    (tmp_path / "code").mkdir()
    made = Passes(tmp_path / "code")
    monkeypatch.setattr(steps, "load_pass", made.load)
    monkeypatch.setattr(passes_module, "load_pass", made.load)
    return made


@pytest.fixture
def source(tiny_float: Path) -> Any:
    return open_artifact(tiny_float)


def step(name: str, parameters: Any = None, accepts: str = FORMAT) -> Step:
    return Step("technique", name, accepts, FORMAT, parameters or Plain())


def plan(*made: Step) -> Plan:
    device = Target("t", "", FORMAT, "null", None, LIMITS)
    return Plan(FORMAT, Recipe("r", "", (), LIMITS), device, made)


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Run]:
    return lambda **more: Run(StepCache(tmp_path / "cache"), 0, **{"data": None, **more})


def make_data(folder: Path, source: Any, *, count: int = 100, classes: int = 2) -> LoadedData:
    from edgekit.engine.models import describe

    signature = describe(source).signature
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, *signature.inputs[0].sample_shape)).astype(np.float32)
    y = np.arange(count) % classes
    np.savez(folder / "d.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    return open_data(f"npz:{folder / 'd.npz'}", signature=signature)


class TestCheck:
    def test_every_step_is_asked_before_any_work(
        self, passes: Passes, source: Any, new_run: Any
    ) -> None:
        passes.refused = {"third"}
        made = plan(step("first", NEEDY), step("second", NEEDY), step("third", NEEDY))
        with pytest.raises(UsageError) as caught:
            new_run().check(made, source)
        assert caught.value.message == f"model '{source.name}': third cannot"
        assert caught.value.hint == "leave it out"
        assert passes.log == ["check first", "check second", "check third"]

    def test_what_needs_no_data_and_comes_first_is_done(
        self, passes: Passes, source: Any, new_run: Any
    ) -> None:
        """So that the next is asked about what it makes: fold-batchnorm takes layers out."""
        run = new_run()
        run.check(plan(step("first"), step("second", NEEDY), step("third")), source)
        assert passes.take() == [
            *("check first", "apply first", "verify first", "check second", "check third"),
        ]

    def test_a_message_that_names_the_model_stays(
        self, passes: Passes, source: Any, new_run: Any
    ) -> None:
        passes.refused = {"model 'a'"}
        with pytest.raises(UsageError) as caught:
            new_run().check(plan(step("model 'a'")), source)
        assert caught.value.message == "model 'a' cannot"

    @pytest.mark.parametrize(
        "blocker",
        [
            step("blocker", replace(NEEDY, keeps_layers=False)),
            step("blocker", NEEDY, accepts="keras"),
        ],
    )
    def test_steps_behind_other_layers_or_another_format_wait_for_their_turn(
        self, passes: Passes, source: Any, new_run: Any, blocker: Step
    ) -> None:
        passes.refused = {"last"}
        new_run().check(plan(step("first", NEEDY), blocker, step("last", NEEDY)), source)
        asked = ["check first", "check blocker"]
        assert passes.log == (asked if blocker.accepts == FORMAT else asked[:1])

    def test_steps_behind_other_layers_are_asked_about_their_draft(
        self, passes: Passes, source: Any, new_run: Any, tmp_path: Path
    ) -> None:
        """What needs no data is done on it; nothing of that is kept."""
        passes.refused, passes.drafts = {"last"}, {"student"}
        student = step("student", replace(NEEDY, keeps_layers=False))
        with pytest.raises(UsageError, match="last cannot"):
            new_run().check(plan(student, step("fold"), step("last", NEEDY)), source)
        assert passes.take() == [
            *("check student", "check fold", "apply fold", "verify fold", "check last"),
        ]
        assert passes.asked["fold"].made_by == "student"
        assert passes.asked["last"].made_by == "fold"
        assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
        passes.broken = {"fold"}  # by its weights, perhaps, which are not the trained ones
        new_run().check(plan(student, step("fold"), step("last", NEEDY)), source)

    def test_a_model_that_is_yet_to_be_trained_is_a_draft(
        self, passes: Passes, source: Any, new_run: Any, tmp_path: Path
    ) -> None:
        passes.refused = {"last"}
        made = plan(step("convert"), step("last", NEEDY))
        with pytest.raises(UsageError, match="last cannot"):
            new_run().check(made, source, is_draft=True)
        assert "apply convert" in passes.log
        assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]

    def test_a_student_in_the_cache_is_converted_for_those_behind_it(
        self, passes: Passes, source: Any, new_run: Any
    ) -> None:
        """Only where one of them trains: else they are asked soon enough."""
        student = step("student", Plain(keeps_layers=False))
        new_run().plan(plan(student), source)
        train, last = step("train", Plain(needs={"train": 1})), step("last", NEEDY)
        passes.take()
        new_run().check(plan(student, train, step("fold"), last), source)
        assert passes.take() == [
            *("check train", "check fold", "apply fold", "verify fold", "check last"),
        ]
        new_run().check(plan(student, step("other", NEEDY), step("fold"), last), source)
        assert passes.take() == ["check other", "check fold", "check last"]

    def test_what_lies_in_the_cache_is_not_asked_again(
        self, passes: Passes, source: Any, new_run: Any
    ) -> None:
        new_run().plan(plan(step("first"), step("second")), source)
        passes.take()
        passes.refused = {"first", "third"}
        with pytest.raises(UsageError, match="third cannot"):
            new_run().check(plan(step("first"), step("second"), step("third")), source)
        assert passes.log == ["check third"]

    def test_a_step_whose_turn_comes_later_is_asked_before_it_works(
        self, passes: Passes, source: Any, new_run: Any
    ) -> None:
        passes.refused = {"second"}
        with pytest.raises(UsageError, match="second cannot"):
            new_run().plan(plan(step("first"), step("second")), source)
        assert passes.log == ["check first", "apply first", "verify first", "check second"]

    def test_labels_are_held_against_the_output(
        self, passes: Passes, source: Any, new_run: Any, tmp_path: Path
    ) -> None:
        data = make_data(tmp_path, source, classes=50)
        made = plan(step("tune", TrainingOptions(batch_size=8)))
        with pytest.raises(UsageError, match="data: labels go up to 49, but the model has"):
            new_run(data=data).check(made, source)
        assert passes.log == []

    def test_labels_are_looked_at_behind_other_layers_too(
        self, passes: Passes, source: Any, new_run: Any, tmp_path: Path
    ) -> None:
        data, blocker = make_data(tmp_path, source), replace(NEEDY, keeps_layers=False)
        tune = step("tune", TrainingOptions(batch_size=8, class_weights=(1.0, 2.0)))
        with pytest.raises(UsageError, match="class_weights has 2 values"):
            new_run(data=data).check(plan(step("blocker", blocker), tune), source)
        assert passes.log == ["check blocker"]

    def test_hooks_passed_in_python_are_looked_at(
        self, passes: Passes, source: Any, new_run: Any, tmp_path: Path
    ) -> None:
        run = new_run(data=make_data(tmp_path, source), hooks={"los": max})
        with pytest.raises(UsageError, match="hooks: unknown hook 'los'"):
            run.check(plan(step("tune", TrainingOptions(batch_size=8))), source)

    def test_too_few_samples(
        self, passes: Passes, source: Any, new_run: Any, tmp_path: Path
    ) -> None:
        data = make_data(tmp_path, source)
        held = data.split_sizes["train"]
        made = plan(step("first"), step("tune", TrainingOptions(batch_size=held + 1)))
        with pytest.raises(UsageError) as caught:
            new_run(data=data).check(made, source)
        assert caught.value.message == (
            f"{data.where}: has {held} samples in the train split, and 'tune' needs a batch of "
            f"{held + 1}"
        )
        assert caught.value.hint == "give more data, or a smaller batch_size"
        assert passes.log == []
        check_samples(plan(step("tune", TrainingOptions(batch_size=held))), data)
        check_samples(made, None)

    def test_no_select_split(self, source: Any, tmp_path: Path) -> None:
        data = make_data(tmp_path, source)
        indices = {**data._indices, "select": np.arange(0)}
        empty = replace(data, _indices=indices)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="has 0 samples in the select split, and 'tune' needs"):
            check_samples(plan(step("tune", TrainingOptions(batch_size=8))), empty)

    def test_no_data(self) -> None:
        made = plan(step("tune", TrainingOptions()))
        with pytest.raises(UsageError) as caught:
            check_needs(made, has_data=False)
        assert caught.value.message == ("recipes/r.toml: 'tune' needs data to select and train on")
        assert caught.value.hint == "name it with --data"
        check_needs(made, has_data=True)
        check_needs(plan(step("first")), has_data=False)


class TestCache:
    def test_a_step_is_done_once(self, passes: Passes, source: Any, new_run: Any) -> None:
        run, made = new_run(), plan(step("first"))
        artifact, (record,) = run.plan(made, source)
        assert passes.take() == ["check first", "apply first", "verify first"]
        assert artifact.digest != source.digest
        assert (record.cached, artifact.made_by, artifact.parent) == (
            False,
            "first",
            source.digest,
        )
        again, (same,) = run.plan(made, source)
        assert (again, same) == (artifact, record)
        other, (cached,) = new_run().plan(made, source)
        assert (other.digest, cached.cached) == (artifact.digest, True)
        assert passes.log == []

    @pytest.mark.parametrize(
        "change", ["parameters", "seed", "code", "name", "data", "source", "version"]
    )
    def test_what_changes_a_key(
        self,
        passes: Passes,
        source: Any,
        new_run: Any,
        tmp_path: Path,
        change: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        run = new_run()
        result, _ = run.plan(plan(step("first")), source)
        passes.take()
        second, after, other = step("first"), source, new_run()
        if change == "parameters":
            second = step("first", Plain(factor=1.5))
        elif change == "seed":
            other.seed = 1
        elif change == "code":
            (passes.folder / "first" / "_helper.py").write_text("x = 1")
        elif change == "name":
            second = step("second")
        elif change == "data":
            other.data = make_data(tmp_path, source)
        elif change == "source":
            after = result
        else:
            monkeypatch.setattr(steps.training, "versions", lambda: {"tensorflow": "0"})
        other.plan(plan(second), after)
        assert f"apply {second.name}" in passes.log

    def test_the_users_files_change_a_key(
        self, passes: Passes, source: Any, new_run: Any, tmp_path: Path
    ) -> None:
        hooks = tmp_path / "mine.py"
        made = plan(step("tune", Plain(files=(hooks,))))
        for content in ("a = 1", "a = 2", "a = 1"):
            hooks.write_text(content)
            new_run().plan(made, source)
        assert passes.log.count("apply tune") == 2

    def test_a_file_of_options_is_among_them(self) -> None:
        options = TrainingOptions(hooks="python:mine.py", teacher=("source", "big.tflite"))
        assert step("tune", options).files == (Path("mine.py"), Path("big.tflite"))

    def test_functions_passed_in_python_are_not_for_another_run(
        self, passes: Passes, source: Any, new_run: Any, tmp_path: Path
    ) -> None:
        data, made = make_data(tmp_path, source), plan(step("tune", Plain(needs={"train": 1})))
        new_run(data=data, hooks={"loss": max}).plan(made, source)
        new_run(data=data, hooks={"loss": max}).plan(made, source)
        new_run(data=data).plan(made, source)
        assert passes.log.count("apply tune") == 3

    def test_hooks_are_nothing_to_a_step_that_does_not_train(
        self, passes: Passes, source: Any, new_run: Any
    ) -> None:
        new_run(hooks={"loss": max}).plan(plan(step("first")), source)
        new_run().plan(plan(step("first")), source)
        assert passes.log.count("apply first") == 1

    def test_curves_and_notes_survive_the_cache(
        self, passes: Passes, source: Any, new_run: Any
    ) -> None:
        def during(work: Any) -> None:
            work.record(CURVE)
            work.note("skipped", "conv1", "why")
            work.note("skipped", "conv1", "why")

        passes.during["tune"] = during
        _, (made,) = new_run().plan(plan(step("tune")), source)
        _, (found,) = new_run().plan(plan(step("tune")), source)
        assert (made.cached, found.cached) == (False, True)
        assert made.curves == found.curves == (CURVE,)
        assert made.notes == found.notes
        assert len(made.notes) == 1

    def test_a_broken_promise_is_not_kept(self, passes: Passes, source: Any, new_run: Any) -> None:
        passes.broken = {"first"}
        for _ in range(2):
            with pytest.raises(PromiseError, match="first did not"):
                new_run().plan(plan(step("first")), source)
        assert passes.log.count("apply first") == 2

    def test_the_model_that_the_run_began_with_is_known_to_later_steps(
        self, passes: Passes, source: Any, new_run: Any
    ) -> None:
        seen: list[Any] = []
        passes.during["third"] = lambda work: seen.extend([work.origin, work.source])
        run = new_run()
        run.adopt(source)
        run.plan(plan(step("first"), step("second"), step("third")), source)
        assert seen[0] == source
        assert seen[1].made_by == "second"


class TestRest:
    """What works on the target's format is asked about the float model in that format."""

    def test_it_is_asked_before_the_training(
        self, passes: Passes, source: Any, new_run: Any
    ) -> None:
        passes.refused = {"quantize"}
        made = replace(
            plan(step("tune", accepts="keras"), step("quantize", NEEDY)), source_format="keras"
        )
        with pytest.raises(UsageError, match="quantize cannot"):
            new_run().check_rest(made, source)
        assert passes.log == ["check quantize"]

    def test_behind_other_layers_it_waits(self, passes: Passes, source: Any, new_run: Any) -> None:
        passes.refused = {"quantize"}
        student = step("student", Plain(keeps_layers=False), accepts="keras")
        made = replace(plan(student, step("quantize", NEEDY)), source_format="keras")
        new_run().check_rest(made, source)
        assert passes.log == []


class TestCheckpoints:
    def test_outlive_an_interruption_and_are_gone_afterwards(
        self, passes: Passes, source: Any, new_run: Any, tmp_path: Path
    ) -> None:
        folders: list[Path] = []

        def interrupted(work: Any) -> None:
            folders.append(work.checkpoints)
            (work.checkpoints / "epoch").write_text("1")
            raise KeyboardInterrupt

        def resumed(work: Any) -> None:
            folders.append(work.checkpoints)
            assert (work.checkpoints / "epoch").read_text() == "1"

        data, made = make_data(tmp_path, source), plan(step("tune", Plain(needs={"train": 1})))
        passes.during["tune"] = interrupted
        with pytest.raises(KeyboardInterrupt):
            new_run(data=data).plan(made, source)
        passes.during["tune"] = resumed
        new_run(data=data).plan(made, source)
        assert folders[0] == folders[1]
        assert not folders[0].exists()
        assert not list((tmp_path / "cache" / "scratch").iterdir())

    def test_of_a_step_that_does_not_train_are_scratch(
        self, passes: Passes, source: Any, new_run: Any, tmp_path: Path
    ) -> None:
        def interrupted(work: Any) -> None:
            (work.checkpoints / "epoch").write_text("1")
            raise KeyboardInterrupt

        passes.during["first"] = interrupted
        with pytest.raises(KeyboardInterrupt):
            new_run().plan(plan(step("first")), source)
        assert not list((tmp_path / "cache" / "scratch").iterdir())
        assert not list((tmp_path / "cache" / "training").iterdir())


class TestWorkers:
    OPTIONS = TrainingOptions(batch_size=8, strategy="multi-worker")

    def config(self, index: int) -> str:
        return f'{{"cluster": {{"worker": ["a:1", "b:2"]}}, "task": {{"index": {index}}}}}'

    def test_all_work_and_each_has_its_own_checkpoints(
        self,
        passes: Passes,
        source: Any,
        new_run: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(steps, "replicas", lambda name: 2)
        folders: list[str] = []
        passes.during["tune"] = lambda work: folders.append(work.checkpoints.name)
        data, made = make_data(tmp_path, source), plan(step("tune", self.OPTIONS))
        for index in (0, 1, 0):
            monkeypatch.setenv("TF_CONFIG", self.config(index))
            new_run(data=data).plan(made, source)
        assert [name.rpartition("worker")[2] for name in folders] == ["-0", "-1", "-0"]
        assert len({name.partition("worker")[0] for name in folders}) == 1

    def test_only_a_plan_that_trains_with_them_connects(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connected: list[str] = []
        monkeypatch.setattr(steps, "start", connected.append)
        monkeypatch.setenv("TF_CONFIG", self.config(0))
        steps.start_workers(plan(step("first"), step("tune", TrainingOptions())))
        assert connected == []
        steps.start_workers(plan(step("first"), step("tune", self.OPTIONS)))
        assert connected == ["multi-worker"]

    def test_no_cluster_is_a_usage_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
        with pytest.raises(UsageError, match="needs TF_CONFIG, which is not set"):
            steps.start_workers(plan(step("tune", self.OPTIONS)))
