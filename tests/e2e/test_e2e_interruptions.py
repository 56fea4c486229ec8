"""Kills, full disks and twins: nothing half-written, nothing lost, nothing done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

# A test run in the background of a script is told to ignore Ctrl-C, and so are its children.
HEAR_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
COMMAND = (
    *(sys.executable, "-c", f"{HEAR_CTRL_C}; from edgekit.__main__ import main; main()"),
    "compress",
)
ZOO = ("zoo:digits-cnn", "--recipe", "float32", "--target", "null", "--data", "digits")


def start(cache: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, "EDGEKIT_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epochs(cache: Path, count: int) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        for history in cache.glob("training/*/history.json"):
            if len(json.loads(history.read_text())["epochs"]) >= count:
                return
        time.sleep(0.05)
    raise AssertionError("the training did not get that far")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.tensorflow
@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_as_if_never_killed(tmp_path: Path) -> None:
    """Ctrl-C first, then a kill that no program can answer; the digest is that of a whole run."""
    cache, work = tmp_path / "cache", tmp_path / "work"
    work.mkdir()
    for number, (end, code) in enumerate(((signal.SIGINT, 130), (signal.SIGKILL, -9)), 1):
        process = start(cache, *ZOO, "--out", work / "out")
        wait_for_epochs(cache, 4 * number)
        process.send_signal(end)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code
        assert "Traceback" not in err
        if end == signal.SIGINT:
            assert err.splitlines()[-1] == "error: interrupted; nothing half-written was left"
            assert names(work) == []
            assert names(cache / "scratch") == []
    assert not (work / "out").exists()
    resumed = start(cache, *ZOO, "--out", work / "resumed")
    assert resumed.communicate(timeout=120)[1] == ""
    assert resumed.returncode == 0
    whole = start(tmp_path / "fresh", *ZOO, "--out", work / "whole")
    whole.communicate(timeout=120)
    digests = [
        json.loads((work / name / "report.json").read_text())["result"]["digest"]
        for name in ("resumed", "whole")
    ]
    assert digests[0] == digests[1]


def test_two_at_once_both_succeed(tmp_path: Path, tiny_float: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((64, 8, 8, 1), np.float32))
    plain = ("--recipe", "int8", "--target", "null", "--data", f"npz:{tmp_path}/d.npz")
    running = [
        start(tmp_path / "cache", tiny_float, *plain, "--out", tmp_path / f"out{number}")
        for number in range(2)
    ]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (3, "")
    models = [(tmp_path / f"out{number}/model.tflite").read_bytes() for number in range(2)]
    assert models[0] == models[1]


@pytest.mark.tensorflow
@pytest.mark.slow
def test_two_trainings_at_once_are_one(tmp_path: Path) -> None:
    """The second waits for the first and takes its model; it trains nothing."""
    running = [
        start(tmp_path / "cache", *ZOO, "--out", tmp_path / f"out{number}") for number in range(2)
    ]
    for process in running:
        _, err = process.communicate(timeout=180)
        assert (process.returncode, err) == (0, "")
    reports = [
        json.loads((tmp_path / f"out{number}/report.json").read_text()) for number in range(2)
    ]
    assert reports[0]["result"]["digest"] == reports[1]["result"]["digest"]
    assert sorted(report["steps"][0]["cached"] for report in reports) == [False, True]


def test_two_on_one_output_leave_one_whole_result(tmp_path: Path, tiny_float: Path) -> None:
    plain = ("--recipe", "dynamic-int8", "--target", "null", "--out", tmp_path / "out", "--force")
    running = [start(tmp_path / "cache", tiny_float, *plain) for _ in range(2)]
    codes = []
    for process in running:
        _, err = process.communicate(timeout=120)
        codes.append(process.returncode)
        assert "Traceback" not in err
    assert 3 in codes
    assert set(codes) <= {2, 3}
    reports = ["report.html", "report.json", "report.md"]
    # What no device runs, as what is for the null target, is no bundle either.
    assert names(tmp_path / "out") == ["model.tflite", *reports]
    assert names(tmp_path) == ["cache", "out"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
@pytest.mark.parametrize(("place", "size"), [("--out", "16k"), ("EDGEKIT_CACHE", "4k")])
def test_a_full_disk_is_one_sentence(
    tmp_path: Path, tiny_float: Path, place: str, size: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk to be had: {mounted.stderr.decode().strip()}")
    try:
        out = disk / "out" if place == "--out" else tmp_path / "out"
        cache = disk / "cache" if place == "EDGEKIT_CACHE" else tmp_path / "cache"
        process = start(cache, tiny_float, "--recipe", "float16", "--target", "null", "--out", out)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 2, err
        assert err.startswith(f"error: {place} '{disk}")
        assert "no space left on device" in err
        assert "Traceback" not in err
        assert not out.exists()
        if place == "--out":
            assert names(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)
