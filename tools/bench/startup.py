"""Start-up: wall time of commands that only tell, against `python -c pass`, interleaved.

    python tools/bench/startup.py [--rounds 15]

Prints a Markdown table. Each round runs every command once, `python -c pass` first. The bound of a
command is 1.5 times the time of `python -c pass` plus 100 ms, both as the best of all rounds: what
another process of the machine adds to a run is no property of edgekit. Bytecode is cached, in a
folder of this script's own, as it is after `pip install`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["bound", "commands", "measure"]

TINY = Path(__file__).resolve().parents[2] / "tests" / "data" / "tiny_float.tflite"
PYTHON = "python -c pass"


def bound(python_seconds: float) -> float:
    """The most seconds that a command may take."""
    return 1.5 * python_seconds + 0.1


def commands() -> dict[str, list[str]]:
    """What is timed, by the name it has in the table."""
    edgekit = str(Path(sysconfig.get_path("scripts")) / "edgekit")
    how = ["--recipe", "int8", "--target", "cpu-litert"]
    return {
        PYTHON: [sys.executable, "-c", "pass"],
        "edgekit --help": [edgekit, "--help"],
        "edgekit list": [edgekit, "list"],
        "edgekit explain zoo:digits-cnn": [edgekit, "explain", "zoo:digits-cnn", *how],
        "edgekit explain MODEL.tflite": [edgekit, "explain", str(TINY), *how],
    }


def measure(
    timed: Mapping[str, Sequence[str]], *, rounds: int, bytecode: Path
) -> dict[str, list[float]]:
    """Seconds of every run; one run of each before is not counted: it writes the bytecode."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(bytecode)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(rounds + 1):
        for name, words in timed.items():
            start = time.perf_counter()
            subprocess.run(words, stdout=subprocess.DEVNULL, check=True, env=environment)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        found = measure(commands(), rounds=rounds, bytecode=Path(folder))
    most = bound(min(found[PYTHON]))
    print("| command | best | median | bound | |")
    print("|---|---|---|---|---|")
    for name, seconds in found.items():
        best, median = 1e3 * min(seconds), 1e3 * statistics.median(seconds)
        limit, verdict = ("", "") if name == PYTHON else (f"{1e3 * most:.0f} ms", "ok")
        if min(seconds) > most:
            verdict = "over"
        print(f"| `{name}` | {best:.0f} ms | {median:.0f} ms | {limit} | {verdict} |")


if __name__ == "__main__":
    main()
