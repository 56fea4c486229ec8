"""Runs models on every microcontroller target and prints how they differ, as Markdown tables.

    python tools/bench/mcu_matrix.py [--targets A,B] MODEL[=DATA[=OPTIONS]] ...

MODEL is a bundle or an int8 .tflite file, DATA and OPTIONS what `edgekit validate` takes as --data
and --data-options: `mine.ekb=npz:d.npz=scale=0.5`. Without DATA the samples are random: no accuracy
then. The difference is held against LiteRT's reference kernels; where a target does not
work, its row says why, and `edgekit doctor --target NAME` says what installs it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.core.recipe import toml_names

PREFIX = "mcu-"


def main() -> None:
    """Prints a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", help="names with commas; all microcontrollers without it")
    parser.add_argument("models", nargs="+", metavar="MODEL[=DATA[=OPTIONS]]")
    options = parser.parse_args()
    names = [name for name in toml_names("targets") if name.startswith(PREFIX)]
    targets = options.targets or ",".join(names)
    for model in options.models:
        print("\n".join(table(validated(model, targets))), flush=True)


def validated(model: str, targets: str) -> dict[str, Any]:
    """What `edgekit validate --json` finds; exit codes 1 and 3 are results."""
    path, _, rest = model.partition("=")
    data, _, how = rest.partition("=")
    words = ["validate", path, "--targets", targets, "--json"]
    words += ["--data", data] if data else []
    words += ["--data-options", how] if how else []
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *words], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1, 3) or not done.stdout:
        raise SystemExit(f"edgekit {' '.join(words)}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def table(found: Mapping[str, Any]) -> list[str]:
    """The Markdown of one model; the columns of figures are those that any target has."""
    rows = [row for row in found["rows"] if not row["problem"]]
    idle = [row for row in found["rows"] if row["problem"]]
    named = dict.fromkeys(figure["name"] for row in rows for figure in row.get("figures", ()))
    heads = ["target", "accuracy", "agreement", "difference", "selftest", "memory", *named]
    return [
        f"### {found['model']}",
        "",
        f"{found['inputs']}; digest `{found['digest'][:16]}`",
        "",
        "| " + " | ".join(heads) + " |",
        "|---" * len(heads) + "|",
        *("| " + " | ".join(cells(row, list(named))) + " |" for row in rows),
        "",
        *(f"- {row['target']}: not run: {row['problem']}" for row in idle),
    ]


def cells(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """One target's row."""
    judged, figures = (
        row["judgement"],
        {figure["name"]: figure for figure in row.get("figures", ())},
    )
    score = judged and judged["result"]
    agreement = judged and judged["agreement"]
    parts = [f"{row['max_lsb']} LSB"] if row["max_lsb"] is not None else []
    parts += [f"{row['max_relative']:.1e}"] if row["max_relative"] is not None else []
    memory = (row["memory"] or {}).get("peak_bytes")
    return [
        row["target"],
        f"{100 * score['value']:.2f} %" if score else "-",
        f"{100 * agreement:.2f} %" if agreement else "-",
        ", ".join(parts) or "-",
        "-" if row["selftest"] is None else row["selftest"] or "ok",
        "-" if memory is None else f"{memory:,} B",
        *(amount(figures.get(name)) for name in names),
    ]


def amount(figure: Mapping[str, Any] | None) -> str:
    """A figure with its unit; an estimate says that it is one."""
    if figure is None:
        return "-"
    unit = {"bytes": " B", "": ""}.get(figure["unit"], f" {figure['unit']}")
    shown = f"{figure['value']:,}{unit}"
    return shown if figure["kind"] == "measured" else f"{shown} ({figure['kind']})"


if __name__ == "__main__":
    main()
