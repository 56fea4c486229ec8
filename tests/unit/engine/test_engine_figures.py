"""A target's own figures: an estimate stands where nothing was measured, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.artifact import Signature
from edgekit.core.measurement import Figure, Latency, Memory
from edgekit.engine import bench_device
from edgekit.engine.bench import BenchModel
from edgekit.engine.figures import with_figures
from edgekit.errors import UnmeasuredError

FIGURES = (
    Figure("latency", 1_500, "ns", "estimated", "a compiler"),
    Figure("memory", 2_048, "bytes", "measured", "an arena"),
    Figure("NPU cycles", 7, "cycles", "estimated", "a compiler"),
)
MODEL = BenchModel(Path("m.tflite"), "tflite", Signature((), ()), "litert", {})
INPUTS = (np.zeros((1, 2), np.float32),)


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_device, "figures", lambda model, inputs: FIGURES)


def test_they_stand_where_nothing_was_measured() -> None:
    latency, memory, others = with_figures(
        MODEL,
        inputs=INPUTS,
        latency=Latency("unmeasured", "emulated"),
        memory=Memory("unmeasured", "emulated"),
    )
    assert (latency.kind, latency.reason, latency.median_ns) == ("estimated", "a compiler", 1_500)
    assert (memory.kind, memory.peak_bytes, memory.process) == ("measured", 2_048, "an arena")
    assert [figure.name for figure in others] == ["NPU cycles"]


def test_a_clock_is_never_overruled() -> None:
    latency, memory = Latency("measured", median_ns=9), Memory("measured", peak_bytes=9)
    found = with_figures(MODEL, inputs=INPUTS, latency=latency, memory=memory)
    assert found == (latency, memory, FIGURES)


def test_a_model_that_does_not_open_keeps_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: BenchModel, inputs: object) -> tuple[Figure, ...]:
        raise UnmeasuredError("no such op")

    monkeypatch.setattr(bench_device, "figures", fail)
    latency, memory = Latency("unmeasured", "emulated"), Memory("unmeasured", "emulated")
    found = with_figures(MODEL, inputs=INPUTS, latency=latency, memory=memory)
    assert found == (latency, Memory("unmeasured", "no such op"), ())
