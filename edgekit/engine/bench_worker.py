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
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.core import catalog
from edgekit.core.artifact import Quantization, Signature, TensorSpec
from edgekit.core.runner import Session
from edgekit.engine.bench_rounds import rounds

__all__ = ["main", "signature_from_json"]

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

    def start(self) -> Session:
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

    def open(self) -> _Opened:
        """The same, ready to be timed further."""
        return _Opened(self.start())


@dataclass
class _Opened:
    """A model in this process; `block` times the runtime's own call and nothing around it."""

    session: Session

    def block(self, runs: int) -> list[int]:
        return _block(self.session.invoke, runs)

    def close(self) -> None:
        self.session.close()
        gc.collect()


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
    gc.freeze()  # Else each closing of a model looks through all that was ever imported: 15 ms.
    found = rounds(
        subjects,
        seconds=request["seconds"],
        count=request["rounds"],
        turn=request["turn"],
        keep=request["keep"],
    )
    declared = any(_FRAMEWORK in s.module.FRAMEWORKS for s in subjects)
    return {
        "rounds": found,
        "load_ns": [round(statistics.median(subject.load_ns)) for subject in subjects],
        "first_ns": [round(statistics.median(subject.first_ns)) for subject in subjects],
        "framework": _FRAMEWORK if _FRAMEWORK in sys.modules else "",
        "framework_declared": declared,
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
    session = subject.start()
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
    session = subject.start()
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
