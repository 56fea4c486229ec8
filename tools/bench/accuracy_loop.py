"""Time and memory of judging a model on many samples, against a bare interpreter loop.

    python tools/bench/accuracy_loop.py MODEL.tflite ... [--samples 10000] [--rounds 5]
    python tools/bench/accuracy_loop.py MODEL.tflite --memory

Prints a Markdown table. Time: `engine.measure.score_one` over an IDX file of random 8-bit samples
(read from its memory map, scaled, run, scored with its interval and its classes) against a loop of
set_tensor, invoke, get_tensor and argmax over the same samples, which lie ready in memory in the
model's own dtype. One process, interleaved (A B B A), opening the model included; the ratio is the
median over rounds.

Memory: the peak resident set (VmHWM) of fresh processes that do all of `edgekit validate` on
10,000 to 160,000 samples, from IDX files and from a `python:` dataset that makes its rows when
they are asked for, so that no page of a file is in the figure. The growth is that of the last
step: before it, buffers of a fixed size (16 MB of the digest) are still filling up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.target import default_target, load_target
from edgekit.engine.compress import DataRequest, open_for
from edgekit.engine.inference import model_inputs
from edgekit.engine.measure import on_target, score_one
from edgekit.engine.models import describe, open_artifact
from edgekit.engine.progress import silent
from edgekit.engine.validate import validate

_CLASSES = 10
_OPTIONS = f"scale={1 / 255!r},low=0,high=255"
_COUNTS = (10_000, 40_000, 160_000)
_LAZY = '''
"""Rows that are made when they are asked for."""
import numpy as np

class Rows:
    dtype = np.dtype("uint8")
    def __init__(self, count, shape):
        self.shape = (count, *shape)
    def __len__(self):
        return self.shape[0]
    def __getitem__(self, index):
        rows = np.arange(*index.indices(len(self))) if isinstance(index, slice) else index
        made = np.empty((len(rows), *self.shape[1:]), np.uint8)
        made.T[...] = rows % 251
        return made

def few():
    return Rows(64, SHAPE), np.arange(64) % 10

def load():
    return (*few(), Rows(COUNT, SHAPE), np.arange(COUNT) % 10)
'''


def write_idx(folder: Path, shape: tuple[int, ...], count: int) -> None:
    """A folder with a few training samples and `count` test samples, written in pieces."""
    rng = np.random.default_rng(0)
    axes = 1 + len(shape)
    for part, samples in (("train", 64), ("t10k", count)):
        with (folder / f"{part}-images-idx{axes}-ubyte").open("wb") as file:
            file.write(struct.pack(f">BBBB{axes}I", 0, 0, 8, axes, samples, *shape))
            for start in range(0, samples, 1000):
                size = (min(1000, samples - start), *shape)
                file.write(rng.integers(0, 256, size, np.uint8).tobytes())
        labels = rng.integers(0, _CLASSES, samples, np.uint8)
        header = struct.pack(">BBBBI", 0, 0, 8, 1, samples)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


def bare(model: Path, x: Any, y: Any) -> float:
    """Top-1 accuracy, with a loop as a user would write it."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    right = 0
    for index in range(len(x)):
        interpreter.set_tensor(source, x[index : index + 1])
        interpreter.invoke()
        right += int(np.argmax(interpreter.get_tensor(target)) == y[index])
    return right / len(x)


def timed(call: Callable[[], float]) -> tuple[float, float]:
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def compare(model: Path, *, samples: int, rounds: int) -> str:
    """A row of the table."""
    artifact = open_artifact(model)
    shape = describe(artifact).signature.inputs[0].sample_shape
    with tempfile.TemporaryDirectory() as folder:
        write_idx(Path(folder), shape, samples)
        request = DataRequest(f"idx:{folder}", _OPTIONS)
        artifact, data = open_for(artifact, request, seed=0)
        signature = describe(artifact).signature
        batches = data.batches("test", 1000, signature, artifact.scaling)
        pieces = [(model_inputs(signature, inputs)[0], labels) for inputs, labels in batches]
        x, y = (np.concatenate(column) for column in zip(*pieces, strict=True))
        subject = on_target(artifact, load_target(default_target(artifact.format)))
        mine: list[float] = []
        loops: list[float] = []
        for turn in range(rounds):
            for is_bare in (turn % 2 == 0, turn % 2 == 1):
                if is_bare:
                    seconds, expected = timed(lambda: bare(model, x, y))
                    loops.append(seconds)
                else:
                    seconds, found = timed(lambda: score_one(subject, data=data, bars=silent).value)
                    mine.append(seconds)
            assert found == expected, (found, expected)
    ratio = statistics.median(a / b for a, b in zip(mine, loops, strict=True))
    return (
        f"| {model.stem} | {samples:,} | {_each(loops, samples)} | {_each(mine, samples)} | "
        f"{ratio:.2f}x |"
    )


def _each(seconds: list[float], samples: int) -> str:
    return f"{1e6 * statistics.median(seconds) / samples:.1f} us"


def memory(model: Path) -> None:
    """Prints the table of peaks."""
    shape = describe(open_artifact(model)).signature.inputs[0].sample_shape
    print("| dataset | " + " | ".join(f"{count:,} samples" for count in _COUNTS) + " | growth |")
    print("|---|" + "---|" * (len(_COUNTS) + 1))
    for kind in ("idx", "python"):
        peaks = [_peak_of(kind, model, shape, count) for count in _COUNTS]
        growth = (peaks[-1] - peaks[-2]) / (_COUNTS[-1] - _COUNTS[-2])
        figures = " | ".join(f"{peak / 1e6:.1f} MB" for peak in peaks)
        print(f"| {kind} | {figures} | {growth:.0f} bytes a sample |")
    print(f"\nA sample has {int(np.prod(shape))} bytes in the data, four times that as float32.")


def _peak_of(kind: str, model: Path, shape: tuple[int, ...], count: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        if kind == "idx":
            write_idx(Path(folder), shape, count)
            spec = f"idx:{folder}"
        else:
            script = Path(folder) / "lazy.py"
            script.write_text(f"{_LAZY}\nSHAPE, COUNT = {shape!r}, {count}\n", encoding="utf-8")
            spec = f"python:{script}:load"
        words = [sys.executable, __file__, str(model), "--peak", spec]
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ)
    return int(done.stdout)


def peak(model: Path, spec: str) -> int:
    """VmHWM of this process, in bytes, after it judged the model on that data."""
    validate(str(model), data=DataRequest(spec, _OPTIONS))
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(peak(options.models[0], options.peak))
    elif options.memory:
        memory(options.models[0])
    else:
        print("| model | samples | bare loop, a sample | edgekit, a sample | ratio |")
        print("|---|---|---|---|---|")
        for model in options.models:
            print(compare(model, samples=options.samples, rounds=options.rounds), flush=True)


if __name__ == "__main__":
    main()
