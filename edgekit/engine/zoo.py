"""Trains a zoo model on the user's data, as the first step of a run."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgekit.core import catalog
from edgekit.core.artifact import Artifact, InputScaling
from edgekit.core.notes import Note
from edgekit.core.report import StepRecord
from edgekit.engine import files
from edgekit.engine.cache import CachedStep, content_digest, key_of
from edgekit.engine.models import ZOO_PREFIX, format_of
from edgekit.errors import UsageError
from edgekit.units import format_share
from edgekit.version import __version__
from edgekit.zoo import FORMAT

if TYPE_CHECKING:
    from edgekit.core.data import Array, SplitName
    from edgekit.engine.compress import DataRequest
    from edgekit.engine.data import LoadedData
    from edgekit.engine.steps import Run

__all__ = ["FORMAT", "open_training_data", "train"]

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


def train(name: str, run: Run) -> tuple[Artifact, StepRecord]:
    """Trains `zoo:NAME` on the train split (stopped by select), or takes it from the cache.

    Raises:
        UsageError: the samples do not suit the model.
        PromiseError: the loss is no number.
    """
    data, module = run.data, catalog.load("zoo", name)
    assert data is not None, "open_training_data was called"
    key = _key(name, module, run)
    scaling = data.scaling_override or _measured(data)
    digest_of = format_of(FORMAT).digest
    found = run.cache.find(key, digest_of=digest_of)
    if found is None:
        with run.cache.training(key) as folder:
            # Another run may have trained the same while this one waited for the folder.
            found = run.cache.find(key, digest_of=digest_of)
            made = found or _make(key, module, run, scaling, folder)
    else:
        made = found
    artifact = Artifact(made.path, FORMAT, made.digest, name, made_by=_STEP, scaling=scaling)
    record = StepRecord(
        name=f"{_STEP} {ZOO_PREFIX}{name}",
        kind=_STEP,
        format=FORMAT,
        parameters=dataclasses.asdict(module.SETTINGS),
        digest=made.digest,
        size_bytes=files.size_bytes(made.path),
        seconds=made.seconds,
        cached=found is not None,
        notes=made.notes,
    )
    return artifact, record


def _make(
    key: str, module: ModuleType, run: Run, scaling: InputScaling, folder: Path
) -> CachedStep:
    from edgekit.frameworks import training

    started = time.perf_counter()
    data = run.data
    assert data is not None, "checked by train"
    sample_shape = data.dataset.train.x[0].shape[1:]
    classes = data.classes or 0
    with files.disk_errors("EDGEKIT_CACHE", folder):
        trained = training.train(
            lambda: module.build(sample_shape, classes),
            training.TrainingData(
                _ScaledRows(data, "train", scaling),
                _labels(data, "train"),
                _ScaledRows(data, "select", scaling),
                _labels(data, "select"),
            ),
            module.SETTINGS,
            folder=folder,
            seed=run.seed,
            progress=run.bars,
        )
    own = format_of(FORMAT)
    own.write_scaling(trained.path, scaling)
    note = Note(
        "trained",
        f"{trained.epochs} epochs",
        f"epoch {trained.best_epoch} was best on the select split, "
        f"{format_share(trained.select_accuracy)}",
        is_evidence=True,
    )
    notes = (note, *_resumed(trained.resumed_after), *trained.notes)
    seconds = time.perf_counter() - started
    step = CachedStep(trained.path, own.digest(trained.path), seconds, notes)
    stored = run.cache.store(key, step, digest_of=own.digest)
    files.remove(folder)
    return stored


def _resumed(epochs: int) -> tuple[Note, ...]:
    if not epochs:
        return ()
    reason = "an interrupted training had come that far"
    return (Note("resumed", f"after {epochs} epochs", reason, is_evidence=True),)


def _measured(data: LoadedData) -> InputScaling:
    from edgekit.engine.data import measure_scaling

    return measure_scaling(data)


def _labels(data: LoadedData, split: SplitName) -> Array:
    y = data.dataset.train.y
    assert y is not None, "the data has classes"
    return y[data.indices(split)]


class _ScaledRows:
    """Scaled samples of one split, read a batch at a time."""

    def __init__(self, data: LoadedData, split: SplitName, scaling: InputScaling) -> None:
        self._rows, self._indices = data.dataset.train.x[0], data.indices(split)
        self._scaling = scaling

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of samples of the split, then the shape of one."""
        return (len(self._indices), *self._rows.shape[1:])

    @property
    def dtype(self) -> Any:
        """What scaled samples are."""
        return "float32"

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any, /) -> Array:
        from edgekit.engine.data_inputs import prepare

        return prepare(self._rows[self._indices[index]], None, self._scaling)


def _key(name: str, module: ModuleType, run: Run) -> str:
    from edgekit.frameworks import training

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
