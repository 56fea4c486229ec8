"""Measuring on a device through a real ssh server on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sshd import Sshd, running_sshd
from support import edgekit


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def board(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sshd:
    """The current folder has an edgekit.toml that names the server 'board'."""
    (tmp_path / "edgekit.toml").write_text(sshd.table("board"))
    monkeypatch.chdir(tmp_path)
    return sshd


def left(server: Sshd) -> list[str]:
    return [item.name for item in (server.home / ".edgekit").glob("run-*")]


def test_bench_is_timed_there(board: Sshd, tiny_float: Path) -> None:
    found = edgekit("bench", tiny_float, "--on", "board", "--json")
    assert (found.code, found.err) == (0, "")
    facts = json.loads(found.out)
    assert facts["latency"]["process"].startswith("run.py on board (")
    assert facts["latency"]["median_ns"] > 0
    assert len(facts["latency"]["samples_ns"]) >= 64
    assert "run.py on board" in facts["memory"]["process"]
    assert {op["where"] for op in facts["placement"]["ops"]} == {"XNNPACK"}
    assert left(board) == []


def test_validate_runs_the_test_split_there(board: Sshd, tiny_float: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez("d.npz", x=rng.random((80, 8, 8, 1), np.float32), y=rng.integers(0, 10, 80))
    words = ("validate", tiny_float, "--data", "npz:d.npz", "--json")
    there, here = edgekit(*words, "--on", "board"), edgekit(*words)
    assert (there.code, there.err) == (0, "")
    assert json.loads(there.out)["value"] == json.loads(here.out)["value"]


def test_a_bundle_is_copied_there_and_proves_itself(board: Sshd, tiny_float: Path) -> None:
    found = edgekit(
        *("bundle", tiny_float, "--target", "cpu-litert", "--out", "t.ekb", "--on", "board")
    )
    assert (found.code, found.err) == (0, "")
    assert "selftest on board (" in found.out
    assert left(board) == []


def test_a_board_that_drops_the_connection_gives_no_result(
    board: Sshd, tiny_float: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop() -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if left(board):
                time.sleep(0.5)
                for session in board.sessions():
                    os.kill(session, signal.SIGKILL)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=drop)
    thread.start()
    found = edgekit("bench", tiny_float, "--on", "board")
    thread.join()
    assert found.code == 3
    assert "median" not in found.out
    said = found.out + found.err
    assert "board" in said
    assert "connection" in said, said


def test_ctrl_c_leaves_nothing_running_there(board: Sshd, tiny_float: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", "bench", tiny_float, "--on", "board"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until = time.monotonic() + 60
    while not left(board) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "error: interrupted; nothing half-written was left"
    until = time.monotonic() + 20
    while (left(board) or board.sessions()) and time.monotonic() < until:
        time.sleep(0.05)
    assert (left(board), board.sessions()) == ([], [])
