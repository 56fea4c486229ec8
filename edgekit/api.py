"""The Python interface: what the command line does, one call each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.engine.compress import DataRequest
from edgekit.engine.delegation import Delegation
from edgekit.engine.progress import Progress, silent

if TYPE_CHECKING:
    from edgekit.core.data import Score
    from edgekit.core.description import Description
    from edgekit.core.report import Report
    from edgekit.engine.bundling import Made
    from edgekit.engine.convert import Conversion
    from edgekit.engine.singles import Benchmark

__all__ = ["bench", "bundle", "compress", "convert", "inspect", "validate"]


def compress(
    model: str | Path,
    *,
    recipe: str,
    target: str,
    out: str | Path,
    data: str | None = None,
    data_options: str = "",
    task: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    force: bool = False,
    progress: Progress = silent,
    hooks: Mapping[str, Any] | None = None,
    output: str | None = None,
    inputs: Sequence[str] = (),
    on: str | None = None,
    delegates: Sequence[str] = (),
    strict: bool = False,
) -> Report:
    """Compresses a model for a target, writes it and its reports into `out`, returns the report.

    `model` is a path or 'zoo:NAME'; `recipe` and `target` are shipped names or paths of TOML
    files; `data` is 'digits' or 'KIND:PATH'; `output` names the output to judge, `inputs` are
    NAME=1x3x224x224 for inputs that are open in the file. Broken limits are in `report.verdicts`.
    `delegates` are 'LIB.so:KEY=VALUE,...' in place of the target's own, tried in turn before the
    CPU; with `strict` one that fails, or takes too few ops, is a PromiseError.
    `hooks` are the user's own functions for every training step of the recipe, by name: loss,
    optimizer, metrics, callbacks, augment, train_epoch (docs/training.md). What they made is never
    taken from the cache by another process, because a function has no digest; a hooks file has.

    Raises:
        edgekit.errors.UsageError: the request is wrong; nothing was written.
        edgekit.errors.PromiseError: a step did not do what it declares.
    """
    from edgekit.engine import compress as engine

    return engine.compress(
        str(model),
        recipe=recipe,
        target=target,
        out=Path(out),
        data=_request(data, data_options, task, output),
        seed=seed,
        threads=threads,
        force=force,
        bars=progress,
        hooks=hooks,
        inputs=inputs,
        on=on,
        delegation=Delegation.parse(delegates, strict=strict),
    )


def validate(
    model: str | Path,
    *,
    data: str,
    target: str | None = None,
    data_options: str = "",
    task: str | None = None,
    output: str | None = None,
    inputs: Sequence[str] = (),
    seed: int = 0,
    threads: int | None = None,
    on: str | None = None,
    delegates: Sequence[str] = (),
    strict: bool = False,
) -> Score:
    """Scores a model file on the test split of `data`; the metric with its 95 % interval.

    Raises:
        edgekit.errors.UsageError: the model does not run on the target, or the data does not fit.
    """
    from edgekit.engine import validate as engine

    found = engine.validate(
        str(model),
        data=DataRequest(data, data_options, task, output),
        target=target,
        seed=seed,
        inputs=inputs,
        threads=threads,
        on=on,
        delegation=Delegation.parse(delegates, strict=strict),
    )
    return found.score


def bench(
    model: str | Path,
    *,
    target: str | None = None,
    data: str | None = None,
    data_options: str = "",
    inputs: Sequence[str] = (),
    seed: int = 0,
    threads: int | None = None,
    on: str | None = None,
    delegates: Sequence[str] = (),
    strict: bool = False,
    with_profile: bool = False,
    with_count: bool = False,
    energy_command: str | None = None,
) -> Benchmark:
    """Measures latency (ns), memory and size (bytes) and placement of a model file.

    Raises:
        edgekit.errors.UsageError: the model does not run on the target.
    """
    from edgekit.engine import singles

    request = _request(data, data_options)
    return singles.bench(
        str(model),
        target=target,
        data=request,
        seed=seed,
        inputs=inputs,
        threads=threads,
        on=on,
        delegation=Delegation.parse(delegates, strict=strict),
        with_profile=with_profile,
        with_count=with_count,
        energy_command=energy_command,
    )


def convert(
    model: str | Path,
    *,
    to: str,
    out: str | Path,
    data: str | None = None,
    data_options: str = "",
    conversion_options: str = "",
    inputs: Sequence[str] = (),
    seed: int = 0,
    force: bool = False,
) -> Conversion:
    """Converts a model file to the format `to` and proves that its outputs stayed equal.

    Raises:
        edgekit.errors.UsageError: no way leads to that format, or the model is wrong.
        edgekit.errors.PromiseError: the outputs differ; the worst one is named.
    """
    from edgekit.engine import convert as engine

    return engine.convert(
        str(model),
        to=to,
        out=Path(out),
        data=_request(data, data_options),
        conversion_options=conversion_options,
        seed=seed,
        inputs=inputs,
        force=force,
    )


def bundle(
    model: str | Path,
    *,
    out: str | Path,
    target: str | None = None,
    data: str | None = None,
    data_options: str = "",
    task: str | None = None,
    output: str | None = None,
    labels: str | Path | None = None,
    preprocess: str | Path | None = None,
    golden: int | None = None,
    inputs: Sequence[str] = (),
    threads: int | None = None,
    delegates: Sequence[str] = (),
    strict: bool = False,
    seed: int = 0,
    force: bool = False,
) -> Made:
    """Packs a model file, or the model in a folder that compress wrote, into the bundle `out`.

    `labels` is a file with one class a line, `preprocess` a TOML file with the keys of a bundle's
    preprocess.json; `golden` is the number of golden samples.

    Raises:
        edgekit.errors.UsageError: the model, the data or one of the files is wrong; nothing was
            written.
    """
    from edgekit.engine import bundling

    extras = bundling.Extras(
        labels=None if labels is None else Path(labels),
        preprocess=None if preprocess is None else Path(preprocess),
        golden=golden,
        task=task,
    )
    return bundling.bundle(
        str(model),
        out=Path(out),
        target=target,
        data=_request(data, data_options, task, output),
        extras=extras,
        inputs=inputs,
        threads=threads,
        delegation=Delegation.parse(delegates, strict=strict),
        seed=seed,
        force=force,
    )


def inspect(model: str | Path) -> Description:
    """Reads what a model file holds, without running it.

    Raises:
        edgekit.errors.UsageError: not a model, or a damaged one.
    """
    from edgekit.engine.models import describe, open_artifact

    return describe(open_artifact(Path(model)))


def _request(
    data: str | None, options: str, task: str | None = None, output: str | None = None
) -> DataRequest | None:
    return None if data is None else DataRequest(data, options, task, output)
