"""Latency, memory and placement, from fresh processes that hold no more."""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.core.measurement import Latency, Memory
from edgekit.core.runner import OpPlacement, OpTime, Placement
from edgekit.engine import bench_device
from edgekit.engine.bench_process import BenchModel, WorkerError, ask
from edgekit.engine.bench_ratio import MARGIN, ratio_of, with_ratio
from edgekit.errors import UnmeasuredError
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = [
    "MARGIN",
    "BenchModel",
    "compare_latency",
    "measure_latency",
    "measure_memory",
    "placement",
    "profile",
]

_ROUND_SECONDS, _LEAST_ROUNDS = 0.02, 6
_DEVICE_ROUNDS = 24
_PROFILE_RUNS = 30
_MOST_SAMPLES = 4096


def compare_latency(
    reference: BenchModel,
    result: BenchModel,
    *,
    inputs: tuple[Array, ...],
    reference_inputs: tuple[Array, ...] | None = None,
    seconds: float = 2.0,
    processes: int = 4,
    margin: float = MARGIN,
) -> tuple[Latency, Latency]:
    """Times two models interleaved; returns the reference's latency and the result's.

    `inputs` is one real-valued sample (1, ...) for both models, unless the reference takes another.
    `seconds` is spent on the runs themselves, `processes` fresh processes share it. Ratios within
    `margin` of 1 are no difference. A model that cannot be run, and one that takes its process
    down, is unmeasured, with the reason.
    """
    models = (reference, result)
    samples = (inputs if reference_inputs is None else reference_inputs, inputs)
    if not bench_device.share_a_machine(reference, result):
        return _each_alone(models, samples, seconds=seconds, reason="they run on two machines")
    try:
        runs = _time(models, samples, seconds=seconds, processes=processes)
    except WorkerError as error:
        return _each_alone(models, samples, seconds=seconds, reason=str(error))
    ratio, interval = ratio_of(runs)
    latency = with_ratio(_latency(result, runs, 1), ratio, interval, margin=margin)
    return _latency(reference, runs, 0), latency


def measure_latency(
    model: BenchModel,
    *,
    inputs: tuple[Array, ...],
    seconds: float = 1.0,
    processes: int = 2,
) -> Latency:
    """Times one model alone, in the same way; figures of two such calls do not compare well."""
    try:
        runs = _time((model,), (inputs,), seconds=seconds, processes=processes)
    except WorkerError as error:
        return Latency("unmeasured", str(error), threads=_threads(model))
    return _latency(model, runs, 0)


def measure_memory(model: BenchModel, *, inputs: tuple[Array, ...]) -> Memory:
    """The peak resident memory of a fresh Python process that opens and runs this model."""
    if bench_device.untimed(model):
        return Memory("unmeasured", bench_device.untimed(model))
    if model.device is not None:
        return bench_device.measure_memory(model, inputs)
    try:
        answer = ask("peak", (model,), (inputs,))
    except WorkerError as error:
        return Memory("unmeasured", str(error))
    before = format_bytes(answer["before_bytes"])
    return Memory(
        "measured",
        peak_bytes=answer["peak_bytes"],
        process=f"fresh Python process with the runner '{model.runner}'; "
        f"{before} of it was there before the runtime was loaded",
    )


def placement(model: BenchModel) -> Placement:
    """Which op of a model runs where, asked in a process of its own."""
    if model.device is not None:
        return bench_device.placement(model)
    try:
        found = ask("place", (model,), ((),))["placement"]
    except WorkerError as error:
        return Placement((), str(error))
    return Placement(tuple(OpPlacement(**op) for op in found["ops"]), found["reason"])


def profile(
    model: BenchModel, *, inputs: tuple[Array, ...], runs: int = _PROFILE_RUNS
) -> tuple[OpTime, ...]:
    """The ops of a model by their time, the longest first, from a process of its own.

    Raises:
        UnmeasuredError: the runtime has no profiler, or the model cannot be run.
    """
    if model.device is not None:
        raise UnmeasuredError(
            f"no profile: edgekit reads none on a device ({model.device.label})",
            hint="leave --profile out",
        )
    try:
        found = ask("profile", (model,), (inputs,), runs=runs)["ops"]
    except WorkerError as error:
        raise UnmeasuredError(f"no profile: {error}") from None
    if found is None:
        raise UnmeasuredError(
            f"no profile: edgekit reads none from the runner '{model.runner}'",
            hint="leave --profile out",
        )
    return tuple(OpTime(**op) for op in found)


def _time(
    models: Sequence[BenchModel],
    inputs: Sequence[tuple[Array, ...]],
    *,
    seconds: float,
    processes: int,
) -> list[dict[str, Any]]:
    """The answers of several fresh processes that open the models in alternating order."""
    for model in models:
        if bench_device.untimed(model):
            raise WorkerError(bench_device.untimed(model))
    if models[0].device is not None:
        count = _DEVICE_ROUNDS
        keep = math.ceil(_MOST_SAMPLES / count)
        return [bench_device.time_models(models, inputs, seconds=seconds, count=count, keep=keep)]
    rounds = max(_LEAST_ROUNDS, round(seconds / processes / _ROUND_SECONDS))
    answers = []
    for turn in range(processes):
        answer = ask(
            "time",
            models,
            inputs,
            seconds=seconds / processes,
            rounds=rounds,
            turn=turn,
            keep=math.ceil(_MOST_SAMPLES / (rounds * processes)),
        )
        if answer["framework"] and not answer["framework_declared"]:
            raise WorkerError(
                f"the process that measured had loaded {answer['framework']}, which slows it down"
            )
        answers.append(answer)
    return answers


def _each_alone(
    models: Sequence[BenchModel],
    inputs: Sequence[tuple[Array, ...]],
    *,
    seconds: float,
    reason: str,
) -> tuple[Latency, Latency]:
    """What can still be said where the pair could not be measured: each model without a ratio."""
    first, second = (
        measure_latency(model, inputs=sample, seconds=seconds / 2)
        for model, sample in zip(models, inputs, strict=True)
    )
    if second.kind == "measured":
        second = dataclasses.replace(second, reason=f"no ratio to the reference: {reason}")
    return first, second


def _latency(model: BenchModel, runs: Sequence[Mapping[str, Any]], index: int) -> Latency:
    rounds = [item for answer in runs for item in answer["rounds"]]
    samples = tuple(ns for item in rounds for ns in item["samples_ns"][index])[:_MOST_SAMPLES]
    return Latency(
        "measured",
        median_ns=round(statistics.median(samples)),
        samples_ns=samples,
        load_ns=round(statistics.median(answer["load_ns"][index] for answer in runs)),
        first_ns=round(statistics.median(answer["first_ns"][index] for answer in runs)),
        threads=_threads(model),
        process=_process(model, runs, rounds, index),
    )


def _process(
    model: BenchModel,
    runs: Sequence[Mapping[str, Any]],
    rounds: Sequence[Mapping[str, Any]],
    index: int,
) -> str:
    pair = "interleaved " if len(rounds[0]["median_ns"]) == 2 else ""
    count = sum(item["runs"][index] for item in rounds)
    kept = sum(len(item["samples_ns"][index]) for item in rounds)
    where = f"run.py on {model.device.label}" if model.device else f"{len(runs)} fresh processes"
    text = f"{where}, {len(rounds)} {pair}rounds, {count} runs"
    if kept < count:
        text += f" of which {kept} evenly taken ones are kept"
    if any(answer["framework"] for answer in runs):
        text += f"; {runs[0]['framework']} was loaded, because a runner needs it"
    return text


def _threads(model: BenchModel) -> int:
    """The threads that were asked for; a runner without that option takes every core."""
    return int(model.options.get("threads", os.cpu_count() or 1))
