"""Runs the recipes that train on real models and prints what their reports say.

    python tools/bench/training_recipes.py --data DIR [--work DIR] [NAME ...]

DIR is what `python tools/get_data.py all --out DIR` makes. Every row is one run of
`edgekit compress`; NAME is part of "MODEL RECIPE" of the rows to run. The figures are the report's
own: sizes and MACs against the float `.tflite` of the same model, latency interleaved with it.
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

RECIPES = (
    "pruned",
    "pruned-int8",
    "clustered-int8",
    "qat-int8",
    "pruned-qat-int8",
    "pruned-clustered-qat-int8",
    "distilled-int8",
    "slim",
    "deep-compression",
)


@dataclass(frozen=True)
class Model:
    """One model with its data; `{data}` in the arguments is the folder of the data."""

    name: str
    source: str
    arguments: str


MODELS = (
    Model("lenet5", "zoo:lenet5", "--data idx:{data}/mnist"),
    Model("ds-cnn", "zoo:ds-cnn", "--data idx:{data}/mnist"),
    Model(
        "heart-beat-autoencoder",
        "{data}/autoencoder_example.h5",
        "--data npz:{data}/ecg5000.npz",
    ),
    Model(
        "resnet-8",
        "{data}/image_classification.h5",
        "--data npz:{data}/patches.npz --data-options scale=0.00784313725490196,offset=-1",
    ),
)


def main() -> None:
    """Runs the chosen rows (all without NAME) and prints a table and the commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/training"))
    parser.add_argument("names", nargs="*", help="parts of the rows' names, such as 'lenet5 slim'")
    options = parser.parse_args()
    rows, commands = [], []
    for model in MODELS:
        for recipe in RECIPES:
            name = f"{model.name} {recipe}"
            if options.names and not any(part in name for part in options.names):
                continue
            report, command = run(
                model, recipe, options.data, options.work / name.replace(" ", "-")
            )
            rows.append(row(model, recipe, report))
            commands.append(command)
            print(f"done: {name}", file=sys.stderr)
    print(
        "| model | recipe | xz | times smaller | MACs | parameters | metric | float | result ",
        end="",
    )
    print("| p worse | latency | exit |")
    print("|---" * 12 + "|")
    print("\n".join(rows))
    print()
    print("\n".join(f"    {command}" for command in commands))


def run(model: Model, recipe: str, data: Path, out: Path) -> tuple[dict[str, Any], str]:
    """Runs one row; a broken limit is a result like any other."""
    words = [model.source, "--recipe", recipe, "--target", "cpu-litert"]
    words += shlex.split(model.arguments)
    shown = shlex.join(["edgekit", "compress", *words]).replace("{data}", "DIR")
    filled = [word.replace("{data}", str(data)) for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "compress", *filled, "--out", str(out), "--force"],
        check=False,
        stdout=subprocess.DEVNULL,
    )
    if done.returncode not in (0, 1, 3) or not (out / "report.json").is_file():
        return {"exit": done.returncode}, shown
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return {**report, "exit": done.returncode}, shown


def row(model: Model, recipe: str, report: dict[str, Any]) -> str:
    """One line of the table."""
    if "result" not in report:
        return f"| {model.name} | {recipe} |" + " |" * 9 + f" {report['exit']} |"
    before, after = report["reference"], report["result"]
    old, new = before["size_compressed_bytes"], after["size_compressed_bytes"]
    latency, score = after["latency"], after["accuracy"]
    low, high = latency["ratio_ci95"]
    worse = after["p_worse"]
    cells = [
        model.name,
        recipe,
        f"{old:,} -> {new:,} B",
        f"{old / new:.1f} (raw float {before['size_bytes'] / new:.1f})",
        f"{before['macs'] / after['macs']:.2f}x fewer" if after["macs"] else "",
        f"{after['parameters'] / before['parameters']:.3f}x",
        f"{score['metric']} (n={score['n']})",
        f"{100 * before['accuracy']['value']:.2f} %",
        f"{100 * score['value']:.2f} %",
        "" if worse is None else f"{worse:.3f}",
        f"{latency['ratio_to_reference']:.2f}x [{low:.2f}, {high:.2f}]",
        str(report["exit"]),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
