"""Runs of `edgekit check` built by hand: all ends that a row can have, and hostile names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edgekit.core.data import Score
from edgekit.core.gate import CheckRow, Finding, GateResult, MaxRegression, RowResult
from edgekit.core.limits import Limits, SourcedLimits
from edgekit.core.measurement import Latency, Measurements, Memory
from edgekit.core.runner import OpPlacement, Placement

HOSTILE = "<script>alert('x')</script>|`*_]]>\n::error::x\r##[add-mask]%0A\x1b[31m\x00\ud800&\"日本"


def row(name: str, **changes: Any) -> CheckRow:
    where = f"edgekit.toml: check '{name}'"
    made = CheckRow(
        name=name,
        model=f"models/{name.partition('-')[0]}.keras",
        target="cpu-litert",
        limits=SourcedLimits(Limits(max_size=60_000), where),
        recipe="qat-int8",
        data="npz:data/kws.npz",
        max_regression=MaxRegression(size=0.01, latency=0.05),
        where=where,
    )
    return replace(made, **changes)


def limit(metric: str, unit: Any, value: float | None, bound: float, **more: Any) -> Finding:
    holds = value is not None and (value >= bound if metric.startswith("min_") else value <= bound)
    status = more.pop("status", "pass" if holds else "fail")
    source = more.pop("source", f"edgekit.toml: check 'kws-int8': {metric}")
    return Finding(metric, "limit", status, unit, value, bound, source, **more)


def against(metric: str, unit: Any, value: float | None, status: Any, **more: Any) -> Finding:
    bound = more.pop("bound")
    source = more.pop("source", f"edgekit.toml: check 'kws-int8': max_regression.{metric}")
    file = more.pop("baseline_file", "baselines/kws-int8.json")
    return Finding(
        metric, "regression", status, unit, value, bound, source, baseline_file=file, **more
    )


def of(name: str, *findings: Finding) -> tuple[Finding, ...]:
    """The findings of another row than `kws-int8`."""
    return tuple(
        replace(
            found,
            source=found.source.replace("kws-int8", name),
            baseline_file=found.baseline_file.replace("kws-int8", name),
        )
        for found in findings
    )


def measurements(size: int = 61_200, accuracy: float = 0.9312) -> Measurements:
    return Measurements(
        digest="2c" * 32,
        size_bytes=size,
        size_compressed_bytes=round(0.8 * size),
        score=Score("accuracy", accuracy, (accuracy - 0.011, accuracy + 0.009), 4890),
        latency=Latency(
            "measured", median_ns=61_300, ratio_to_reference=0.52, ratio_ci95=(0.51, 0.54)
        ),
        memory=Memory("measured", peak_bytes=44_100_000),
        placement=Placement((OpPlacement(0, "CONV_2D", "XNNPACK", "int8"),)),
    )


def history(runs: int) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "name": "kws-int8",
            "utc": f"2026-11-{run + 1:02}T08:00:00Z",
            "size_bytes": 58_100 + 40 * (run % 5) + (900 if run > 8 else 0),
            "accuracy": 0.941 - 0.002 * (run % 3),
            "latency_ratio": None if run == 6 else 0.49 + 0.01 * (run * 7 % 4),
        }
        for run in range(runs)
    )


FAILED = RowResult(
    row("kws-int8"),
    findings=(
        limit("max_size", "bytes", 61_200, 60_000, baseline=58_100),
        against("size", "bytes", 61_200, "fail", bound=58_681.0, baseline=58_100),
        against(
            "latency",
            "ratio",
            1.0515,
            "fail",
            bound=1.03,
            baseline=1.0,
            interval=(1.041, 1.062),
            reason="61.3 us against 58.3 us, side by side; confirmed in new processes",
        ),
        against("accuracy", "share", 0.9312, "fail", bound=0.936, baseline=0.941, reason="p 0.003"),
        limit("worst_class_drop", "points", 0.034, 0.03, reason="class 'stop'"),
        limit("max_latency_ratio", "ratio", 0.52, 0.6, interval=(0.51, 0.54)),
        limit("min_agreement", "share", 0.981, 0.97),
    ),
    measured=measurements(),
    seconds=12.4,
    notes=("latency was confirmed in a new process",),
    history=history(14),
)
PASSED = RowResult(
    row("vww-int8", data="", recipe=""),
    findings=of(
        "vww-int8",
        limit("max_size", "bytes", 58_100, 60_000),
        against("size", "bytes", 50_000, "improved", bound=58_681.0, baseline=58_100),
        against("memory", "bytes", 44_100_000, "pass", bound=46_305_000.0, baseline=44_100_000),
    ),
    measured=measurements(50_000, 0.9),
    seconds=3.0,
    history=history(1),
)
UNMEASURED = RowResult(
    row("ic-int8"),
    findings=of(
        "ic-int8",
        limit("max_latency", "ns", None, 2_500_000, status="unmeasured", reason="emulated"),
        limit("max_size", "bytes", 58_100, 60_000),
    ),
    seconds=1.0,
)
BROKEN = RowResult(
    row("ad-int8"), error="npz:data/kws.npz: no such file", hint="is the path relative to the file?"
)
SKIPPED = RowResult(row("board-int8", required=False), skipped="adb: no device is connected")
BARE = RowResult(row("bare"), seconds=0.5)


def run_of(*rows: RowResult, **changes: Any) -> GateResult:
    made = GateResult(
        rows,
        project_file="edgekit.toml",
        edgekit_version="0.1.0",
        started_utc="2026-11-22T21:00:00Z",
        machine={"cpu": "Example CPU", "cores": 2, "governor": None},
    )
    return replace(made, **changes)


def hostile() -> GateResult:
    """Every text that a file or a user can choose is an attack."""
    findings = tuple(
        replace(finding, reason=HOSTILE, source=HOSTILE, baseline_file=HOSTILE, metric=HOSTILE)
        for finding in (*FAILED.findings, *PASSED.findings, *UNMEASURED.findings)
    )
    named = replace(
        FAILED.row,
        **dict.fromkeys(("name", "model", "target", "recipe", "data", "on", "where"), HOSTILE),
    )
    found = measurements()
    score = replace(found.score, metric=HOSTILE) if found.score else None
    whole = replace(
        FAILED,
        row=named,
        findings=findings,
        measured=replace(found, score=score),
        notes=(HOSTILE,) * 5,
        history=({"utc": HOSTILE, "size_bytes": HOSTILE, "accuracy": True}, *history(2)),
    )
    rows = (
        whole,
        replace(BROKEN, row=named, error=HOSTILE, hint=HOSTILE),
        replace(SKIPPED, row=named, skipped=HOSTILE),
    )
    texts = {"project_file": HOSTILE, "edgekit_version": HOSTILE, "started_utc": HOSTILE}
    return run_of(*rows, machine={HOSTILE: HOSTILE}, notes=(HOSTILE,), **texts)


RUNS: dict[str, Callable[[], GateResult]] = {
    "pass": lambda: run_of(PASSED, BARE),
    "fail": lambda: run_of(
        FAILED, PASSED, UNMEASURED, BROKEN, SKIPPED, notes=("history.jsonl: 1 line was cut off",)
    ),
    "unmeasured": lambda: run_of(UNMEASURED),
    "skipped": lambda: run_of(SKIPPED),
    "empty": run_of,
    "hostile": hostile,
}
