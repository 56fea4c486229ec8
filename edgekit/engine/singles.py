"""Measures one model alone: latency, memory, placement, bytes."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.measurement import Measurements
from edgekit.engine.bench import measure_latency, measure_memory, placement
from edgekit.engine.compress import DataRequest, open_for
from edgekit.engine.files import size_bytes
from edgekit.engine.measure import bench_inputs, bench_model, on_target, xz_bytes
from edgekit.engine.models import open_artifact
from edgekit.engine.progress import Progress, silent
from edgekit.engine.validate import target_for

__all__ = ["bench"]


def bench(
    model: str,
    *,
    target: str | None = None,
    data: DataRequest | None = None,
    seed: int = 0,
    threads: int | None = None,
    bars: Progress = silent,
) -> Measurements:
    """Measures the file `model` on a target in fresh processes; inputs are random without `data`.

    Raises:
        UsageError: the model does not run on the target.
    """
    artifact = open_artifact(Path(model))
    device = target_for(artifact, target, threads=threads)
    artifact, opened = open_for(artifact, data, seed=seed)
    subject = on_target(artifact, device)
    measured, inputs = bench_model(subject), bench_inputs(subject, opened, seed=seed)
    with bars("latency and memory", 2) as bar:
        latency = measure_latency(measured, inputs=inputs)
        bar.advance()
        memory = measure_memory(measured, inputs=inputs)
        bar.advance()
    return Measurements(
        digest=artifact.digest,
        size_bytes=size_bytes(artifact.path),
        size_compressed_bytes=xz_bytes(artifact.path),
        score=None,
        latency=latency,
        memory=memory,
        placement=placement(measured),
    )
