"""A model is slower where its whole interval says so, twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.core.artifact import Signature
from edgekit.core.measurement import Latency
from edgekit.engine import check_latency
from edgekit.engine.bench import BenchModel
from edgekit.engine.bench_ratio import with_ratio
from edgekit.engine.check_latency import compare_twice, is_slower

MODEL = BenchModel(Path("m"), "tflite", Signature((), ()), "null", {})


def measured(*ratios: tuple[float, float]) -> Iterator[tuple[Latency, Latency]]:
    for low, high in ratios:
        found = with_ratio(Latency("measured"), (low + high) / 2, (low, high), margin=0.03)
        yield Latency("measured"), found


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ([(0.99, 1.02)], False),  # Not over the limit.
        ([(0.98, 1.12)], False),  # Over it, and it may be chance.
        ([(1.02, 1.06)], False),  # Slower, and it may be less than the limit.
        ([(1.04, 1.06), (0.99, 1.01)], False),  # Not confirmed.
        ([(1.04, 1.06), (1.02, 1.07)], False),  # Confirmed to be slower, not by how much.
        ([(1.04, 1.06), (1.031, 1.07)], True),
    ],
)
def test_slower_is_what_two_measurements_say(
    monkeypatch: pytest.MonkeyPatch, ratios: list[tuple[float, float]], said: bool
) -> None:
    answers = measured(*ratios)
    monkeypatch.setattr(check_latency, "compare_latency", lambda *a, **k: next(answers))
    runs = compare_twice(MODEL, MODEL, inputs=(), threshold=0.03)
    assert [latency.ratio_ci95 for _, latency in runs] == ratios
    assert is_slower(runs[-1][1], 0.03) is said
    assert next(answers, None) is None, "it measured as often as it had to"


def test_what_cannot_be_timed_is_not_called_slower(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"no model at all")
    model = BenchModel(path, "tflite", Signature((), ()), "litert", {})
    ((_, latency),) = compare_twice(model, model, inputs=(), threshold=0.03)
    assert (latency.kind, is_slower(latency, 0.03)) == ("unmeasured", False)
    assert latency.reason
