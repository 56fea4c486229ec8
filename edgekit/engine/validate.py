"""Judges a model file on a target: alone, or against a reference model."""

from __future__ import annotations

import dataclasses
import shlex
import time
from pathlib import Path

from edgekit.core.artifact import Artifact
from edgekit.core.data import Score
from edgekit.core.limits import SourcedLimits, judge
from edgekit.core.report import Report
from edgekit.core.target import Target, default_target, load_target
from edgekit.engine.compress import DataRequest, data_facts, open_for, target_versions
from edgekit.engine.machine import fingerprint
from edgekit.engine.measure import measure_pair, on_target, score_one, why_unjudged
from edgekit.engine.models import describe, open_artifact
from edgekit.engine.progress import Progress, silent
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.version import __version__

__all__ = ["compare_models", "validate"]


def validate(
    model: str,
    *,
    data: DataRequest,
    target: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    bars: Progress = silent,
) -> Score:
    """Scores the file `model` on the test split of `data`, on a target's runtime.

    Raises:
        UsageError: the model does not run on the target, or the data does not fit it.
    """
    from edgekit.engine.data import check_fits

    artifact = open_artifact(Path(model))
    device = target_for(artifact, target, threads=threads)
    artifact, opened = open_for(artifact, data, seed=seed)
    assert opened is not None, "data was given"
    check_fits(opened, describe(artifact).signature, artifact.scaling)
    if not opened.can_judge:
        raise UnmeasuredError(
            f"{opened.where}: has no labels to judge by",
            hint="give labels, or --reference MODEL2 with a task that compares outputs",
        )
    return score_one(on_target(artifact, device), data=opened, bars=bars)


def compare_models(
    model: str,
    reference: str,
    *,
    data: DataRequest,
    target: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    bars: Progress = silent,
) -> Report:
    """Judges `model` against `reference` on the same samples, interleaved in time.

    Raises:
        UsageError: a model does not run on the target, or the data does not fit one of them.
    """
    from edgekit.engine.data import check_fits

    started = time.perf_counter()
    artifacts = [open_artifact(Path(reference)), open_artifact(Path(model))]
    device = target_for(artifacts[1], target, threads=threads)
    for index, artifact in enumerate(artifacts):
        artifacts[index], opened = open_for(artifact, data, seed=seed)
        assert opened is not None, "data was given"
        check_fits(opened, describe(artifacts[index]).signature, artifacts[index].scaling)
    pair = measure_pair(
        on_target(artifacts[0], device),
        on_target(artifacts[1], device),
        data=opened,
        seed=seed,
        bars=bars,
    )
    limits: tuple[SourcedLimits, ...] = (device.limits,)
    return Report(
        title=f"{artifacts[1].name} · against {artifacts[0].name} · {device.name}",
        source=artifacts[0],
        recipe=None,
        target=device.name,
        seed=seed,
        edgekit_version=__version__,
        machine=fingerprint(target_versions(device)),
        steps=(),
        reference_artifact=artifacts[0],
        reference=pair.reference,
        reference_description=describe(artifacts[0]),
        result_artifact=dataclasses.replace(artifacts[1], parent=artifacts[0].digest),
        result=pair.result,
        result_description=describe(artifacts[1]),
        data=data_facts(opened),
        judgement=pair.judgement,
        verdicts=judge(limits, pair.result, pair.judgement, unjudged=why_unjudged(opened)),
        notes=pair.notes,
        seconds={"validate": time.perf_counter() - started},
        command=_command(model, reference, data, target or device.name, seed=seed),
    )


def target_for(artifact: Artifact, name: str | None, *, threads: int | None) -> Target:
    """The named target, or the default one of the artifact's format.

    Raises:
        UsageError: the target takes another format.
    """
    target = load_target(name or default_target(artifact.format), overrides={"threads": threads})
    if target.format != artifact.format:
        raise UsageError(
            f"model '{artifact.path}' is a {artifact.format} file, and target '{target.name}' "
            f"takes {target.format}",
            hint=f"edgekit convert {artifact.path} --to {target.format}",
        )
    return target


def _command(model: str, reference: str, data: DataRequest, target: str, *, seed: int) -> str:
    words = ["edgekit", "validate", model, "--reference", reference, *data.words()]
    words += ["--target", target]
    words += ["--seed", str(seed)] if seed else []
    return shlex.join(words)
