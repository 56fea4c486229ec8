"""Instruction counts under callgrind, and what is said where they cannot be had."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.core.device import DeviceSpec
from edgekit.engine import arena, count, figure_process
from edgekit.engine.arena import measure_arena
from edgekit.engine.bench_process import BenchModel, WorkerError
from edgekit.engine.count import Count, count_instructions, request_library
from edgekit.errors import UnmeasuredError
from edgekit.runners import litert

X = (np.array([[-1.0, 2.0]], np.float32),)
SPECS = (TensorSpec("x", (1, 2), "float32"),), (TensorSpec("y", (1, 2), "float32"),)
TOOLS = pytest.mark.skipif(
    shutil.which("valgrind") is None or shutil.which("cc") is None,
    reason="valgrind or a C compiler is not installed",
)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))


def litert_model(folder: Path, *, threads: int = 1) -> BenchModel:
    path = folder / "m.tflite"
    path.write_bytes(litert._PROBE)
    options = {"threads": threads, "kernels": "xnnpack"}
    return BenchModel(path, "tflite", Signature(*SPECS), "litert", options)


def tools(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """A PATH on which only these shell scripts are."""
    place = folder / "bin"
    place.mkdir()
    for name, script in scripts.items():
        (place / name).write_text(f"#!/bin/sh\n{script}\n")
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(place))


def reason(folder: Path) -> str:
    found = count_instructions(litert_model(folder), inputs=X)
    assert (found.kind, found.instructions, found.counts) == ("unmeasured", None, ())
    return found.reason


@TOOLS
def test_two_processes_count_the_same_on_one_thread(tmp_path: Path) -> None:
    found = count_instructions(litert_model(tmp_path, threads=2), inputs=X)
    assert (found.kind, found.reason, found.repeats) == ("measured", "", True)
    assert found.instructions is not None
    assert 500 < found.instructions < 100_000
    assert found.process == "2 fresh processes under callgrind, 1 thread"
    (library,) = (tmp_path / "cache/count").iterdir()
    assert request_library() == library


def test_counts_that_differ_are_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([1010, 1000])
    monkeypatch.setattr(count, "request_library", lambda: Path("requests.so"))
    monkeypatch.setattr(count, "_count", lambda *_: next(counts))
    found = count_instructions(litert_model(tmp_path), inputs=X)
    assert (found.instructions, found.counts, found.repeats) == (1000, (1010, 1000), False)


def test_the_median_of_the_calls_less_what_counting_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: object, folder: Path, **__: object) -> None:
        for number, total in enumerate([900, 50, 1050, 9999, 1051, 1049, 1050], 1):
            (folder / f"counts.{number}").write_text(f"version: 1\ntotals: {total}\n")
        (folder / "counts.10").write_text("version: 1\ntotals: 1050\n")

    monkeypatch.setattr(count, "ask_figure", ask)
    assert count._count(litert_model(tmp_path), X, Path("requests.so")) == 1000


def test_without_valgrind_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(tmp_path, monkeypatch)
    assert reason(tmp_path) == "valgrind is not installed (apt-get install valgrind)"


def test_without_a_compiler_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(tmp_path, monkeypatch, valgrind="")
    assert reason(tmp_path) == ("no C compiler (cc, gcc, clang) is installed (apt-get install gcc)")


def test_a_compiler_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(tmp_path, monkeypatch, valgrind="", cc="echo some >&2; echo 'no space' >&2; exit 1")
    assert reason(tmp_path) == (f"{tmp_path}/bin/cc does not compile count_requests.c: no space")
    assert list((tmp_path / "cache/count").iterdir()) == []
    (tmp_path / "bin/cc").write_text("no program at all")
    assert "cc does not work: " in reason(tmp_path)


def test_another_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count.platform, "machine", lambda: "riscv64")
    with pytest.raises(UnmeasuredError, match="on x86_64 and aarch64, not on riscv64"):
        request_library()


@TOOLS
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"', "valgrind does not answer"),
        ("echo broken >&2; exit 3", "the process that measures ended with exit code 3: broken"),
        ("kill -ILL $$", "the process that measures crashed with SIGILL"),
        ("echo '{}'", "callgrind wrote no counts"),
    ],
)
def test_a_valgrind_that_does_not_work_is_a_reason(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_library()  # While the real compiler can be found.
    tools(tmp_path, monkeypatch, valgrind=script)
    assert reason(tmp_path) == said


def test_a_dump_without_a_total_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "counts.1").write_text("version: 1\n")
    with pytest.raises(WorkerError, match=r"callgrind's file counts.1 has no 'totals:'"):
        count._total(tmp_path / "counts.1")


def test_nothing_is_counted_on_a_device(tmp_path: Path) -> None:
    model = litert_model(tmp_path)
    board = BenchModel(**{**vars(model), "device": DeviceSpec("ssh", None, "a board")})
    said = "edgekit counts none on a device (a board)"
    assert count_instructions(board, inputs=X) == Count("unmeasured", said)


def test_the_arena_is_the_runners_word_or_unmeasured(tmp_path: Path) -> None:
    model = litert_model(tmp_path)
    found = measure_arena(model, inputs=X)
    assert (found.kind, found.arena_bytes, found.least_bytes) == ("measured", 72, 16)
    null = BenchModel(model.path, "tflite", model.signature, "null", {"threads": 1})
    assert measure_arena(null, inputs=X).reason == "the runtime of 'null' does not show it"
    board = BenchModel(**{**vars(model), "device": DeviceSpec("ssh", None, "a board")})
    assert measure_arena(board, inputs=X).reason == "edgekit reads none on a device (a board)"
    model.path.write_bytes(b"no model at all")
    assert "The model is not a valid Flatbuffer buffer" in measure_arena(model, inputs=X).reason


def test_a_worker_without_an_answer_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "silent_worker.py").write_text("")
    monkeypatch.setattr(figure_process, "_WORKER", "silent_worker")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path[1:2]]))
    found = arena.measure_arena(litert_model(tmp_path), inputs=X)
    assert found.reason == "the process gave no answer"
