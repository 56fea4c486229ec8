"""What a project's checks leave: the history and its repair, the lock, the outputs."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgekit.core import catalog
from edgekit.core.gate import CheckRow, Finding, GateResult, RowResult
from edgekit.core.limits import Limits, SourcedLimits
from edgekit.engine.check_history import append, history_line, load_history, machine_digest
from edgekit.engine.check_lock import turn_in
from edgekit.engine.check_outputs import FAMILY, publish, write_outputs
from edgekit.errors import UsageError

ROW = CheckRow("kws", "m.tflite", "cpu-litert", SourcedLimits(Limits(), "edgekit.toml"))
BROKEN = Finding(
    "max_size", "limit", "fail", "bytes", 90, 80, "edgekit.toml: check 'kws': max_size"
)


def result(*findings: Finding) -> GateResult:
    return GateResult(
        (RowResult(ROW, findings),), "edgekit.toml", "0.1", "2026-11-22T12:00:00Z", {}
    )


def line(utc: str, name: str = "kws") -> dict[str, Any]:
    return {"name": name, "utc": utc, "size_bytes": 3}


def test_lines_are_added_and_read_by_row(tmp_path: Path) -> None:
    assert load_history(tmp_path) == ({}, "")
    append(tmp_path, [line("1"), line("1", "vww")])
    append(tmp_path, [line("2")])
    rows, note = load_history(tmp_path)
    assert note == ""
    assert [entry["utc"] for entry in rows["kws"]] == ["1", "2"]
    assert [entry["utc"] for entry in rows["vww"]] == ["1"]


@pytest.mark.parametrize("keep", [1, 30, 58])
def test_a_line_that_was_cut_off_is_set_aside(tmp_path: Path, keep: int) -> None:
    append(tmp_path, [line("1"), line("2")])
    path = tmp_path / "history.jsonl"
    whole = path.read_bytes()
    first, second = whole.splitlines(keepends=True)
    path.write_bytes(first + second[:keep] if keep < len(second) - 1 else whole[:-1])
    rows, note = load_history(tmp_path)
    cut = keep < len(second) - 1
    assert len(rows["kws"]) == (1 if cut else 2)
    assert ("1 line was cut off, now in history.jsonl.damaged" in note) == cut
    damaged = tmp_path / "history.jsonl.damaged"
    assert damaged.exists() == cut
    if cut:
        assert damaged.read_bytes() == second[:keep] + b"\n"
    append(tmp_path, [line("3")])
    again, note = load_history(tmp_path)
    assert [entry["utc"] for entry in again["kws"]][-1] == "3"
    assert note == ""


def test_a_cut_in_the_middle_loses_no_other_line(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(
        b'{"name": "kws", "ut{"name": "kws", "utc": "2"}\n{"name": "kws", "utc": "3"}\n'
    )
    rows, note = load_history(tmp_path)
    assert [entry["utc"] for entry in rows["kws"]] == ["3"]
    assert "1 line was cut off" in note
    assert b'"ut{"' in (tmp_path / "history.jsonl.damaged").read_bytes()


@pytest.mark.parametrize("text", ["[1]", '{"name": 3, "utc": "1"}', '{"name": "a"}', "NaN", "\x00"])
def test_lines_of_others_are_set_aside_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.jsonl").write_text(text + "\n")
    assert load_history(tmp_path)[0] == {}
    assert (tmp_path / "history.jsonl.damaged").read_text() == text + "\n"


def test_a_huge_history_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.engine.check_history._MOST_BYTES", 10)
    append(tmp_path, [line("1")])
    rows, note = load_history(tmp_path)
    assert rows == {}
    assert "larger than 64 MB" in note


def test_a_line_has_what_plots_need(tmp_path: Path) -> None:
    made = history_line(RowResult(ROW), utc="now", machine={"cpu": "a"}, baseline_ratio=1.02)
    assert made == {
        "name": "kws", "utc": "now", "status": "pass",
        "baseline_latency_ratio": 1.02, "machine": machine_digest({"cpu": "a"}),
    }  # fmt: skip
    assert machine_digest({"cpu": "a", "load_1min": 3}) == machine_digest({"cpu": "a"})
    assert machine_digest({"cpu": "b"}) != machine_digest({"cpu": "a"})
    assert machine_digest({"device": {"device": "pi"}}) != machine_digest({})


def test_a_second_check_waits_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    done: list[float] = []

    def second() -> None:
        with turn_in(tmp_path, say=said.append):
            done.append(time.monotonic())

    with turn_in(tmp_path, say=said.append) as state:
        assert said == []
        thread = threading.Thread(target=second)
        thread.start()
        deadline = time.monotonic() + 10
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not done
        released = time.monotonic()
    thread.join(10)
    assert done[0] >= released
    assert said == [f"another edgekit check runs on {tmp_path.name}: waiting until it is done"]
    assert (state / ".gitignore").read_text() == "*\n"
    with (state / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / ".edgekit").write_text("a file")
    with pytest.raises(UsageError, match=r"folder '.*\.edgekit'"), turn_in(tmp_path, say=print):
        pass
    with pytest.raises(UsageError, match="--out"):
        write_outputs(result(), tmp_path / ".edgekit" / "out")


def test_every_output_is_written(tmp_path: Path) -> None:
    written = write_outputs(result(BROKEN), tmp_path / "a" / "b")
    suffixes = {catalog.load(FAMILY, name).SUFFIX for name in catalog.names(FAMILY)} - {""}
    assert {path.name for path in written} == suffixes
    assert sorted(os.listdir(tmp_path / "a" / "b")) == sorted(suffixes)
    assert json.loads((tmp_path / "a" / "b" / "result.json").read_text())
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in written)


def test_the_summary_and_the_log_of_github(tmp_path: Path) -> None:
    assert publish(result(BROKEN), {}) == ""
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    lines = publish(result(BROKEN), {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)})
    assert lines.startswith("::error file=edgekit.toml")
    assert summary.read_text().startswith("before\n")
    assert "kws" in summary.read_text()
    with pytest.raises(UsageError, match="GITHUB_STEP_SUMMARY"):
        publish(result(), {"GITHUB_STEP_SUMMARY": str(summary / "no-folder")})
