"""Time of `edgekit compress MODEL.tflite` over a bare litert-quantizer script, whole processes.

    python tools/bench/command_overhead.py MODEL.tflite [--samples 256] [--rounds 5]

Prints a Markdown table. Every run is a fresh process with a fresh step cache; edgekit and the two
scripts are interleaved, and a ratio is the median over rounds. The data is random, in an `.npz`;
the scripts read the 128 samples that edgekit calibrates on, and nothing else.

What edgekit's own report calls "validate" (both models over the test split, latency in fresh
processes, memory, placement, xz sizes) is subtracted: the script does nothing like it. All else
counts: start-up, checking and digesting model and data, the step with its proof, the reports with
their plots. `default` is the engine's default calibration, `profiler` the one that edgekit uses,
which finds the same ranges sooner. What the reports take (from the time stamps of the files of the
output folder) is shown too, since a script writes none. One more run, untimed, shows which
frameworks are imported.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.engine.compress import DataRequest, open_for
from edgekit.engine.models import describe, open_artifact

_SCRIPT = """
import sys
import numpy as np
from litert_quantizer import quantizer, recipe
from litert_quantizer.calibrator import CalibrationMode

model, samples, name, mode, output = sys.argv[1:]
feeds = [{name: row[None]} for row in np.load(samples)]
engine = quantizer.Quantizer(model, recipe.static_wi8_ai8())
ranges = engine.calibrate(
    {"serving_default": feeds}, num_threads=1, mode=CalibrationMode[mode]
)
result = engine.quantize(ranges, enable_progress_report=False)
with open(output, "wb") as file:
    file.write(result.quantized_model)
"""

_MODES = {"default": "CALIBRATION_PRESERVE_ALL_TENSORS", "profiler": "CALIBRATION_PROFILER_BASED"}
_FRAMEWORKS = ("tensorflow", "keras", "tf_keras", "jax", "torch")
_CALIBRATION = 128


@dataclass(frozen=True)
class Bench:
    """The files of one benchmark, in a temporary folder."""

    model: Path
    folder: Path

    def prepare(self, samples: int) -> str:
        """Writes the data and what of it edgekit calibrates on; returns the input's name."""
        source = open_artifact(self.model)
        spec = describe(source).signature.inputs[0]
        classes = describe(source).signature.outputs[0].shape[-1]
        rng = np.random.default_rng(0)
        x = rng.random([samples, *spec.sample_shape], np.float32)
        np.savez(self.folder / "data.npz", x=x, y=rng.integers(0, classes, samples))
        _, data = open_for(source, DataRequest(f"npz:{self.folder / 'data.npz'}"), seed=0)
        rows = np.concatenate([data.indices("calibrate"), data.indices("train")])[:_CALIBRATION]
        np.save(self.folder / "samples.npy", x[rows])
        return spec.name

    def script(self, name: str, mode: str) -> float:
        """Seconds of the bare script."""
        samples, output = self.folder / "samples.npy", self.folder / "bare.tflite"
        words = [self.model, samples, name, _MODES[mode], output]
        seconds, _ = _run([sys.executable, "-c", _SCRIPT, *map(str, words)], {})
        return seconds

    def edgekit(self, environment: dict[str, str]) -> tuple[dict[str, float], str]:
        """Seconds of the whole command, of its parts and of its reports; and stderr."""
        with tempfile.TemporaryDirectory(dir=self.folder) as run:
            command = Path(sysconfig.get_path("scripts")) / "edgekit"
            words = [command, "compress", self.model, "--recipe", "int8", "--target", "cpu-litert"]
            words += ["--data", f"npz:{self.folder / 'data.npz'}", "--out", f"{run}/out"]
            environment = {**environment, "EDGEKIT_CACHE": f"{run}/cache"}
            seconds, stderr = _run(list(map(str, words)), environment)
            if not Path(run, "out").is_dir():
                raise SystemExit(stderr)
            report = json.loads(Path(run, "out", "report.json").read_text(encoding="utf-8"))
            written = {path.name: path.stat().st_mtime for path in Path(run, "out").iterdir()}
        reports = max(written.values()) - written["model.tflite"]
        parts = {**report["seconds"], "whole": seconds, "reports": reports}
        return {**parts, "own": seconds - parts["validate"]}, stderr


def _run(words: list[str], environment: dict[str, str]) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environment})
    seconds = time.perf_counter() - start
    if done.returncode not in (0, 1):  # 1 is a broken limit: random weights have no accuracy.
        raise SystemExit(done.stderr)
    return seconds, done.stderr


def imported(importtime: str) -> list[str]:
    """The frameworks in the output of PYTHONPROFILEIMPORTTIME."""
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in importtime.splitlines()}
    return sorted(names.intersection(_FRAMEWORKS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.model.resolve(), Path(folder))
        name = bench.prepare(options.samples)
        _, stderr = bench.edgekit({"PYTHONPROFILEIMPORTTIME": "1"})
        scripts: dict[str, list[float]] = {mode: [] for mode in _MODES}
        runs = []
        for _ in range(options.rounds):
            for mode, seconds in scripts.items():
                seconds.append(bench.script(name, mode))
            runs.append(bench.edgekit({})[0])
    table(scripts, runs)
    print(f"\nFrameworks imported: {', '.join(imported(stderr)) or 'none'}.")


def table(scripts: dict[str, list[float]], runs: list[dict[str, float]]) -> None:
    """Prints medians, and medians of the ratios over rounds."""
    print("| | median | to default | to profiler |")
    print("|---|---|---|---|")
    for mode, seconds in scripts.items():
        print(f"| bare script, {mode} | {statistics.median(seconds):.2f} s | | |")
    rows = {
        "`edgekit compress`, validation aside": [run["own"] for run in runs],
        "the same, writing the reports aside": [run["own"] - run["reports"] for run in runs],
    }
    for title, own in rows.items():
        ratios = [
            statistics.median(mine / bare for mine, bare in zip(own, seconds, strict=True))
            for seconds in scripts.values()
        ]
        shown = " | ".join(f"{ratio:.2f}x" for ratio in ratios)
        print(f"| {title} | {statistics.median(own):.2f} s | {shown} |")
    medians = {part: statistics.median(run[part] for run in runs) for part in runs[0]}
    print(
        f"\nThe whole command takes {medians['whole']:.2f} s: steps {medians['compress']:.2f} s, "
        f"validation {medians['validate']:.2f} s, reports {medians['reports']:.2f} s."
    )


if __name__ == "__main__":
    main()
