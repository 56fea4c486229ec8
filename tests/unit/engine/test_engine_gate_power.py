"""The script that measures the gate's power: what it plants is there, and its table says it."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edgekit.core.measurement import Latency
from edgekit.engine.bench import compare_latency
from edgekit.engine.bench_ratio import with_ratio

SCRIPT = Path(__file__).resolve().parents[3] / "tools" / "bench" / "gate_power.py"


@pytest.fixture(scope="module")
def gate_power() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gate_power", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gate_power"] = module
    spec.loader.exec_module(module)
    return module


def test_the_planted_share_is_what_is_measured(
    gate_power: ModuleType, tiny_float: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    gate_power.plug_in(tmp_path)
    model, inputs = gate_power.subjects(tiny_float)
    slower = dataclasses.replace(model, options={**model.options, "share": 1.0})
    _, found = compare_latency(model, slower, inputs=inputs, seconds=0.4, processes=2)
    assert found.ratio_to_reference is not None, found.reason
    # Starting the burning takes its own time, which of a model of 2 us is a part.
    assert 1.4 < found.ratio_to_reference < 2.1


def test_a_row_counts_what_was_said(gate_power: ModuleType, tmp_path: Path) -> None:
    slower = with_ratio(Latency("measured"), 1.05, (1.04, 1.06), margin=0.03)
    equal = with_ratio(Latency("measured"), 1.0, (0.995, 1.005), margin=0.03)
    runs = [gate_power.Run(True, slower, 20.0), gate_power.Run(False, equal, 10.0)]
    case = gate_power.Case(0.05, 0.03, "99 of 100")
    assert gate_power.row(case, runs) == (
        "| 5 % | 3 % | 2 | 1 | 99 of 100 | 1 slower, 1 no difference | 1.000 to 1.050 | 0.75 % "
        "| 15.0 s | 20.0 s |"
    )
    gate_power.keep(tmp_path / "raw.jsonl", case, runs[0], busy=True)
    kept = json.loads((tmp_path / "raw.jsonl").read_text())
    assert (kept["planted"], kept["said"], kept["busy"]) == (0.05, True, True)


def test_nothing_stays_busy_afterwards(
    gate_power: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *a, **k: started.append(real(*a, **k)) or started[-1]
    )
    with pytest.raises(RuntimeError, match="stop"), gate_power.busy_core():
        assert started[0].poll() is None
        raise RuntimeError("stop")
    assert started[0].poll() is not None


def test_a_loss_of_1_percent_is_always_called_worse(
    gate_power: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    gate_power.flips_table()
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[3:]]
    said = {int(planted): int(called) for planted, _, called in rows}
    assert said[100] == 2000
    assert said[10] < 0.5 * 2000
    assert said[0] < 0.05 * 2000
