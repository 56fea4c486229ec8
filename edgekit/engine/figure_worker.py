"""The process that counts, looks at the arena, or measures energy: one model, one job, JSON.

It is started as `python -m edgekit.engine.figure_worker`, like `bench_worker`. Where a request has
a `launcher` (valgrind with its options), the process becomes that one, which starts it again.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgekit.core import catalog
from edgekit.core.runner import Session
from edgekit.engine.bench_worker import signature_from_json
from edgekit.engine.energy_meters import find_meter

__all__ = ["main"]

_SLOW_SECONDS = 5.0


def main() -> None:
    """Reads a request, does its job, writes the answer."""
    text = sys.stdin.read()
    request = json.loads(text)
    if "launcher" in request:
        _start_again(**request)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        answer = _JOBS[request["job"]](request)
    except Exception as error:  # The parent process says it; nothing may be lost in a traceback.
        answer = {"error": str(error) or type(error).__name__}
    json.dump(answer, answers)
    answers.close()


def _start_again(*, launcher: list[str], start_in: str, inputs: list[str], **request: Any) -> None:
    """Turns this process into the launcher, with the rest of the request on stdin.

    What changes a count without being the model's is the same each time: the seed of the hashes,
    and the names of files, which are therefore relative to the folder to start in.
    """
    request["inputs"] = [os.path.relpath(file, start_in) for file in inputs]
    places = [os.path.abspath(place) for place in os.environ["PYTHONPATH"].split(os.pathsep)]
    os.chdir(start_in)
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(request).encode())
        file.seek(0)
        os.dup2(file.fileno(), 0)
    words = [*launcher, sys.executable, "-P", "-m", __spec__.name]
    fixed = {"PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(places)}
    os.execvpe(words[0], words, {**os.environ, **fixed})


def _open(request: Mapping[str, Any]) -> Session:
    """The model, run once."""
    import numpy as np

    module = catalog.load("runners", request["runner"])
    session: Session = module.open(
        Path(request["path"]),
        signature_from_json(request["signature"]),
        module.Options(**request["options"]),
    )
    session.run(tuple(np.load(file, allow_pickle=False) for file in request["inputs"]))
    return session


def _count(request: Mapping[str, Any]) -> dict[str, Any]:
    """Dumps what callgrind counts: of counting itself twice, then of each of some inferences.

    Everything is looked up before, and the first of all rounds is there to load what it needs.
    """
    library = ctypes.CDLL(request["library"])
    start, dump, stop = library.counting_start, library.counting_dump, library.counting_stop
    if not library.counting_works():
        raise RuntimeError("valgrind does not answer")
    invoke = _open(request).invoke
    gc.disable()

    def count(calls: range) -> None:
        start()
        for _ in calls:
            invoke()
        dump()
        stop()

    before = time.monotonic()
    invoke()
    slow = time.monotonic() - before > _SLOW_SECONDS
    once, none = range(1), range(0)
    for calls in (none, none, *([once] * (1 if slow else request["calls"]))):
        count(calls)
    return {}


def _arena(request: Mapping[str, Any]) -> dict[str, Any]:
    """The bytes of the activations' arena, and the least there could be; None: no runner's word."""
    session = _open(request)
    if not hasattr(session, "arena"):
        return {"arena": None}
    return {"arena": session.arena()}


def _energy(request: Mapping[str, Any]) -> dict[str, Any]:
    """The joules of some seconds of inferences, and of as many seconds of nothing."""
    meter = find_meter(Path(request["root"]), tuple(request["command"]))
    invoke = _open(request).invoke
    clock, seconds = time.perf_counter, request["seconds"]
    before = clock()
    for _ in range(3):
        invoke()
    block = max(1, round(0.01 * 3 / max(clock() - before, 1e-9)))

    with meter.measuring() as idle:
        time.sleep(seconds)
    runs, start = 0, clock()
    with meter.measuring() as busy:
        while clock() - start < seconds:
            for _ in range(block):
                invoke()
            runs += block
    return {
        "runs": runs,
        "joules": busy.joules,
        "seconds": busy.seconds,
        "idle_watts": idle.joules / idle.seconds,
    }


_JOBS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "count": _count,
    "arena": _arena,
    "energy": _energy,
}

if __name__ == "__main__":
    main()
