"""compare: verdicts, the noise floor, and a target or threads for each side."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path

import pytest
from support import edgekit

from edgekit.cli import _latency
from edgekit.core.measurement import Latency
from edgekit.core.notes import Note
from edgekit.engine import bench, compare, measure
from edgekit.engine.bench_ratio import with_ratio
from edgekit.engine.compare import Side
from edgekit.errors import UsageError

TIMED = Latency("measured", median_ns=1000, threads=2)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = partial(bench.compare_latency, seconds=0.1, processes=1)
    monkeypatch.setattr(measure, "compare_latency", timed)
    monkeypatch.setattr(compare, "compare_latency", timed)


@pytest.mark.usefixtures("quick")
def test_each_side_may_have_a_target_and_threads_of_its_own(
    tiny_float: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.toml"
    plain.write_text(
        'summary = "x"\nformat = "tflite"\nrunner = "litert"\n[options]\nkernels = "reference"\n'
    )
    words = ("compare", tiny_float, tiny_float, "--target", "cpu-litert", "--threads", 1)
    done = edgekit(*words, "--threads-b", 2, "--margin", "90 %", "--aa", "--quiet")
    assert done.code == 0, done.err
    assert "1 against 2 threads" in done.out
    assert "noise floor: A against A is " in done.out
    assert "this run would have seen a change of " in done.out.splitlines()[-1]
    done = edgekit(*words, "--target-b", plain, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["title"].endswith("cpu-litert against plain")
    assert report["target"] == "plain"
    assert report["result"]["latency"]["margin"] == 0.03
    assert report["command"].endswith(f"--target cpu-litert --target-b {plain} --threads 1")


@pytest.mark.parametrize(
    ("margin", "said"),
    [
        ("3", "'3' has no unit"),
        ("0 %", "must be above 0 % and below 100 %"),
        ("100 %", "must be above 0 % and below 100 %"),
        ("wide", "'wide' is not a share"),
    ],
)
def test_a_margin_that_is_none_is_refused(tiny_float: Path, margin: str, said: str) -> None:
    done = edgekit("compare", tiny_float, tiny_float, "--margin", margin)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_model_is_refused_on_a_target_of_another_format(tiny_float: Path) -> None:
    with pytest.raises(UsageError, match="takes onnx"):
        compare.compare(Side(str(tiny_float)), Side(str(tiny_float), "cpu-onnxruntime"))


@pytest.mark.parametrize(
    ("interval", "line"),
    [
        ((1.10, 1.12), "B is slower than A: 1.110x [1.100, 1.120]; this run would have seen a "),
        ((0.50, 0.52), "B is faster than A: 0.510x [0.500, 0.520]; "),
        ((0.99, 1.01), "no difference over 3 %: 1.000x [0.990, 1.010]; "),
        ((0.90, 1.30), "cannot tell: 1.100x [0.900, 1.300]; "),
    ],
)
def test_the_verdict_in_words(interval: tuple[float, float], line: str) -> None:
    latency = with_ratio(TIMED, sum(interval) / 2, interval, margin=0.03)
    assert _latency.change_line(latency).startswith(f"latency: {line}")


def test_without_a_ratio_the_reason_is_the_verdict() -> None:
    latency = dataclasses.replace(TIMED, reason="they run on two machines")
    assert _latency.change_line(latency) == "latency: cannot tell: they run on two machines"


def test_percentiles_are_shown_from_enough_runs_on() -> None:
    (line,) = _latency.spread_lines([1000] * 40)
    assert line == (
        "  spread      p90 not enough runs (it takes 64), p99 not enough runs (it takes 662); "
        "no run over the median + 5 MAD, the longest 1.00 us"
    )
    (line,) = _latency.spread_lines([*[1000] * 700, 5000, 9000])
    assert line == (
        "  spread      p90 1.00 us, p99 1.00 us; 2 of 702 runs over the median + 5 MAD, "
        "the longest 9.00 us"
    )


def test_a_noise_floor_that_was_not_measured_is_no_line_of_evidence() -> None:
    noise = Note("measured", "noise floor", "quiet", is_evidence=True)
    assert _latency.noise_lines([noise]) == ["noise floor: quiet"]
    assert _latency.noise_lines([Note("unmeasured", "noise floor", "why")]) == []
