"""Trains a zoo model on the user's data, as the first step of a run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core import catalog
from edgekit.core.artifact import Artifact, InputScaling
from edgekit.core.notes import Note
from edgekit.core.report import StepRecord
from edgekit.core.training import Curve
from edgekit.engine import files
from edgekit.engine.cache import CachedStep, content_digest, key_of
from edgekit.engine.data_training import training_data
from edgekit.engine.models import ZOO_PREFIX, format_of
from edgekit.errors import UsageError
from edgekit.units import format_share
from edgekit.version import __version__
from edgekit.zoo import FORMAT

if TYPE_CHECKING:
    from edgekit.engine.compress import DataRequest
    from edgekit.engine.data import LoadedData
    from edgekit.engine.steps import Run

__all__ = ["FORMAT", "is_trained", "open_training_data", "train", "untrained"]

_STEP = "train"


def open_training_data(name: str, request: DataRequest | None, *, seed: int) -> LoadedData:
    """Opens the data for a model that is yet to be trained, and checks that it can be trained on.

    Raises:
        UsageError: no data, no whole-number labels, or several inputs.
    """
    from edgekit.engine.data import open_data

    if request is None:
        raise UsageError(
            f"model '{ZOO_PREFIX}{name}' is trained first, and there is no data to train on",
            hint="name it with --data, such as --data digits",
        )
    data = open_data(request.spec, options=request.options, seed=seed, task=request.task)
    if data.classes is None or len(data.dataset.train.x) != 1:
        inputs = len(data.dataset.train.x)
        what = "labels that are no classes" if data.classes is None else f"{inputs} inputs"
        raise UsageError(
            f"{data.where}: zoo models learn the classes of one input, and this data has {what}",
            hint="whole-number labels 0, 1, 2, ... make classes",
        )
    return data


def untrained(name: str, data: LoadedData, folder: Path) -> Artifact:
    """The model as it is before its training, in `folder`: its layers can be asked already.

    Raises:
        UsageError: the samples do not suit the model.
    """
    from edgekit.frameworks.keras import save_keras

    path = folder / f"{name}{format_of(FORMAT).SUFFIXES[0]}"
    save_keras(_build(name, data)(), path)
    return Artifact(path, FORMAT, format_of(FORMAT).digest(path), name, scaling=_scaling(data))


def is_trained(name: str, run: Run) -> bool:
    """True where the cache has the trained model."""
    return run.cache.find(_key(name, run), digest_of=format_of(FORMAT).digest) is not None


def train(name: str, run: Run) -> tuple[Artifact, StepRecord]:
    """Trains `zoo:NAME` on the train split (stopped by select), or takes it from the cache.

    Raises:
        UsageError: the samples do not suit the model.
        PromiseError: the loss is no number.
    """
    assert run.data is not None, "open_training_data was called"
    key, digest_of = _key(name, run), format_of(FORMAT).digest
    found = made = run.cache.find(key, digest_of=digest_of)
    if made is None:
        with run.cache.training(key) as folder:
            # Another run may have trained the same while this one waited for the folder.
            found = made = run.cache.find(key, digest_of=digest_of)
            made = made or _make(name, key, run, folder)
    scaling = _scaling(run.data)
    artifact = Artifact(made.path, FORMAT, made.digest, name, made_by=_STEP, scaling=scaling)
    record = StepRecord(
        name=f"{_STEP} {ZOO_PREFIX}{name}",
        kind=_STEP,
        format=FORMAT,
        parameters=dataclasses.asdict(catalog.load("zoo", name).SETTINGS),
        digest=made.digest,
        size_bytes=files.size_bytes(made.path),
        seconds=made.seconds,
        cached=found is not None,
        notes=made.notes,
        curves=made.curves,
    )
    return artifact, record


def _build(name: str, data: LoadedData) -> Callable[[], Any]:
    build = catalog.load("zoo", name).build
    shape, classes = data.dataset.train.x[0].shape[1:], data.classes or 0
    return lambda: build(shape, classes)


def _make(name: str, key: str, run: Run, folder: Path) -> CachedStep:
    from edgekit.frameworks import training
    from edgekit.frameworks.keras import save_keras

    started = time.perf_counter()
    data = run.data
    assert data is not None, "checked by train"
    scaling, own = _scaling(data), format_of(FORMAT)
    with files.disk_errors("EDGEKIT_CACHE", folder):
        trained = training.train(
            _build(name, data),
            training_data(data, None, scaling),
            catalog.load("zoo", name).SETTINGS,
            folder=folder,
            seed=run.seed,
            progress=run.bars,
            title=f"{_STEP} {ZOO_PREFIX}{name}",
        )
        path = folder / f"model{own.SUFFIXES[0]}"
        save_keras(trained.model, path)
        own.write_scaling(path, scaling)
    notes = (_trained(trained.curve), *trained.notes)
    seconds = time.perf_counter() - started
    step = CachedStep(path, own.digest(path), seconds, notes, (trained.curve,))
    stored = run.cache.store(key, step, digest_of=own.digest)
    files.remove(folder)
    return stored


def _trained(curve: Curve) -> Note:
    best = curve.epochs[curve.best_epoch - 1]
    figure = "" if best.select_metric is None else f", {format_share(best.select_metric)}"
    return Note(
        "trained",
        f"{len(curve.epochs)} epochs",
        f"epoch {curve.best_epoch} was best on the select split{figure}",
        is_evidence=True,
    )


def _scaling(data: LoadedData) -> InputScaling:
    from edgekit.engine.data import measure_scaling

    return data.scaling_override or measure_scaling(data)


def _key(name: str, run: Run) -> str:
    from edgekit.frameworks import training

    module = catalog.load("zoo", name)
    assert module.__file__ is not None, name
    assert run.data is not None, "checked by train"
    code = [
        *Path(module.__file__).parent.glob("*.py"),
        *Path(training.__file__).parent.glob("*.py"),
    ]
    return key_of(
        {
            "zoo": name,
            "settings": dataclasses.asdict(module.SETTINGS),
            "data": run.data.digest,
            "scaling": run.data.scaling_override and dataclasses.asdict(run.data.scaling_override),
            "seed": run.seed,
            "versions": dict(training.versions()),
            "edgekit": __version__,
            "code": content_digest(code),
        }
    )
