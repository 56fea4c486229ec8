"""The gate: limits, baselines, regressions and their confirmation; measurements are scripted."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.data import Judgement, Score
from edgekit.core.gate import Finding, GateResult, RowResult
from edgekit.core.measurement import Latency, Memory
from edgekit.core.runner import OpPlacement, Placement
from edgekit.engine import check_latency, check_regressions, check_row, measure
from edgekit.engine.check import check
from edgekit.errors import PromiseError, UnmeasuredError, UsageError

DATA = Path(__file__).resolve().parents[2] / "data"
ROW = """
[[check]]
name = "tiny"
model = "model.tflite"
target = "cpu-litert"
"""
REGRESSION = "max_regression = { %s }\n"


class Script:
    """What the next measurements say; the last of each kind stays."""

    def __init__(self) -> None:
        self.ratios: list[tuple[float, float, float]] = [(1.0, 0.99, 1.01)]
        self.peaks = [1000]
        self.delegated = 1.0
        self.flips = (0, 0)
        self.asked: list[str] = []

    def compare_latency(self, *_models: Any, **_inputs: Any) -> tuple[Latency, Latency]:
        self.asked.append("latency")
        ratio, low, high = self.ratios.pop(0) if len(self.ratios) > 1 else self.ratios[0]
        now = Latency("measured", median_ns=round(1000 * ratio))
        now = dataclasses.replace(now, ratio_to_reference=ratio, ratio_ci95=(low, high))
        return Latency("measured", median_ns=1000), now

    def measure_latency(self, *_model: Any, **_inputs: Any) -> Latency:
        return Latency("measured", median_ns=1000)

    def measure_memory(self, *_model: Any, **_inputs: Any) -> Memory:
        self.asked.append("memory")
        peak = self.peaks.pop(0) if len(self.peaks) > 1 else self.peaks[0]
        return Memory("measured", peak_bytes=peak)

    def placement(self, _model: Any) -> Placement:
        count = round(10 * self.delegated)
        places = ["XNNPACK"] * count + ["CPU"] * (10 - count)
        return Placement(tuple(OpPlacement(i, "ADD", at, "") for i, at in enumerate(places)))

    def judge_pair(self, *_subjects: Any, **_data: Any) -> Judgement:
        lost, won = self.flips
        before, now = (Score("accuracy", v, (v, v), 1000) for v in (0.9, 0.9 - (lost - won) / 1000))
        return Judgement(before, now, 1 - (lost + won) / 1000, lost, won, 0.005)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    made = Script()
    for module, names in (
        (measure, ("measure_latency", "measure_memory", "placement")),
        (check_latency, ("compare_latency",)),
        (check_regressions, ("measure_memory", "judge_pair")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, getattr(made, name))
    return made


Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a project with one row and its model, into the current folder."""
    monkeypatch.chdir(tmp_path)

    def put(more: str = "", *, row: str = ROW, model: str = "tiny_float.tflite") -> None:
        Path("edgekit.toml").write_text(row + more)
        shutil.copyfile(DATA / model, "model.tflite")

    return put


def only(result: GateResult) -> RowResult:
    (row,) = result.rows
    return row


def finding(result: GateResult, metric: str) -> Finding:
    """The row's own comes before that of its target."""
    return next(item for item in only(result).findings if item.metric == metric)


def test_a_limit_names_its_key_and_a_missing_baseline_is_no_error(
    script: Script, write: Write
) -> None:
    write('max_size = "8 kB"\n')
    result = check()
    assert result.exit_code == 1
    assert finding(result, "max_size") == Finding(
        "max_size", "limit", "fail", "bytes", 8044, 8000, "edgekit.toml: check 'tiny': max_size"
    )
    assert only(result).notes == ("no baseline: edgekit check --accept tiny makes one",)
    assert not Path("baselines").exists()
    assert only(result).measured is not None


def test_accepting_writes_the_baseline_and_its_model_and_tells_the_difference(
    script: Script, write: Write
) -> None:
    write(REGRESSION % 'size = "1 %"')
    (made,) = only(check(["tiny"], accept=True)).notes
    assert made.startswith("accepted, baselines/tiny.json made: target cpu-litert; options ")
    assert Path("baselines/tiny.tflite").read_bytes() == Path("model.tflite").read_bytes()
    assert check().exit_code == 0
    write(REGRESSION % 'size = "1 %"', model="tiny_leaky.tflite")
    worse = check()
    found = finding(worse, "size")
    assert (found.status, found.value, found.baseline) == ("fail", 8292, 8044)
    assert found.bound == pytest.approx(8044 * 1.01)
    assert found.baseline_file == "baselines/tiny.json"
    assert found.source == "edgekit.toml: check 'tiny': max_regression.size"
    (told,) = only(check(["tiny"], accept=True)).notes
    assert told.startswith(
        "accepted, baselines/tiny.json rewritten: model 7a91f05c43cb -> 8168591f"
    )
    assert "size 8.04 kB -> 8.29 kB (+3.1 %)" in told
    assert check().exit_code == 0
    assert sorted(path.name for path in Path("baselines").iterdir()) == [
        "tiny.json",
        "tiny.tflite",
    ]
    write(REGRESSION % 'size = "1 %"')
    assert finding(check(), "size").status == "improved"
    assert check().exit_code == 0


def test_a_slower_model_is_measured_twice_before_it_is_reported(
    script: Script, write: Write
) -> None:
    write(REGRESSION % 'latency = "5 %"')
    check(["tiny"], accept=True)
    script.asked.clear()
    script.ratios = [(1.08, 1.06, 1.1), (1.09, 1.07, 1.11)]
    found = finding(check(), "latency")
    assert script.asked.count("latency") == 2
    assert (found.status, found.value, found.bound, found.baseline) == ("fail", 1.09, 1.05, 1.0)
    assert found.interval == (1.07, 1.11)
    assert "confirmed in new processes, 1.080x before" in found.reason
    assert "1.09 us against 1.00 us, side by side" in found.reason


def test_what_is_not_confirmed_passes_with_a_note(script: Script, write: Write) -> None:
    write(REGRESSION % 'latency = "5 %"')
    check(["tiny"], accept=True)
    script.ratios = [(1.08, 1.06, 1.1), (1.01, 0.99, 1.03)]
    result = check()
    assert finding(result, "latency").status == "pass"
    assert "1.080x the first time, which new processes did not confirm" in only(result).notes[0]


@pytest.mark.parametrize(
    ("ratio", "status", "reason"),
    [
        ((1.06, 1.02, 1.1), "pass", "cannot be told from its limit here: [1.020, 1.100]"),
        ((1.04, 1.03, 1.049), "pass", ""),
        ((0.9, 0.85, 0.94), "improved", ""),
        ((0.9, 0.85, 0.96), "pass", ""),
    ],
)
def test_the_whole_interval_decides(
    script: Script, write: Write, ratio: Any, status: str, reason: str
) -> None:
    write(REGRESSION % 'latency = "5 %"')
    check(["tiny"], accept=True)
    script.ratios = [ratio]
    found = finding(check(), "latency")
    assert found.status == status
    assert reason in found.reason


def test_memory_is_measured_on_both_and_confirmed(script: Script, write: Write) -> None:
    write(REGRESSION % 'memory = "5 %"')
    check(["tiny"], accept=True)
    # The row's own, the baseline's, then both again.
    script.peaks = [1100, 1000, 1000, 1100]
    found = finding(check(), "memory")
    assert (found.status, found.value, found.baseline) == ("fail", 1100, 1000)
    script.peaks = [1100, 1000, 1000, 1000]
    result = check()
    assert finding(result, "memory").status == "pass"
    assert "not confirmed" in only(result).notes[0]


def test_a_fall_back_to_the_cpu_fails_without_being_asked_for(script: Script, write: Write) -> None:
    write(REGRESSION % 'size = "1 %"')
    check(["tiny"], accept=True)
    script.delegated = 0.8
    found = finding(check(), "delegated")
    assert (found.status, found.value, found.bound) == ("fail", 0.8, 1.0)
    write(REGRESSION % 'size = "1 %", delegated = "20 pt"')
    assert finding(check(), "delegated").status == "pass"


@pytest.fixture
def labelled(write: Write) -> None:
    import numpy as np

    write('data = "npz:d.npz"\n' + REGRESSION % 'accuracy = "0.5 pt"')
    x, y = np.zeros((40, 8, 8, 1), np.float32), np.arange(40) % 10
    np.savez("d.npz", x_train=x, y_train=y, x_test=x, y_test=y)


@pytest.mark.parametrize(
    ("flips", "status", "reason"),
    [
        ((10, 0), "fail", "10 right to wrong, 0 wrong to right, p 0.00098"),
        ((30, 22), "pass", "beyond the limit, but it may be chance: 30 right to wrong"),
        ((4, 0), "pass", "these 1000 samples see drops over 0.5 pt"),
        ((0, 10), "improved", ""),
    ],
)
@pytest.mark.usefixtures("labelled")
def test_accuracy_must_be_beyond_the_threshold_and_no_chance(
    script: Script, flips: tuple[int, int], status: str, reason: str
) -> None:
    check(["tiny"], accept=True)
    script.flips = flips
    found = finding(check(), "accuracy")
    assert found.status == status
    assert reason in found.reason
    assert found.bound == pytest.approx(0.895)


@pytest.mark.usefixtures("labelled")
def test_a_task_without_right_and_wrong_is_judged_by_its_interval(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(["tiny"], accept=True)

    def judged(now: Score) -> Finding:
        before = dataclasses.replace(now, value=0.9, ci95=(0.89, 0.91))
        made = Judgement(before, now, None, None, None, None)
        monkeypatch.setattr(check_regressions, "judge_pair", lambda *_a, **_k: made)
        return finding(check(), "accuracy")

    assert judged(Score("AUC", 0.88, (0.87, 0.89), 100)).status == "fail"
    assert judged(Score("AUC", 0.88, (0.86, 0.905), 100)).status == "pass"
    unshared = judged(Score("mean squared error", 0.88, (0.87, 0.89), 100, is_share=False))
    assert (unshared.status, unshared.value) == ("unmeasured", None)
    assert "no points" in unshared.reason


def test_what_cannot_be_measured_ends_with_3(script: Script, write: Write) -> None:
    write(REGRESSION % 'accuracy = "1 pt"' + 'max_accuracy_drop = "1 pt"\n')
    result = check(["tiny"], accept=True)
    assert result.exit_code == 3
    assert finding(result, "max_accuracy_drop").status == "unmeasured"
    assert not Path("baselines").exists()
    write(REGRESSION % 'accuracy = "1 pt"')
    check(["tiny"], accept=True)
    result = check()
    assert result.exit_code == 3
    assert "no validation data" in finding(result, "accuracy").reason


def test_a_large_model_is_named_and_not_kept(
    script: Script, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.engine.check_baseline._MOST_BYTES", 8000)
    write(REGRESSION % 'latency = "5 %"')
    _, large = only(check(["tiny"], accept=True)).notes
    assert large.endswith("it is model.tflite")
    assert [path.name for path in Path("baselines").iterdir()] == ["tiny.json"]
    assert check().exit_code == 0
    write(REGRESSION % 'latency = "5 %"', model="tiny_leaky.tflite")
    result = check()
    assert result.exit_code == 3
    assert "model.tflite is another model by now" in finding(result, "latency").reason


def test_a_target_that_does_not_work_here(
    script: Script, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.runners.litert.unavailable", lambda: "no wheel; pip install it")
    write('max_size = "9 kB"\n')
    result = check()
    assert (result.exit_code, only(result).status) == (3, "unmeasured")
    assert only(result).error == "target 'cpu-litert' does not work here: no wheel; pip install it"
    write('max_size = "9 kB"\nrequired = false\n')
    result = check()
    assert (result.exit_code, only(result).status) == (0, "skipped")
    assert "no wheel" in only(result).skipped


def test_a_broken_promise_fails_the_row_and_the_others_go_on(
    script: Script, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write('max_size = "9 kB"\n', row=ROW + 'max_size = "9 kB"\n' + ROW.replace("tiny", "other"))
    failed = iter(
        [PromiseError("quantize: 3 ops are float"), UnmeasuredError("the device is gone")]
    )
    monkeypatch.setattr(check_row._AsItIs, "build", lambda _self: _raise(next(failed)))
    first, second = check().rows
    assert first.status == "fail"
    assert first.findings[0].reason == "quantize: 3 ops are float"
    assert (second.status, second.error) == ("unmeasured", "the device is gone")


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('recipe = "int9"\n', "unknown recipe 'int9'"),
        (None, "has no limit, and neither its target"),
        ('max_size = "9 kB"\ndata = "npz:none.npz"\n', "none.npz"),
        ('max_size = "9 kB"\nreference = "none.tflite"\n', "model 'none.tflite': no such file"),
        ('max_size = "9 kB"\ninputs = ["image=1x9x9x1"]\n', "--input 'image=1x9x9x1'"),
    ],
)
def test_a_row_that_cannot_be_built_writes_nothing(
    script: Script, write: Write, text: str | None, message: str
) -> None:
    Path("mine.toml").write_text('summary = "m"\nformat = "tflite"\nrunner = "litert"\n')
    row = ROW.replace('"cpu-litert"', '"mine.toml"') if text is None else ROW
    write(
        text or "",
        row='[[check]]\nname = "first"\nmodel = "model.tflite"\n'
        'target = "cpu-litert"\nmax_size = "1 MB"\n' + row,
    )
    with pytest.raises(UsageError) as caught:
        check()
    assert caught.value.message.startswith("edgekit.toml: check 'tiny': ")
    assert message in caught.value.message
    assert not list(Path(".edgekit").glob("*.json*"))
    assert not Path("baselines").exists()


def test_a_zoo_model_needs_a_recipe(script: Script, write: Write) -> None:
    write('max_size = "1 kB"\n', row=ROW.replace("model.tflite", "zoo:digits-cnn"))
    with pytest.raises(UsageError, match="a zoo model is trained for a recipe"):
        check()


def test_baselines_that_are_wrong(script: Script, write: Write) -> None:
    write(REGRESSION % 'latency = "5 %"')
    check(["tiny"], accept=True)
    file = Path("baselines/tiny.json")
    good = file.read_text()
    shutil.copyfile(DATA / "tiny_leaky.tflite", "baselines/tiny.tflite")
    with pytest.raises(UsageError, match=r"tiny\.tflite: is not the model that"):
        check()
    Path("baselines/tiny.tflite").unlink()
    with pytest.raises(UsageError, match="is missing, and baselines/tiny.json needs it"):
        check()
    file.write_text(good[:100])
    with pytest.raises(UsageError, match="not valid JSON") as caught:
        check()
    assert "edgekit check --accept tiny" in caught.value.hint
    file.write_text(good.replace("baseline/1", "baseline/9"))
    for accept in (False, True):
        with pytest.raises(UsageError, match="has the schema edgekit-baseline/9"):
            check(["tiny"], accept=accept)
    file.write_text(good[:100])
    notes = only(check(["tiny"], accept=True)).notes
    assert notes[0].startswith("the damaged baseline is replaced: baselines/tiny.json: ")
    assert check().exit_code == 0


def test_options_that_are_no_more(script: Script, write: Write) -> None:
    write(REGRESSION % 'latency = "5 %"')
    check(["tiny"], accept=True)
    file = Path("baselines/tiny.json")
    file.write_text(file.read_text().replace('"kernels"', '"colonels"'))
    result = check()
    assert result.exit_code == 0
    assert "runs with today's options, not its own" in only(result).notes[0]


def test_absolute_latency_says_whose_machine_the_baseline_is_of(
    script: Script, write: Write
) -> None:
    write('max_latency = "1 ms"\n')
    check(["tiny"], accept=True)
    found = finding(check(), "max_latency")
    assert (found.status, found.baseline) == ("pass", 1000)
    assert found.reason == "measured on this machine, which is the baseline's"
    file = Path("baselines/tiny.json")
    table = json.loads(file.read_text())
    table["machine"]["cpu"] = "another"
    file.write_text(json.dumps(table))
    found = finding(check(), "max_latency")
    assert found.baseline is None
    assert "is not the baseline's" in found.reason


def test_accept_names_rows_and_a_project_lies_anywhere(
    script: Script, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write('max_size = "9 kB"\n')
    with pytest.raises(UsageError, match="--accept: names no row"):
        check(accept=True)
    monkeypatch.chdir("/")
    assert check(folder=tmp_path, out=tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "result.json").is_file()
    assert Path.cwd() == Path("/")
    with pytest.raises(UsageError, match="--project"):
        check(folder=tmp_path / "none")
