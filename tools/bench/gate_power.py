"""What the latency gate and `compare` can see: false alarms, and planted slowdowns that are found.

    python tools/bench/gate_power.py [--model MODEL.tflite] [--runs 100] [--busy] [--raw FILE]

Every run measures as `check` does, by the same code: in fresh processes, and once more where the
first measurement says slower. Without --model it is an untrained LeNet-5, about 0.05 ms.
--busy keeps one core occupied by another process. Also plants flips into 10,000 test answers and
asks McNemar's test. Prints Markdown tables for docs/measuring.md; --raw keeps every run's figures.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.measurement import Latency
from edgekit.engine.bench import BenchModel
from edgekit.engine.check_latency import compare_twice, is_slower
from edgekit.engine.measure import bench_inputs, bench_model, on_target
from edgekit.engine.open_model import open_model
from edgekit.engine.targets import target_for
from edgekit.statistics import change, mcnemar_p_worse

_HERE = Path(__file__).resolve().parent
_FINE_MARGIN = 0.01
_FLIPS_TESTS, _SAMPLES = 2000, 10_000


@dataclass(frozen=True)
class Case:
    """A slowdown that is planted, the limit it is held against, and in how many runs to find it."""

    planted: float
    limit: float
    wanted: str


# No alarm at a limit of 2 % is none at 3 % either: what lies over 1.03 lies over 1.02.
_CASES = (
    Case(0.0, 0.02, "0"),
    Case(0.05, 0.03, "99 of 100"),
    Case(0.03, 0.02, "95 of 100"),
)


@dataclass(frozen=True)
class Run:
    """One `check` of one pair."""

    said: bool
    latency: Latency
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--busy", action="store_true", help="keep one core occupied")
    parser.add_argument("--raw", type=Path, help="append every run's figures, a line of JSON each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        plug_in(Path(folder))
        model = options.model or lenet5(Path(folder))
        if options.busy:
            stack.enter_context(busy_core())
        table(model, options.runs, busy=options.busy, raw=options.raw)
    flips_table()


def plug_in(folder: Path) -> None:
    """Makes the runner known to the processes that are started from here, as a package would."""
    info = folder / "gate_power-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gate-power\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[edgekit.runners]\nplanted = planted_runner\n")
    inherited = os.environ.get("PYTHONPATH")
    folders = [str(folder), str(_HERE), *([inherited] if inherited else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(folders)


def lenet5(folder: Path) -> Path:
    """The zoo's LeNet-5 without training: the time does not depend on what it has learnt."""
    from edgekit.engine.convert import convert
    from edgekit.zoo.lenet5 import build

    build((28, 28, 1), 10).save(folder / "lenet5.keras")
    out = folder / "lenet5.tflite"
    convert(str(folder / "lenet5.keras"), to="tflite", out=out)
    return out


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """Another process that never rests."""
    worker = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        worker.kill()
        worker.wait()


def table(model: Path, runs: int, *, busy: bool, raw: Path | None) -> None:
    """Prints a row a case; the cases take turns, so that all see the same machine."""
    pair, inputs = subjects(model)
    found: dict[Case, list[Run]] = {case: [] for case in _CASES}
    for _ in range(runs):
        for case, made in found.items():
            made.append(check(pair, inputs, case))
            if raw is not None:
                keep(raw, case, made[-1], busy=busy)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}{', one core kept busy' if busy else ''}\n")
    print(
        "| planted | limit | runs | check says slower | wanted | `compare --margin 1%` | ratios "
        "| half interval | a run | longest |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for case, made in found.items():
        print(row(case, made))


def subjects(model: Path) -> tuple[BenchModel, Any]:
    """The model on the runner that plants, and one sample for it."""
    artifact = open_model(str(model), ())
    subject = on_target(artifact, target_for(artifact, None, threads=1))
    bare = bench_model(subject)
    return dataclasses.replace(bare, runner="planted"), bench_inputs(subject, None, seed=0)


def check(model: BenchModel, inputs: Any, case: Case) -> Run:
    """One run: is the model with the planted slowdown slower than the one without?"""
    slower = dataclasses.replace(model, options={**model.options, "share": case.planted})
    start = time.perf_counter()
    runs = compare_twice(model, slower, inputs=inputs, threshold=case.limit)
    latency = runs[-1][1]
    if latency.ratio_ci95 is None:
        raise SystemExit(f"could not measure: {latency.reason}")
    said = len(runs) == 2 and is_slower(latency, case.limit)
    return Run(said, latency, time.perf_counter() - start)


def keep(raw: Path, case: Case, run: Run, *, busy: bool) -> None:
    facts = {
        **dataclasses.asdict(case),
        "busy": busy,
        "said": run.said,
        "ratio": run.latency.ratio_to_reference,
        "ci95": run.latency.ratio_ci95,
        "median_ns": run.latency.median_ns,
        "seconds": run.seconds,
        "load": os.getloadavg()[0],
    }
    with raw.open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")


def row(case: Case, runs: list[Run]) -> str:
    """One line of the table."""
    ratios, halves, words = [], [], []
    for run in runs:
        ratio, interval = run.latency.ratio_to_reference, run.latency.ratio_ci95
        assert ratio is not None
        assert interval is not None
        ratios.append(ratio)
        halves.append((interval[1] - interval[0]) / 2)
        words.append(change(interval, _FINE_MARGIN))
    said = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    seconds = [run.seconds for run in runs]
    return (
        f"| {100 * case.planted:g} % | {100 * case.limit:g} % | {len(runs)} "
        f"| {sum(run.said for run in runs)} | {case.wanted} | {said} "
        f"| {min(ratios):.3f} to {max(ratios):.3f} | {100 * statistics.median(halves):.2f} % "
        f"| {statistics.median(seconds):.1f} s | {max(seconds):.1f} s |"
    )


def flips_table() -> None:
    """Planted losses of accuracy: `share` of 10,000 answers turned wrong, among as many chances.

    A compressed model flips answers both ways for nothing, so half a per cent flips each way too.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    print("\n| answers turned wrong of 10,000 | tests | called significant (p < 0.05) |")
    print("|---|---|---|")
    for share in (0.01, 0.001, 0.0):
        noise = rng.binomial(_SAMPLES, 0.005, size=(_FLIPS_TESTS, 2))
        planted = round(share * _SAMPLES)
        said = sum(mcnemar_p_worse(int(lost) + planted, int(won)) < 0.05 for lost, won in noise)
        print(f"| {planted} | {_FLIPS_TESTS} | {said} |")


if __name__ == "__main__":
    main()
