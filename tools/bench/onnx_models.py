"""Compresses real ONNX models and prints what their reports say, as a Markdown table.

    python tools/bench/onnx_models.py --data DIR [--work DIR] [NAME ...]

DIR is what `python tools/get_data.py NAME --out DIR` makes for mnist-onnx, minilm and ppocr. Every
row is one run of `edgekit compress` with the command below the table; NAME is part of
"MODEL RECIPE" of the rows to run. The figures are the report's own, on the untouched test split.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECIPES = ("int8-safe", "int8", "dynamic-int8")
METRICS = Path(__file__).parent / "ocr_metrics.py"


@dataclass(frozen=True)
class Model:
    """One model with its data; `{data}` is the folder of the data, `{metrics}` the OCR metrics."""

    name: str
    source: str
    arguments: str


MODELS = (
    Model(
        "mnist-cnn",
        "{data}/mnist_cnn.onnx",
        "--data npz:{data}/mnist_nchw.npz --data-options scale=0.012728233,offset=-0.424212918",
    ),
    Model("minilm", "{data}/minilm_sentiment.onnx", "--data npz:{data}/minilm.npz"),
    Model(
        "ppocr-det",
        "{data}/ppocr_det.onnx",
        "--data npz:{data}/ppocr_det.npz --task python:{metrics}:detector_f1 --data-options "
        "scale=[0.0171247538,0.0175070028,0.0174291939],"
        "offset=[-2.11790393,-2.03571429,-1.80444444]",
    ),
    Model(
        "ppocr-rec",
        "{data}/ppocr_rec.onnx",
        "--data npz:{data}/ppocr_rec.npz --data-options scale=0.00784313725490196,offset=-1 "
        "--task python:{metrics}:word_accuracy",
    ),
)


def main() -> None:
    """Runs the chosen rows (all without NAME) and prints a table and the commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/onnx"))
    parser.add_argument("names", nargs="*", help="parts of the rows' names, such as 'minilm int8'")
    options = parser.parse_args()
    rows, commands = [], []
    for model in MODELS:
        for recipe in RECIPES:
            name = f"{model.name} {recipe}"
            if options.names and not any(part in name for part in options.names):
                continue
            out = options.work / name.replace(" ", "-")
            report, command = run(model, recipe, options.data, out)
            rows.append(row(model, recipe, report))
            commands.append(command)
            print(f"done: {name}", file=sys.stderr)
    heads = [
        "model",
        "recipe",
        "rung",
        "size",
        "metric",
        "float",
        "result",
        "agreement",
        "latency",
        "seconds",
        "exit",
    ]
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    print("\n".join(rows))
    print()
    print("\n".join(f"    {command}" for command in commands))


def run(model: Model, recipe: str, data: Path, out: Path) -> tuple[dict[str, Any], str]:
    """Runs one row; a broken limit is a result like any other."""
    words = [model.source, "--recipe", recipe, "--target", "cpu-onnxruntime"]
    words += shlex.split(model.arguments)
    shown = filled(["edgekit", "compress", *words], "DIR", "tools/bench/ocr_metrics.py")
    command = filled(words, str(data), str(METRICS))
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "compress", *command, "--out", str(out), "--force"],
        check=False,
        stdout=subprocess.DEVNULL,
    )
    if done.returncode not in (0, 1, 3) or not (out / "report.json").is_file():
        return {"exit": done.returncode}, shlex.join(shown)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return {**report, "exit": done.returncode}, shlex.join(shown)


def filled(words: list[str], data: str, metrics: str) -> list[str]:
    """The words with the folder of the data and the file of the metrics in their places."""
    return [word.replace("{data}", data).replace("{metrics}", metrics) for word in words]


def row(model: Model, recipe: str, report: dict[str, Any]) -> str:
    """One line of the table."""
    if "result" not in report:
        return f"| {model.name} | {recipe} |" + " |" * 8 + f" {report['exit']} |"
    before, after = report["reference"], report["result"]
    old, new, latency = before["accuracy"], after["accuracy"], after["latency"]
    agreement, bounds = after.get("agreement"), latency.get("ratio_ci95")
    seconds = report["seconds"]
    cells = [
        model.name,
        recipe,
        rung(report),
        f"{before['size_bytes'] / 1e6:.2f} -> {after['size_bytes'] / 1e6:.2f} MB "
        f"({after['size_bytes'] / before['size_bytes']:.3f}x)",
        f"{new['metric']} (n={new['n']})" if new else "unmeasured",
        f"{100 * old['value']:.2f} %" if old else "",
        f"{100 * new['value']:.2f} %" if new else "",
        "" if agreement is None else f"{100 * agreement:.2f} %",
        f"{latency['ratio_to_reference']:.2f}x [{bounds[0]:.2f}, {bounds[1]:.2f}]"
        if bounds
        else "unmeasured",
        f"{sum(seconds.values()) if isinstance(seconds, dict) else seconds:.0f}",
        str(report["exit"]),
    ]
    return f"| {' | '.join(cells)} |"


def rung(report: dict[str, Any]) -> str:
    """The rung of the ladder that was taken, and how many were tried; '' without a ladder."""
    ladder = report.get("ladder")
    if not ladder:
        return ""
    tried = sum(item["status"] != "not tried" for item in ladder["rungs"])
    return f"{ladder['taken'] or 'none held'} ({tried} tried)"


if __name__ == "__main__":
    main()
