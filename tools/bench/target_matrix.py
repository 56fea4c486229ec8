"""Runs models on every CPU target and prints how they differ: the tables of docs/targets.md.

    python tools/bench/target_matrix.py --data DIR [--work DIR] [NAME ...]

DIR is what `python tools/get_data.py all --out DIR` makes (mnist, the MLPerf Tiny models, ECG5000).
Every model is compressed by `edgekit compress` and its bundle run by `edgekit validate --targets`.
Where a target does not work, its row says why; `edgekit doctor` says what installs it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TFLITE = (
    *("cpu-litert", "cpu-tflite-runtime", "raspberry-pi-5", "raspberry-pi-4", "raspberry-pi-3"),
    "armv7-linux",
)
ONNX = (
    *("cpu-onnxruntime", "raspberry-pi-5-onnxruntime", "raspberry-pi-4-onnxruntime"),
    "raspberry-pi-3-onnxruntime",
)


@dataclass(frozen=True)
class Model:
    """A model with its recipe ('' is a file that is taken as it is) and its data."""

    name: str
    source: str
    recipe: str
    data: str
    targets: tuple[str, ...] = TFLITE


MODELS = (
    Model("digits-cnn int8", "zoo:digits-cnn", "int8", "--data digits"),
    Model("lenet5 int8", "zoo:lenet5", "int8", "--data idx:{data}/mnist"),
    Model("ds-cnn int8", "zoo:ds-cnn", "int8", "--data idx:{data}/mnist"),
    Model(
        "ResNet-8 int8 (T2)",
        "{data}/image_classification.h5",
        "int8",
        "--data npz:{data}/cifar20.npz --data-options scale=0.00784313725490196,offset=-1",
    ),
    Model("keyword spotting int8 (T3)", "{data}/keyword_spotting_mobilenetv2.tflite", "", ""),
    Model(
        "autoencoder int8 (T6)",
        "{data}/autoencoder_example.h5",
        "int8",
        "--data npz:{data}/ecg5000.npz",
    ),
    Model("lenet5 float", "zoo:lenet5", "float32", "--data idx:{data}/mnist"),
    Model("lenet5 dynamic range", "zoo:lenet5", "dynamic-int8", "--data idx:{data}/mnist"),
    Model("lenet5 int8, ONNX", "zoo:lenet5", "int8", "--data idx:{data}/mnist", ONNX),
)


def main() -> None:
    """Runs the chosen models (all without NAME) and prints a table each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/targets"))
    parser.add_argument("names", nargs="*", help="parts of the models' names")
    options = parser.parse_args()
    for model in MODELS:
        if options.names and not any(part in model.name for part in options.names):
            continue
        print("\n".join(table(model, options.data, options.work)), flush=True)


def table(model: Model, data: Path, work: Path) -> list[str]:
    """The Markdown table of one model, with what could not be run under it."""
    words = model.data.format(data=data).split()
    found = run_json(
        *("validate", bundle(model, data, work), "--targets", ",".join(model.targets), *words)
    )
    rows = found["rows"]
    return [
        f"### {model.name}",
        "",
        f"{found['inputs']}; digest `{found['digest'][:16]}`",
        "",
        "| target | accuracy | agreement | difference | reference kernels | selftest | latency "
        "| placement |",
        "|---" * 8 + "|",
        *(line(row) for row in rows if not row["problem"]),
        "",
        *(f"- {row['target']}: not run: {row['problem']}" for row in rows if row["problem"]),
    ]


def bundle(model: Model, data: Path, work: Path) -> Path:
    """Compresses a model and returns its bundle; a broken limit is no matter here."""
    source, out = model.source.format(data=data), work / model.name.replace(" ", "-")
    words = model.data.format(data=data).split()
    if not model.recipe:
        path = out.with_suffix(".ekb")
        path.parent.mkdir(parents=True, exist_ok=True)
        run("bundle", source, "--target", model.targets[0], "--out", path, "--force")
        return path
    recipe = ("--recipe", model.recipe, "--target", model.targets[0])
    run("compress", source, *recipe, *words, "--out", out, "--force")
    return out / "model.ekb"


def line(row: dict[str, Any]) -> str:
    """One target's row."""
    judged = row["judgement"]
    score = judged["result"] if judged else None
    shown = "-"
    if score:
        shown = f"{score['metric']} {100 * score['value']:.2f} %"
    agreement = f"{100 * judged['agreement']:.2f} %" if judged and judged["agreement"] else "-"
    parts = [f"{row['max_lsb']} LSB"] if row["max_lsb"] is not None else []
    parts += [f"{row['max_relative']:.1e}"] if row["max_relative"] is not None else []
    reference = "-" if row["reference_lsb"] is None else f"{row['reference_lsb']} LSB"
    latency = row["latency_note"] or "-"
    if row["median_ns"] is not None:
        latency = f"{row['median_ns'] / 1000:.1f} us"
    if row["latency_ratio"] is not None:
        latency += f", {row['latency_ratio']:.2f}x"
    placed = ", ".join(f"{where} {count}" for where, count in row["placement"].items())
    proof = "-" if row["selftest"] is None else row["selftest"] or "ok"
    cells = (
        *(row["target"], shown, agreement, ", ".join(parts) or "-", reference, proof),
        *(latency, placed),
    )
    return "| " + " | ".join(cells) + " |"


def run(*words: object) -> str:
    """Runs an edgekit command; exit codes 1 and 3 are results."""
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *map(str, words)], capture_output=True, text=True
    )
    if done.returncode not in (0, 1, 3) or (done.returncode and not done.stdout):
        raise SystemExit(f"edgekit {' '.join(map(str, words))}\n{done.stderr}")
    return done.stdout


def run_json(*words: object) -> dict[str, Any]:
    """The same with --json."""
    found: dict[str, Any] = json.loads(run(*words, "--json"))
    return found


if __name__ == "__main__":
    main()
