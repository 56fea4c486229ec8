"""Time of the quantize step over a bare litert-quantizer script, same samples, one process.

    PYTHONPATH=. python tools/bench/quantize_overhead.py MODEL.tflite [--scheme int8]

Prints a row of a Markdown table. The two are interleaved (A B B A), and the ratios are medians over
rounds; imports are done before. `apply` writes the file; the step is check, apply and verify.
With `--fast` the script calibrates by the engine's profiler, as edgekit does, and not by its
default, which is 15 times slower for the same ranges.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.artifact import Artifact
from edgekit.engine.models import describe
from edgekit.engine.work import predict
from edgekit.techniques.quantize import Parameters, tflite


@dataclass
class BenchWork:
    """What the pass needs of an engine, with samples that are in memory already."""

    folder: Path
    rows: list[tuple[Any, ...]]
    seed: int = 0

    @property
    def output(self) -> Path:
        return self.folder / "edgekit.tflite"

    def samples(self, split: str, count: int | None = None) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows[:count])

    def probes(self, count: int) -> tuple[Any, ...]:
        return tuple(np.concatenate(column) for column in zip(*self.rows[:count], strict=True))

    def open(self, model: str) -> Artifact:
        raise AssertionError("a quantize step opens no other model")

    def describe(self, artifact: Artifact) -> Any:
        return describe(artifact)

    def predict(self, artifact: Artifact, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return predict(artifact, inputs)

    def ancestor(self, format: str) -> None:
        return None

    def note(self, what: str, item: str, reason: str) -> None:
        """Notes are not timed."""

    def evidence(self, what: str, item: str, found: str) -> None:
        """Nor is evidence."""

    @contextlib.contextmanager
    def progress(self, text: str, total: int) -> Iterator[BenchWork]:
        yield self

    def advance(self, count: int = 1) -> None:
        """There is no bar."""


def bare(
    model: Path, scheme: str, feeds: list[dict[str, Any]], output: Path, *, fast: bool
) -> None:
    """The script that a user would write."""
    from litert_quantizer import quantizer, recipe
    from litert_quantizer.calibrator import CalibrationMode

    recipes = {
        "int8": recipe.static_wi8_ai8,
        "int16x8": recipe.static_wi8_ai16,
        "dynamic-int8": recipe.dynamic_wi8_afp32,
        "weight-only-int8": recipe.weight_only_wi8_afp32,
    }
    engine = quantizer.Quantizer(str(model), recipes[scheme]())
    ranges = None
    if engine.need_calibration:
        mode = CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS
        if fast:
            mode = CalibrationMode.CALIBRATION_PROFILER_BASED
        ranges = engine.calibrate({"serving_default": feeds}, num_threads=1, mode=mode)
    made = engine.quantize(ranges, enable_progress_report=False).quantized_model
    output.write_bytes(made)


def step(model: Artifact, scheme: Any, work: BenchWork, samples: int) -> tuple[float, float]:
    """Seconds of apply, and of check, apply and verify."""
    parameters = Parameters(scheme, samples=samples)
    start = time.perf_counter()
    tflite.check(parameters, model, work)
    middle = time.perf_counter()
    tflite.apply(parameters, model, work)
    applied = time.perf_counter() - middle
    result = Artifact(work.output, model.format, "result", "result")
    tflite.verify(parameters, model, result, work)
    return applied, time.perf_counter() - start


def timed(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):  # Its progress bars.
        call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--scheme", default="int8")
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fast", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    model = Artifact(options.model, "tflite", "source", options.model.stem)
    inputs = describe(model).signature.inputs
    rng = np.random.default_rng(0)
    rows = [
        tuple(rng.random([1, *spec.sample_shape], np.float32) for spec in inputs)
        for _ in range(options.samples)
    ]
    feeds = [dict(zip((s.name for s in inputs), row, strict=True)) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        work = BenchWork(Path(folder), rows)
        output = Path(folder) / "bare.tflite"
        script = partial(bare, model.path, options.scheme, feeds, output, fast=options.fast)
        engine, applies, steps = [], [], []
        for turn in range(2 * options.rounds + 2):
            for is_bare in (turn % 2 == 0, turn % 2 == 1):
                if is_bare:
                    engine.append(timed(script))
                else:
                    applied, whole = step(model, options.scheme, work, options.samples)
                    applies.append(applied)
                    steps.append(whole)
    engine, applies, steps = engine[2:], applies[2:], steps[2:]  # The first ones import.
    ratios = [
        statistics.median(a / b for a, b in zip(mine, engine, strict=True))
        for mine in (applies, steps)
    ]
    size = options.model.stat().st_size / 1e6
    seconds = f"{'fast, ' if options.fast else ''}{statistics.median(engine):.3f} s"
    print("| model | size | scheme | samples | bare script | edgekit apply | edgekit step |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {options.model.stem} | {size:.2f} MB | {options.scheme} | {options.samples} | "
        f"{seconds} | {ratios[0]:.2f}x | {ratios[1]:.2f}x |"
    )


if __name__ == "__main__":
    main()
