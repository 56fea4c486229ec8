"""Converts a model to another format, with proof that its outputs stayed equal."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.core import catalog
from edgekit.core.artifact import Artifact
from edgekit.core.plan import Step
from edgekit.core.report import StepRecord
from edgekit.core.schema import parse_options
from edgekit.engine.cache import StepCache
from edgekit.engine.compress import DataRequest, copy_part, open_for
from edgekit.engine.files import disk_errors, new_file
from edgekit.engine.models import paths_of
from edgekit.engine.open_model import open_model
from edgekit.engine.progress import Progress, silent
from edgekit.engine.steps import Run
from edgekit.errors import UsageError, did_you_mean
from edgekit.frameworks.files import cache_root
from edgekit.text import with_article

__all__ = ["Conversion", "convert"]


@dataclass(frozen=True)
class Conversion:
    """What was converted into what, and the record of the step with its proof."""

    source: Artifact
    result: Artifact
    record: StepRecord


def convert(
    model: str,
    *,
    to: str,
    out: Path,
    data: DataRequest | None = None,
    conversion_options: str = "",
    seed: int = 0,
    inputs: Sequence[str] = (),
    force: bool = False,
    bars: Progress = silent,
) -> Conversion:
    """Converts the file `model` to the format `to`.

    Raises:
        UsageError: no such format or way to it; the model is wrong; `out` exists or has another
            format's ending.
        PromiseError: the outputs of the two models differ.
    """
    source = open_model(model, inputs)
    step = _step(source, to, conversion_options)
    suffixes = catalog.load("formats", to).SUFFIXES
    if out.suffix not in suffixes:
        raise UsageError(
            f"--out '{out}': {with_article(to)} file ends in {' or '.join(suffixes)}",
            hint=f"--out {out.with_suffix(suffixes[0])}",
        )
    with new_file(out, what="--out", force=force) as temporary:
        source, opened = open_for(source, data, seed=seed)
        run = Run(StepCache(cache_root()), seed, opened, bars)
        result, record = run.step(step, run.adopt(source))
        with disk_errors("--out", out):
            own, *parts = paths_of(result)
            shutil.copyfile(own, temporary)
            for part in parts:
                copy_part(part, own.parent, temporary.parent)
    return Conversion(source, result, record)


def _step(source: Artifact, to: str, options: str) -> Step:
    formats = catalog.names("formats")
    if to not in formats:
        raise UsageError(f"unknown format '{to}'", hint=did_you_mean(to, formats))
    ends = sorted(end for start, end in catalog.conversions() if start == source.format)
    if to not in ends:
        raise UsageError(
            f"nothing converts {source.format} to {to}",
            hint=f"{source.format} converts to {', '.join(ends) or 'no other format yet'}",
        )
    name = f"{source.format}-to-{to}"
    parameters = catalog.load("conversions", name).Parameters
    return Step(
        "conversion",
        name,
        source.format,
        to,
        parse_options(parameters, options, where="--conversion-options"),
    )
