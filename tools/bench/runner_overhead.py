"""What `run.py` costs over a bare script: time of an inference, of the start, and memory.

    python tools/bench/runner_overhead.py MODEL.tflite|MODEL.onnx [--rounds 10] [--python PYTHON]

Prints three ratios. Every run is a fresh process; run.py and the bare script alternate, and a ratio
is the median over pairs of neighbours. `inference`: `Model.predict` over the loop that a user would
write by hand, on the same interpreter, in blocks in the order first, second, second, first.
`start`: import, load and one inference of a whole process. `memory`: its peak (VmHWM).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_RUN = Path(__file__).resolve().parents[2] / "edgekit" / "on_device"

_BARE_TFLITE = """
import numpy as np
try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter
native = Interpreter(model_path=MODEL, num_threads=1)
native.allocate_tensors()
spec, out = native.get_input_details()[0], native.get_output_details()[0]
first, last = spec["index"], out["index"]
(scale, zero), (by, off) = spec["quantization"], out["quantization"]
scale, by = np.float32(scale), np.float32(by)
x = np.random.default_rng(0).random(spec["shape"], np.float32)
def bare(x):
    if scale:
        x = np.clip(np.rint(x / scale) + zero, -128, 127).astype(spec["dtype"])
    native.set_tensor(first, x)
    native.invoke()
    y = native.get_tensor(last)
    return (y.astype(np.float32) - off) * by if by else y
"""
_BARE_ONNX = """
import numpy as np
import onnxruntime
how = onnxruntime.SessionOptions()
how.intra_op_num_threads = how.inter_op_num_threads = 1
native = onnxruntime.InferenceSession(MODEL, how, providers=["CPUExecutionProvider"])
(spec,) = native.get_inputs()
name = spec.name
shape = [n if isinstance(n, int) else 1 for n in spec.shape]
x = np.random.default_rng(0).random(shape, np.float32)
def bare(x):
    return native.run(None, {name: x})[0]
"""
_OURS = """
import sys
sys.path.insert(0, FOLDER)
from run import Model
model = Model(MODEL)
import numpy as np
shape = [n or 1 for n in model.inputs[0]["shape"]]
x = np.random.default_rng(0).random(shape, np.float32)
ours = model.predict
"""
_WHOLE = """
import json, time
from time import perf_counter_ns as clock
begin = clock()
BODY
CALL(x)
took = clock() - begin
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([took, int(peak.split()[1]) * 1024]))
"""
_LOOP = """
import json, statistics
from time import perf_counter_ns as clock
BARE
OURS
native = model.session._native  # Two instances differ by where they happen to lie in memory.
assert np.allclose(bare(x), ours(x), atol=1e-5)
def block(call):
    taken = []
    for _ in range(COUNT):
        start = clock()
        call(x)
        taken.append(clock() - start)
    return statistics.median(taken)
pairs = []
for number in range(22):
    order = [bare, ours, ours, bare] if number % 2 else [ours, bare, bare, ours]
    times = [(call, block(call)) for call in order]
    pairs.append([sum(ns for call, ns in times if call is which) / 2 for which in (bare, ours)])
print(json.dumps(pairs[2:]))
"""


def main() -> None:
    """Measures, and prints a line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--count", type=int, default=200, help="inferences in a block")
    parser.add_argument("--python", default=sys.executable)
    asked = parser.parse_args()
    head = f"MODEL, FOLDER, COUNT = {str(asked.model)!r}, {str(_RUN)!r}, {asked.count}\n"
    bare = _BARE_TFLITE if asked.model.suffix == ".tflite" else _BARE_ONNX
    _inference(asked.python, head + _LOOP.replace("BARE", bare).replace("OURS", _OURS), asked)
    scripts = [
        head + _WHOLE.replace("BODY", body).replace("CALL", call)
        for body, call in ((bare, "bare"), (_OURS, "ours"))
    ]
    with tempfile.TemporaryDirectory() as folder:
        # As on a device, where byte code of both is kept from one start to the next.
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        _start(asked.python, scripts, asked.rounds)


def _inference(python: str, script: str, asked: argparse.Namespace) -> None:
    pairs = [pair for _ in range(max(1, asked.rounds // 3)) for pair in _run(python, script)]
    mine, ratio = (
        statistics.median(ours for _, ours in pairs),
        statistics.median(ours / bare for bare, ours in pairs),
    )
    extra = statistics.median(ours - bare for bare, ours in pairs)
    print(f"inference: {ratio:.4f} x ({mine / 1000:.1f} us, {extra / 1000:+.2f} us)")


def _start(python: str, scripts: list[str], rounds: int) -> None:
    for script in scripts:  # Fills the page cache and writes byte code.
        _run(python, script)
    pairs = []
    for number in range(rounds):
        order = (0, 1) if number % 2 else (1, 0)
        found = {which: _run(python, scripts[which]) for which in order}
        pairs.append((found[0], found[1]))
    ratio = statistics.median(ours[0] / bare[0] for bare, ours in pairs)
    took = statistics.median(ours[0] for _, ours in pairs)
    more = statistics.median(ours[1] - bare[1] for bare, ours in pairs)
    print(f"start: {ratio:.3f} x ({took / 1e6:.0f} ms: import, load, first inference)")
    print(f"memory: {more / 2**20:+.2f} MB of peak")


def _run(python: str, script: str) -> Any:
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
