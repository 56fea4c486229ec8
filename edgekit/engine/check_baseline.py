"""Baselines on disk: read strictly, opened to be run, written anew when somebody accepts."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core import catalog
from edgekit.core.artifact import Artifact
from edgekit.core.baseline import (
    SCHEMA,
    Baseline,
    BaselineModel,
    BaselineScore,
    dump_baseline,
    parse_baseline,
)
from edgekit.core.device import DeviceSpec
from edgekit.core.measurement import Measurements
from edgekit.core.schema import build
from edgekit.core.strict_json import parse_json
from edgekit.engine.check_history import same_machine
from edgekit.engine.compress import copy_part
from edgekit.engine.files import disk_errors, remove, size_bytes
from edgekit.engine.measure import Subject
from edgekit.engine.models import format_of, open_artifact, paths_of
from edgekit.errors import EdgekitError, UsageError
from edgekit.frameworks.files import cache_root, replacing
from edgekit.version import __version__

__all__ = ["FOLDER", "Old", "baseline_of", "open_old", "read_baseline", "write_baseline"]

FOLDER = Path("baselines")

_MOST_BYTES = 16_000_000
"""A larger model is not kept beside its baseline, which is there to be committed."""
_MOST_JSON_BYTES = 4_000_000
_IN_CACHE = "cache:"


@dataclass(frozen=True)
class Old:
    """A baseline, its file, and its model where that is still there (else `missing` says why).

    `changed` says what of the way to run it could not be kept.
    """

    baseline: Baseline
    file: str
    subject: Subject | None
    missing: str = ""
    changed: str = ""


def read_baseline(name: str) -> Baseline | None:
    """The baseline of a row; None where it has none.

    Raises:
        UsageError: damaged, of a newer schema, or of another row.
    """
    path = _file(name)
    with disk_errors("baseline", path):
        if not path.exists():
            return None
        with path.open("rb") as file:
            data = file.read(_MOST_JSON_BYTES + 1)
    return parse_baseline(data, where=str(path), name=name)


def open_old(baseline: Baseline, now: Subject) -> Old:
    """The baseline's model, to be run as it was run then, on the device of today's.

    Raises:
        UsageError: the file beside the baseline is another model than the one it speaks of.
    """
    file, model = str(_file(baseline.name)), baseline.model
    path = _path(model)
    again = f"edgekit check --accept {baseline.name} makes a new baseline"
    if path is None or not path.exists():
        if model.file:
            raise UsageError(f"{FOLDER / model.file}: is missing, and {file} needs it", hint=again)
        return Old(baseline, file, None, "the baseline's model is not on this machine: " + again)
    try:
        artifact = open_artifact(path)
    except UsageError as error:
        raise UsageError(error.message, hint=error.hint or again) from None
    if artifact.digest != model.digest:
        if model.file:
            raise UsageError(
                f"{path}: is not the model that {file} speaks of",
                hint=f"restore both (git checkout {FOLDER}), or: {again}",
            )
        return Old(baseline, file, None, f"{model.place} is another model by now: {again}")
    runner, options, changed = _way(baseline, now)
    return Old(
        baseline, file, Subject(artifact, runner, options, _device(runner, now)), "", changed
    )


def baseline_of(
    name: str,
    target: str,
    subject: Subject,
    measured: Measurements,
    *,
    data: str,
    machine: Mapping[str, Any],
    utc: str,
) -> Baseline:
    """What is put on record of a row; `data` is the digest of what judged it, '' for none."""
    score = measured.score
    return Baseline(
        schema=SCHEMA,
        name=name,
        accepted_utc=utc,
        edgekit_version=__version__,
        model=_model(name, subject.artifact),
        target=target,
        runner=subject.runner,
        options=_plain(dataclasses.asdict(subject.options)),
        size_bytes=measured.size_bytes,
        size_compressed_bytes=measured.size_compressed_bytes,
        score=BaselineScore(score.metric, score.value, score.n, data)
        if score is not None and math.isfinite(score.value)
        else None,
        latency_median_ns=measured.latency.median_ns,
        memory_peak_bytes=measured.memory.peak_bytes,
        delegated=measured.placement.delegated,
        machine=_plain(same_machine(machine)),
    )


def write_baseline(baseline: Baseline, artifact: Artifact) -> None:
    """Puts the model beside the baseline, and the baseline itself last.

    Raises:
        UsageError: the folder cannot be written.
    """
    path = _file(baseline.name)
    with disk_errors("baselines", path):
        FOLDER.mkdir(exist_ok=True)
        before = _kept(path)
        if baseline.model.file:
            _keep(baseline, artifact)
        with replacing(path) as temporary:
            temporary.write_bytes(dump_baseline(baseline))
            temporary.chmod(0o644)
        top = baseline.model.file.partition("/")[0]
        if before and before != top:
            remove(FOLDER / before)


def _file(name: str) -> Path:
    return FOLDER / f"{name}.json"


def _path(model: BaselineModel) -> Path | None:
    if model.file:
        return FOLDER / model.file
    if model.place.startswith(_IN_CACHE):
        return cache_root() / model.place.removeprefix(_IN_CACHE)
    return Path(model.place) if model.place else None


def _way(baseline: Baseline, now: Subject) -> tuple[str, Any, str]:
    """The runner and the options of then; today's, and why, where these are no more."""
    try:
        runner = catalog.load("runners", baseline.runner)
        if baseline.model.format not in runner.FORMATS:
            raise UsageError(f"{baseline.runner} does not open {baseline.model.format}")
        return baseline.runner, build(runner.Options, baseline.options, where="options"), ""
    except EdgekitError as error:
        reason = f"the baseline's model runs with today's options, not its own: {error.message}"
        return now.runner, now.options, reason


def _device(runner: str, now: Subject) -> DeviceSpec | None:
    return now.device if runner == now.runner else None


def _model(name: str, artifact: Artifact) -> BaselineModel:
    paths = paths_of(artifact)
    if sum(map(size_bytes, paths)) > _MOST_BYTES:
        return BaselineModel(artifact.digest, artifact.format, place=_place(artifact.path))
    suffix = format_of(artifact.format).SUFFIXES[0]
    alone = len(paths) == 1 and artifact.path.is_file()
    file = f"{name}{suffix}" if alone else f"{name}/{artifact.path.name}"
    return BaselineModel(artifact.digest, artifact.format, file)


def _place(path: Path) -> str:
    """Where a large model lies, in words that mean the same on another machine; '' for none."""
    for root, prefix in ((Path.cwd(), ""), (cache_root(), _IN_CACHE)):
        with contextlib.suppress(ValueError):
            return f"{prefix}{path.resolve().relative_to(root.resolve()).as_posix()}"
    return ""


def _kept(path: Path) -> str:
    """What lies beside the baseline that is replaced, as far as it can be read.

    A damaged baseline may speak of any file: only one that bears its own name is meant.
    """
    with contextlib.suppress(EdgekitError, OSError, KeyError, TypeError, ValueError):
        table = parse_json(path.read_bytes(), where=str(path))
        top = BaselineModel(**table["model"]).file.partition("/")[0]
        if top == path.stem or Path(top).stem == path.stem:
            return top
    return ""


def _keep(baseline: Baseline, artifact: Artifact) -> None:
    own, *parts = paths_of(artifact)
    with _scratch() as scratch:
        made = scratch / baseline.model.file
        made.parent.mkdir(parents=True, exist_ok=True)
        if own.is_dir():
            shutil.copytree(own, made)
        else:
            shutil.copyfile(own, made)
        for part in parts:
            copy_part(part, own.parent, made.parent)
        top = baseline.model.file.partition("/")[0]
        place = FOLDER / top
        if place.is_dir():
            os.replace(place, scratch / "replaced")
        os.replace(scratch / top, place)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=".new.", dir=FOLDER))
    try:
        yield folder
    finally:
        remove(folder)


def _plain(value: Any) -> Any:
    """Options and facts as JSON has them; null is left out, as TOML has none."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str) else str(value)
