"""Measures one model alone: latency, memory, placement, bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.core.limits import Verdict, judge, worst
from edgekit.core.measurement import Measurements
from edgekit.core.runner import OpTime
from edgekit.core.target import Target
from edgekit.engine.bench import measure_latency, measure_memory, placement, profile
from edgekit.engine.compress import DataRequest, open_for
from edgekit.engine.files import size_bytes
from edgekit.engine.measure import (
    bench_inputs,
    bench_model,
    on_target,
    unmeasured,
    unreal_reason,
    xz_bytes,
)
from edgekit.engine.models import paths_of
from edgekit.engine.open_model import open_model
from edgekit.engine.progress import Progress, silent
from edgekit.engine.targets import elsewhere, target_for

__all__ = ["Benchmark", "bench"]


@dataclass(frozen=True)
class Benchmark:
    """What was measured of one model, and the target's limits held against it.

    `profile` is the time of each op, where it was asked for.
    """

    measurements: Measurements
    profile: tuple[OpTime, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def exit_code(self) -> int:
        """0 measured and within limits, 1 a limit is broken, 3 something was not measured."""
        status = worst(self.verdicts)
        kinds = (self.measurements.latency.kind, self.measurements.memory.kind)
        if status == "fail":
            return 1
        return 3 if status == "unmeasured" or "unmeasured" in kinds else 0


def bench(
    model: str,
    *,
    target: str | None = None,
    data: DataRequest | None = None,
    seed: int = 0,
    inputs: Sequence[str] = (),
    threads: int | None = None,
    on: str | None = None,
    with_profile: bool = False,
    bars: Progress = silent,
) -> Benchmark:
    """Measures the file `model` on a target in fresh processes; inputs are random without `data`.

    Raises:
        UsageError: the model does not run on the target.
    """
    artifact = open_model(model, inputs)
    device = target_for(artifact, target, threads=threads, on=on)
    artifact, opened = open_for(artifact, data, seed=seed)
    subject = on_target(artifact, device)
    if unreal_reason(subject):
        return _judged(unmeasured(subject, unreal_reason(subject)), (), device)
    measured, sample = bench_model(subject), bench_inputs(subject, opened, seed=seed)
    with bars("latency and memory", 2) as bar:
        latency = measure_latency(measured, inputs=sample)
        bar.advance()
        memory = measure_memory(measured, inputs=sample)
        bar.advance()
    found = Measurements(
        digest=artifact.digest,
        size_bytes=sum(map(size_bytes, paths_of(artifact))),
        size_compressed_bytes=xz_bytes(*paths_of(artifact)),
        score=None,
        latency=latency,
        memory=memory,
        placement=placement(measured),
    )
    profiled = profile(measured, inputs=sample) if with_profile else ()
    return _judged(found, profiled, device)


def _judged(found: Measurements, profiled: tuple[OpTime, ...], device: Target) -> Benchmark:
    unjudged, away = "bench judges no accuracy", elsewhere(device)
    verdicts = judge((device.limits,), found, None, unjudged=unjudged, elsewhere=away)
    return Benchmark(found, profiled, verdicts)
