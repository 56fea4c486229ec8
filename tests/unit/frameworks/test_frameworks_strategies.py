"""Strategies: TF_CONFIG, one replica as none, two worker processes, and one that is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_cases import LIBRARIES, builder, digest, halves, trained

from edgekit.errors import UsageError
from edgekit.frameworks import strategies

SCRIPT = Path(__file__).with_name("worker_script.py")
ROOT = Path(__file__).resolve().parents[3]


def config(index: Any = 0, workers: Any = ("a:1", "b:2")) -> str:
    cluster = {"worker": list(workers) if isinstance(workers, tuple) else workers}
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})


class TestCluster:
    def test_a_cluster_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TF_CONFIG", config(1))
        strategies.check_cluster()
        assert strategies.worker_name("multi-worker") == "worker-1"

    @pytest.mark.parametrize("strategy", ["none", "mirrored"])
    def test_one_process_has_no_worker_name(
        self, monkeypatch: pytest.MonkeyPatch, strategy: str
    ) -> None:
        monkeypatch.setenv("TF_CONFIG", config(1))
        assert strategies.worker_name(strategy) == ""

    def test_it_must_be_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
        for function in (strategies.check_cluster, lambda: strategies.worker_name("multi-worker")):
            with pytest.raises(UsageError) as caught:
                function()
            assert caught.value.message == (
                "strategy = 'multi-worker' needs TF_CONFIG, which is not set"
            )
            assert caught.value.hint.startswith("each worker is started with TF_CONFIG=")

    @pytest.mark.parametrize(
        "text",
        [
            "{",
            "[]",
            "{}",
            '{"cluster": {"worker": ["a:1"]}}',
            config(2),
            config(-1),
            config("0"),
            config(None),
            config(0, "a:1"),
            config(0, ()),
        ],
    )
    def test_it_must_describe_a_cluster(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(UsageError) as caught:
            strategies.check_cluster()
        assert caught.value.message == f"TF_CONFIG '{text}' does not describe a cluster of workers"
        assert caught.value.hint

    def test_none_is_none(self) -> None:
        assert strategies.start("none") is None


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", LIBRARIES)
def test_mirrored_over_one_device_is_as_none(tmp_path: Path, name: Any) -> None:
    usual, mirrored = (
        trained(tmp_path / strategy, builder(name, dropout=0), epochs=2, strategy=strategy)
        for strategy in ("none", "mirrored")
    )
    assert digest(mirrored.model) == digest(usual.model)
    assert [epoch.select_loss for epoch in mirrored.curve.epochs] == [
        epoch.select_loss for epoch in usual.curve.epochs
    ]


def started(name: str, strategy: str, folder: Path, task: str, **more: str) -> Any:
    """The worker script in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'tests'}:{SCRIPT.parent}:{ROOT}",
        "CUDA_VISIBLE_DEVICES": "-1",
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        **more,
    }
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), name, strategy, str(folder), task],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder.parent,
    )


def ended(process: Any) -> list[Any]:
    """What it printed: of each training the digest, the losses, and after what it resumed."""
    out, error = process.communicate(timeout=240)
    assert process.returncode == 0, error[-3000:]
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.tensorflow
def test_mirrored_over_two_devices_learns_as_one_does(tmp_path: Path) -> None:
    """The sum of their gradients is that of the batch; sgd, as Adam sees no factor in them."""
    both = ended(started("", "mirrored", tmp_path / "two", "two"))
    for name, (replicas, losses) in zip(LIBRARIES, both, strict=True):
        assert replicas == 2
        build, data = builder(name, "same"), halves(labels="none")
        one = trained(tmp_path / name, build, data, optimizer="sgd").curve
        expected = [[epoch.loss, epoch.select_loss] for epoch in one.epochs]
        np.testing.assert_allclose(losses, expected, rtol=1e-4)
        assert losses[-1][1] < losses[0][1]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def workers(name: str, folder: Path, *tasks: str) -> list[list[Any]]:
    """Runs the script in one process for each of the tasks, all workers of one cluster."""
    addresses = tuple(f"localhost:{port}" for port in free_ports(len(tasks)))
    processes = []
    try:
        for index, task in enumerate(tasks):
            own = folder / f"worker-{index}"
            settings = config(index, addresses)
            processes.append(started(name, "multi-worker", own, task, TF_CONFIG=settings))
        return [ended(process) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", LIBRARIES)
def test_two_workers_end_with_the_same_weights_also_where_one_lost_an_epoch(
    tmp_path: Path, name: str
) -> None:
    first, second = workers(name, tmp_path, "again", "forget")
    assert first == second
    (before, losses, resumed), (after, losses_again, resumed_again) = first
    assert (resumed, resumed_again) == (0, 3)
    assert (before, losses) == (after, losses_again)
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.tensorflow
def test_killed_and_resumed_is_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    process = started("keras", "none", folder, "long")
    history = folder / "history.json"
    deadline = time.monotonic() + 120
    while not history.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = len(json.loads(history.read_text())["epochs"])
    assert 1 <= done < 40
    (weights, losses, resumed), whole = ended(started("keras", "none", folder, "compare"))
    assert done <= resumed < 40
    assert whole == [weights, losses, 0]
