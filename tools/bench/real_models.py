"""Compresses real models and prints what their reports say, as a Markdown table.

    python tools/bench/real_models.py --data DIR [--work DIR] [NAME ...]

DIR is what `python tools/get_data.py all --out DIR` makes. Every row is one run of
`edgekit compress` with the command in the second table; the figures are the report's own.
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


@dataclass(frozen=True)
class Case:
    """One model with its data; `{data}` and `{work}` in the arguments are the two folders."""

    name: str
    model: str
    recipe: str
    arguments: str = ""


CASES = (
    Case("digits-cnn", "zoo:digits-cnn", "int8", "--data digits"),
    Case("lenet5 on MNIST", "zoo:lenet5", "int8", "--data idx:{data}/mnist"),
    Case("lenet5 on MNIST", "zoo:lenet5", "int16x8", "--data idx:{data}/mnist"),
    Case("lenet5 on MNIST", "zoo:lenet5", "dynamic-int8", "--data idx:{data}/mnist"),
    Case("lenet5 on MNIST", "zoo:lenet5", "float16", "--data idx:{data}/mnist"),
    Case("ds-cnn on MNIST", "zoo:ds-cnn", "int8", "--data idx:{data}/mnist"),
    Case(
        "ResNet-8 of MLPerf Tiny (T2)",
        "{data}/image_classification.h5",
        "int8",
        "--data npz:{data}/cifar20.npz --data-options scale=0.00784313725490196,offset=-1",
    ),
    Case(
        "heart beat autoencoder (T6)",
        "{data}/autoencoder_example.h5",
        "int8",
        "--data npz:{data}/ecg5000.npz",
    ),
    Case("third-party float16 .tflite", "{data}/face_detection_short_range.tflite", "dynamic-int8"),
)


def main() -> None:
    """Runs the chosen cases (all without NAME) and prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/real"))
    parser.add_argument("names", nargs="*", help="parts of the names of the cases to run")
    options = parser.parse_args()
    wanted = [c for c in CASES if not options.names or any(n in c.name for n in options.names)]
    rows, commands = [], []
    for number, case in enumerate(wanted, 1):
        report, command = run(case, options.data, options.work / f"{number}")
        rows.append(row(case, report))
        commands.append(command)
        print(f"done: {case.name} {case.recipe}", file=sys.stderr)
    print("| model | recipe | size | xz | metric | float | result | agree | latency | ops | exit |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    print()
    print("\n".join(f"    {command}" for command in commands))


def run(case: Case, data: Path, out: Path) -> tuple[dict[str, Any], str]:
    """Runs one case; a broken limit is a result like any other."""
    words = [case.model, "--recipe", case.recipe, "--target", "cpu-litert"]
    words += shlex.split(case.arguments)
    shown = shlex.join(["edgekit", "compress", *words])
    filled = [word.replace("{data}", str(data)) for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "compress", *filled, "--out", str(out), "--force"],
        check=False,
        stdout=subprocess.DEVNULL,
    )
    if done.returncode not in (0, 1, 3):
        sys.exit(f"{case.name}: exit code {done.returncode}")
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return {**report, "exit": done.returncode}, shown.replace("{data}", "DIR")


def row(case: Case, report: dict[str, Any]) -> str:
    """One line of the table."""
    before, after = report["reference"], report["result"]
    score, old = after["accuracy"], before["accuracy"]
    ratio = after["size_bytes"] / before["size_bytes"]
    packed = after["size_compressed_bytes"] / before["size_compressed_bytes"]
    latency = after["latency"]
    low, high = latency["ratio_ci95"]
    kinds = {op["dtype"] for op in after["placement"]["ops"]}
    cells = [
        case.name,
        case.recipe,
        f"{before['size_bytes'] / 1000:.1f} -> {after['size_bytes'] / 1000:.1f} kB ({ratio:.2f}x)",
        f"{packed:.2f}x",
        f"{score['metric']} (n={score['n']})" if score else "unmeasured",
        f"{100 * old['value']:.2f} %" if old else "",
        f"{100 * score['value']:.2f} %" if score else "",
        f"{100 * after['agreement']:.2f} %" if after["agreement"] is not None else "",
        f"{latency['ratio_to_reference']:.2f}x [{low:.2f}, {high:.2f}]",
        ", ".join(sorted(kinds)),
        str(report["exit"]),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
