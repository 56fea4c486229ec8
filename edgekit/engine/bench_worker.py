"""The process that measures: imports a runner and nothing else, answers in JSON.

It is started as `python -m edgekit.engine.bench_worker` with one request on stdin, and it writes
one answer to stdout. Whatever a runtime prints goes to stderr.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.core import catalog
from edgekit.core.artifact import Quantization, Signature, TensorSpec
from edgekit.core.runner import Session

__all__ = ["main", "signature_from_json"]

_BLOCK_NS = 2_000_000
"""How long a block of runs should take: long enough for a model of microseconds to fall into step,
short enough that the machine is the same for the block after it."""
_MOST_RUNS = 20_000
_LEAST_ROUNDS = 5
_STEADY = 0.03
_FRAMEWORK = "tensorflow"


@dataclass
class _Subject:
    """A model to measure, its inputs, and what was found so far."""

    module: ModuleType
    path: Path
    signature: Signature
    options: Mapping[str, Any]
    inputs: tuple[Any, ...]
    load_ns: list[int] = field(default_factory=list)
    first_ns: list[int] = field(default_factory=list)

    def open(self) -> Session:
        """Opens the model and runs it once, both timed."""
        start = time.perf_counter_ns()
        session: Session = self.module.open(
            self.path, self.signature, self.module.Options(**self.options)
        )
        loaded = time.perf_counter_ns()
        session.run(self.inputs)
        self.load_ns.append(loaded - start)
        self.first_ns.append(time.perf_counter_ns() - loaded)
        return session


def main() -> None:
    """Reads a request, does its job, writes the answer."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    try:
        answer = _JOBS[request["job"]](request)
    except Exception as error:  # The parent process says it; nothing may be lost in a traceback.
        answer = {"error": str(error) or type(error).__name__}
    json.dump(answer, answers)
    answers.close()


def signature_from_json(table: Mapping[str, Any]) -> Signature:
    """The inverse of `dataclasses.asdict` for a signature."""

    def specs(side: str) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                spec["name"],
                tuple(spec["shape"]),
                spec["dtype"],
                Quantization(**spec["quantization"]) if spec["quantization"] else None,
            )
            for spec in table[side]
        )

    return Signature(specs("inputs"), specs("outputs"))


def _subjects(request: Mapping[str, Any]) -> list[_Subject]:
    import numpy as np

    return [
        _Subject(
            module=catalog.load("runners", model["runner"]),
            path=Path(model["path"]),
            signature=signature_from_json(model["signature"]),
            options=model["options"],
            inputs=tuple(np.load(file, allow_pickle=False) for file in model["inputs"]),
        )
        for model in request["models"]
    ]


def _time(request: Mapping[str, Any]) -> dict[str, Any]:
    """Times one model, or two of them interleaved, for about the seconds that were asked for."""
    subjects = _subjects(request)
    for subject in subjects:  # Imports the runtime and fills the page cache, so neither is timed.
        subject.open().close()
        subject.load_ns.clear()
        subject.first_ns.clear()
    gc.disable()
    rounds = _rounds(subjects, request)
    declared = any(_FRAMEWORK in s.module.FRAMEWORKS for s in subjects)
    return {
        "rounds": rounds,
        "load_ns": [round(statistics.median(subject.load_ns)) for subject in subjects],
        "first_ns": [round(statistics.median(subject.first_ns)) for subject in subjects],
        "framework": _FRAMEWORK if _FRAMEWORK in sys.modules else "",
        "framework_declared": declared,
    }


def _rounds(subjects: Sequence[_Subject], request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Two instances of one model differ a little for where they happen to lie in memory.

    So each round opens fresh instances, in alternating order, unless that would take longer than
    the round itself.
    """
    span = int(request["seconds"] * 1e9)
    round_ns = span // request["rounds"]
    sessions: list[Session] = []
    found: list[dict[str, Any]] = []
    pace = [0] * len(subjects)
    begin, opening_ns = time.perf_counter_ns(), 0
    for number in range(request["rounds"]):
        order = _order(len(subjects), number + request["turn"])
        if not sessions or opening_ns <= round_ns:
            start = time.perf_counter_ns()
            _close(sessions, order)  # The order was the other way round when they were opened.
            sessions = _open(subjects, order)
            for index in order:
                pace[index] = _warm_up(sessions[index].invoke, round_ns // 8)
            opening_ns = time.perf_counter_ns() - start
        found.append(_round(sessions, order, pace, round_ns, request["keep"]))
        late = time.perf_counter_ns() - begin > 3 * span
        if late and len(found) >= _LEAST_ROUNDS:
            break
    _close(sessions, range(len(sessions)))
    return found


def _order(count: int, number: int) -> list[int]:
    order = list(range(count))
    return order if number % 2 == 0 else order[::-1]


def _open(subjects: Sequence[_Subject], order: Sequence[int]) -> list[Session]:
    opened = {index: subjects[index].open() for index in order}
    return [opened[index] for index in range(len(subjects))]


def _close(sessions: list[Session], order: Iterable[int]) -> None:
    """Last opened, first closed: the memory that is free first then goes to the other model."""
    if sessions:
        for index in order:
            sessions[index].close()
        sessions.clear()
        gc.collect()


def _warm_up(invoke: Callable[[], object], limit_ns: int) -> int:
    """Runs until three medians in a row agree within 3 %; returns the time of one run."""
    begin, runs, medians = time.perf_counter_ns(), 1, list[int]()
    while True:
        medians.append(statistics.median_low(_block(invoke, runs)))
        runs = _runs(medians[-1])
        last = medians[-3:]
        if len(last) == 3 and max(last) <= (1 + _STEADY) * min(last):
            return medians[-1]
        if time.perf_counter_ns() - begin > limit_ns:
            return medians[-1]


def _runs(pace_ns: int) -> int:
    return max(1, min(_MOST_RUNS, _BLOCK_NS // max(pace_ns, 1)))


def _round(
    sessions: Sequence[Session], order: list[int], pace: Sequence[int], round_ns: int, keep: int
) -> dict[str, Any]:
    """Blocks in the order first, second, second, first, again and again until the time is up."""
    samples: list[list[int]] = [[] for _ in sessions]
    begin = time.perf_counter_ns()
    while True:
        for index in (*order, *order[::-1]):
            samples[index] += _block(sessions[index].invoke, _runs(pace[index]))
        if time.perf_counter_ns() - begin > round_ns:
            break
    return {
        "median_ns": [round(statistics.median(runs)) for runs in samples],
        "runs": [len(runs) for runs in samples],
        "samples_ns": [runs[:: -(-len(runs) // keep)] for runs in samples],
    }


def _block(invoke: Callable[[], object], runs: int) -> list[int]:
    """Times each run; one look at the clock ends a run and starts the next one."""
    clock = time.perf_counter_ns
    stamps = [clock()] * (runs + 1)
    for index in range(1, runs + 1):
        invoke()
        stamps[index] = clock()
    return [after - before for before, after in pairwise(stamps)]


def _peak(request: Mapping[str, Any]) -> dict[str, Any]:
    """The highest resident memory, after some runs of one model."""
    (subject,) = _subjects(request)
    before = _high_water_bytes()
    session = subject.open()
    for _ in range(5):
        session.invoke()
    return {"peak_bytes": _high_water_bytes(), "before_bytes": before}


def _high_water_bytes() -> int:
    """VmHWM: unlike getrusage's figure it is of this program, not of the one that started it."""
    status = Path("/proc/self/status")
    if not status.is_file():
        raise OSError("this system has no /proc/self/status, which the peak is read from")
    for line in status.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM, which the peak is read from")


def _place(request: Mapping[str, Any]) -> dict[str, Any]:
    """Which op runs where."""
    (subject,) = _subjects(request)
    session = subject.module.open(
        subject.path, subject.signature, subject.module.Options(**subject.options)
    )
    return {"placement": asdict(session.placement())}


def _profile(request: Mapping[str, Any]) -> dict[str, Any]:
    """The time of each op over some runs; None where the runtime has no profiler."""
    (subject,) = _subjects(request)
    session = subject.open()
    if not hasattr(session, "profile"):
        return {"ops": None}
    return {"ops": [asdict(op) for op in session.profile(request["runs"])]}


_JOBS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "time": _time,
    "peak": _peak,
    "place": _place,
    "profile": _profile,
}

if __name__ == "__main__":
    main()
