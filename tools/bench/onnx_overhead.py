"""From an .onnx file to its quantized file: edgekit's steps over the bare onnxruntime calls.

    PYTHONPATH=. python tools/bench/onnx_overhead.py MODEL.onnx DATA.npz [--scheme int8]

The bare script is what onnxruntime's documentation says: `quant_pre_process`, then
`quantize_static` (QDQ, per channel, the same 128 samples) or `quantize_dynamic`; with the opset
raised first where per-channel QDQ needs it. edgekit's side is check, `simplify` and `quantize`
with every proof. Each runs in a fresh process, one after the other in turns (A B B A); what is
compared is the wall time from the first import on, and the peak memory (ru_maxrss). Medians.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SAMPLES = 128


def main() -> None:
    """Prints a Markdown row; a child process does one side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--options", default="", help="what --data-options would say")
    parser.add_argument("--scheme", default="int8", choices=("int8", "dynamic-int8"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(child(options)))
        return
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for turn in range(options.rounds):
        for side in sorted(SIDES, reverse=bool(turn % 2)):
            found[side].append(ask(side))
            print(f"{side}: {found[side][-1]}", file=sys.stderr)
    seconds, peaks = (ratio(found, key) for key in ("seconds", "peak_bytes"))
    bare = statistics.median(row["seconds"] for row in found["bare"])
    print("| model | scheme | bare calls | edgekit, wall time | edgekit, peak memory |")
    print("|---|---|---|---|---|")
    name = f"{options.model.stem} | {options.scheme}"
    print(f"| {name} | {bare:.2f} s | {seconds:.2f}x | {peaks:.2f}x |")


def ratio(found: dict[str, list[dict[str, float]]], key: str) -> float:
    pairs = zip(found["edgekit"], found["bare"], strict=True)
    return statistics.median(mine[key] / other[key] for mine, other in pairs)


def ask(side: str) -> dict[str, float]:
    """One side in a fresh process."""
    done = subprocess.run(
        [sys.executable, *sys.argv, "--side", side], check=True, capture_output=True, text=True
    )
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def child(options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        SIDES[options.side](options, Path(folder))
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "peak_bytes": peak}


def bare(options: argparse.Namespace, folder: Path) -> None:
    """The script that a user would write."""
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization import QuantFormat, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = onnx.load(options.model)
    if model.opset_import[0].version < 13:
        model = version_converter.convert_version(model, 17)
    quant_pre_process(model, folder / "pre.onnx", skip_symbolic_shape=True)
    if options.scheme == "dynamic-int8":
        quantize_dynamic(folder / "pre.onnx", folder / "made.onnx")
        return
    quantize_static(
        folder / "pre.onnx",
        folder / "made.onnx",
        Reader(options, folder / "pre.onnx"),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
    )


class Reader:
    """Calibration samples by input name, one at a time."""

    def __init__(self, options: argparse.Namespace, model: Path) -> None:
        import onnxruntime

        rows = training(options)
        session = onnxruntime.InferenceSession(model)
        self._left = iter(
            {
                item.name: array[i : i + 1]
                for item, array in zip(session.get_inputs(), rows, strict=True)
            }
            for i in range(min(SAMPLES, len(rows[0])))
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._left, None)


def training(options: argparse.Namespace) -> list[Any]:
    """The training arrays of the file, scaled as the options say."""
    import numpy as np

    said = dict(item.split("=") for item in options.options.split(",") if item)
    scale, offset = (float(said.get(key, other)) for key, other in (("scale", 1), ("offset", 0)))
    with np.load(options.data) as held:
        names = [name for name in held if name.endswith("_train") and name != "y_train"]
        arrays = [held[name][:SAMPLES] for name in names]
    if arrays[0].dtype.kind == "i":
        return arrays
    return [(array.astype(np.float32) * scale + offset).astype(np.float32) for array in arrays]


def edgekit(options: argparse.Namespace, folder: Path) -> None:
    """The steps of `compress`, up to the file that ships."""
    import os

    os.environ["EDGEKIT_CACHE"] = str(folder / "cache")
    from edgekit.core.recipe import load_recipe
    from edgekit.core.target import load_target
    from edgekit.engine.compress import DataRequest, prepare
    from edgekit.engine.progress import silent

    run, source, plan, _ = prepare(
        str(options.model),
        load_recipe(options.scheme),
        load_target("cpu-onnxruntime"),
        data=DataRequest(f"npz:{options.data}", options.options),
        seed=0,
        bars=silent,
    )
    run.plan(plan, source)


SIDES = {"bare": bare, "edgekit": edgekit}

if __name__ == "__main__":
    main()
