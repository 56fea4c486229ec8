"""Instructions of one inference, counted by callgrind: the same number in every run."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.measurement import Kind
from edgekit.engine.bench_process import BenchModel, WorkerError
from edgekit.engine.figure_process import ask_figure
from edgekit.engine.files import disk_errors
from edgekit.errors import UnmeasuredError
from edgekit.frameworks.files import cache_root

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["Count", "count_instructions", "request_library"]

_SOURCE = Path(__file__).with_name("count_requests.c")
_MACHINES = ("x86_64", "aarch64")
_COMPILERS = ("cc", "gcc", "clang")
_PROCESSES = 2
_CALLS = 5
_COMPILE_SECONDS = 60.0
_LAUNCHER = (
    *("valgrind", "--vgdb=no", "--tool=callgrind", "--instr-atstart=no"),
    "--callgrind-out-file=counts",
)


@dataclass(frozen=True)
class Count:
    """Instructions of one inference on one thread, the call from Python with it.

    `counts` has one number a process; where they are not the same, `instructions` is the lowest.
    valgrind runs a processor without AVX-512, so that a runtime may take other kernels than it
    does outside: a figure to hold against an earlier one, not a latency.
    """

    kind: Kind
    reason: str = ""
    instructions: int | None = None
    counts: tuple[int, ...] = ()
    process: str = ""

    @property
    def repeats(self) -> bool:
        """Whether every process counted the same."""
        return len(set(self.counts)) == 1


def count_instructions(model: BenchModel, *, inputs: tuple[Array, ...]) -> Count:
    """Counts one inference in fresh processes under valgrind; takes some seconds each."""
    if model.device is not None:
        return Count("unmeasured", f"edgekit counts none on a device ({model.device.label})")
    options = {**model.options, **({"threads": 1} if "threads" in model.options else {})}
    alone = dataclasses.replace(model, options=options)
    try:
        library = request_library()
        counts = tuple(_count(alone, inputs, library) for _ in range(_PROCESSES))
    except (UnmeasuredError, WorkerError) as error:
        return Count("unmeasured", str(error))
    return Count(
        "measured",
        instructions=min(counts),
        counts=counts,
        process=f"{_PROCESSES} fresh processes under callgrind, 1 thread",
    )


def request_library() -> Path:
    """The library through which a process talks to callgrind; compiled where it is not there yet.

    Raises:
        UnmeasuredError: valgrind or a compiler is not installed, or it is another processor.
    """
    if platform.machine() not in _MACHINES:
        raise UnmeasuredError(
            f"edgekit counts on {' and '.join(_MACHINES)}, not on {platform.machine()}"
        )
    if shutil.which("valgrind") is None:
        raise UnmeasuredError("valgrind is not installed (apt-get install valgrind)")
    source = _SOURCE.read_bytes()
    key = hashlib.sha256(source + platform.machine().encode()).hexdigest()[:16]
    library = cache_root() / "count" / f"requests-{key}.so"
    if not library.is_file():
        _compile(library)
    return library


def _compile(library: Path) -> None:
    """Makes the library, which appears whole or not at all."""
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise UnmeasuredError(
            f"no C compiler ({', '.join(_COMPILERS)}) is installed (apt-get install gcc)"
        )
    with disk_errors("EDGEKIT_CACHE", library.parent):
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder) / library.name
            words = [compiler, "-O2", "-shared", "-fPIC", "-o", str(made), str(_SOURCE)]
            try:
                done = subprocess.run(
                    words, capture_output=True, timeout=_COMPILE_SECONDS, errors="replace"
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise UnmeasuredError(f"{compiler} does not work: {error}") from None
            if done.returncode or not made.is_file():
                lines = done.stderr.strip().splitlines() or ["it says nothing"]
                raise UnmeasuredError(f"{compiler} does not compile {_SOURCE.name}: {lines[-1]}")
            os.replace(made, library)


def _count(model: BenchModel, inputs: tuple[Array, ...], library: Path) -> int:
    """What one process counted of one inference: the median, less what counting itself takes."""
    with tempfile.TemporaryDirectory(prefix="edgekit-count-") as folder:
        ask_figure(
            "count",
            model,
            inputs=inputs,
            folder=Path(folder),
            launcher=[*_LAUNCHER],
            start_in=folder,
            library=str(library),
            calls=_CALLS,
        )
        totals = [total for _, total in sorted(map(_total, Path(folder).glob("counts.*")))]
    if len(totals) < 3:
        raise WorkerError("callgrind wrote no counts")
    _, nothing, *calls = totals
    return statistics.median_low(calls) - nothing


def _total(dump: Path) -> tuple[int, int]:
    """A dump's number, and the instructions that it counted."""
    with dump.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("totals:"):
                return int(dump.suffix[1:]), int(line.split()[1])
    raise WorkerError(f"callgrind's file {dump.name} has no 'totals:'")
