"""What a pass gets to work with: its folder, declared data, other models' outputs, notes."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core import catalog
from edgekit.core.artifact import Artifact, Signature
from edgekit.core.data import SplitName, TrainingData
from edgekit.core.description import Description
from edgekit.core.notes import Note
from edgekit.core.runner import Session
from edgekit.core.training import Curve
from edgekit.engine.data_training import left_out, training_data
from edgekit.engine.models import describe, open_artifact
from edgekit.engine.progress import Progress
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.core.data import Array
    from edgekit.engine.data import LoadedData

__all__ = ["PassWork", "natural_runner", "predict"]

_PROBE_SPLITS: tuple[SplitName, ...] = ("calibrate", "train", "select")


@dataclass
class PassWork:
    """Implements `core.technique.Work` for one step; the test split cannot be reached from it."""

    step: str
    needs: Mapping[SplitName, int]
    folder: Path
    output: Path
    checkpoints: Path
    seed: int
    source: Artifact
    origin: Artifact
    lineage: Mapping[str, Artifact]
    data: LoadedData | None
    bars: Progress
    hooks: Mapping[str, Any] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    _sessions: dict[str, Session] = field(default_factory=dict)

    def samples(self, split: SplitName, count: int | None = None) -> Iterator[tuple[Array, ...]]:
        """Model-ready inputs of a declared split, one sample at a time."""
        data = self._declared(split)
        # Calibration may go on with training samples where its own split is smaller than wanted:
        # both are the model's to learn from, and more samples make better ranges.
        splits: tuple[SplitName, ...] = (split, "train") if split == "calibrate" else (split,)
        yield from itertools.islice(self._rows(data, splits), count)

    def training_data(self) -> TrainingData:
        """The train and select splits, read a batch at a time."""
        self._declared("select")
        data = self._declared("train")
        made = training_data(data, self._signature(), self.source.scaling)
        count, reason = left_out(data, made)
        if count:
            self.note("not trained on", f"{count} samples of the train split", reason)
        return made

    def _declared(self, split: SplitName) -> LoadedData:
        if split == "test" or split not in self.needs:
            raise AssertionError(f"{self.step} asks for the {split} split without declaring it")
        if self.data is None:
            raise UsageError(f"{self.step} needs data", hint="name it with --data")
        return self.data

    def _rows(self, data: LoadedData, splits: tuple[SplitName, ...]) -> Iterator[tuple[Array, ...]]:
        for number, split in enumerate(splits):
            if not data.split_sizes[split]:
                continue
            if number:
                held = f"the {splits[0]} split has only {data.split_sizes[splits[0]]} samples"
                self.evidence("went on with", f"samples of the {split} split", held)
            for inputs, _ in data.batches(split, 64, self._signature(), self.source.scaling):
                for row in range(len(inputs[0])):
                    yield tuple(array[row : row + 1] for array in inputs)

    def probes(self, count: int) -> tuple[Array, ...]:
        """Real calibration samples where there is data, else seeded random ones (noted)."""
        from edgekit.engine.data import random_inputs

        signature = self._signature()
        if self.data is None:
            self.note("random inputs", self.step, f"checked on {count} random inputs: no --data")
            return random_inputs(signature, count, self.seed)
        for split in _PROBE_SPLITS:
            if self.data.split_sizes[split]:
                inputs, _ = next(self.data.batches(split, count, signature, self.source.scaling))
                return inputs
        reason = f"checked on {count} random inputs: the data has test samples only"
        self.note("random inputs", self.step, reason)
        return random_inputs(signature, count, self.seed)

    def describe(self, artifact: Artifact) -> Description:
        """What an artifact holds."""
        return describe(artifact)

    def predict(self, artifact: Artifact, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Runs a model of any format on model-ready inputs; it stays open until `close`."""
        from edgekit.engine.inference import real_outputs

        key = f"{artifact.digest} {artifact.path}"
        if key not in self._sessions:
            self._sessions[key] = open_naturally(artifact)
        return real_outputs(self._sessions[key], inputs)

    def open(self, model: str) -> Artifact:
        """Opens a model file that a recipe names."""
        return open_artifact(Path(model))

    def close(self) -> None:
        """Closes the models that `predict` opened."""
        while self._sessions:
            self._sessions.popitem()[1].close()

    def ancestor(self, format: str) -> Artifact | None:
        """The nearest artifact of that format in this one's line."""
        current: Artifact | None = self.source
        while current is not None and current.format != format:
            current = self.lineage.get(current.parent or "")
        return current

    def note(self, what: str, item: str, reason: str) -> None:
        """Puts on record, once, what was skipped, dropped or done in another way."""
        self._add(Note(what, item, reason))

    def evidence(self, what: str, item: str, found: str) -> None:
        """Puts on record, once, what was checked and what was found."""
        self._add(Note(what, item, found, is_evidence=True))

    def _add(self, note: Note) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def record(self, curve: Curve) -> None:
        """Puts a training's figures by epoch on record."""
        self.curves.append(curve)

    def progress(self, text: str, total: int) -> AbstractContextManager[Any]:
        """Shows a progress bar."""
        return self.bars(text, total)

    def _signature(self) -> Signature:
        return describe(self.source).signature


def predict(artifact: Artifact, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """Runs a model on the runner that is the natural one for its format.

    Raises:
        UsageError: no runner opens this format.
    """
    from edgekit.engine.inference import real_outputs

    with contextlib.closing(open_naturally(artifact)) as session:
        return real_outputs(session, inputs)


def open_naturally(artifact: Artifact) -> Session:
    """Opens a model on the runner that is the natural one for its format.

    Raises:
        UsageError: no runner opens this format.
    """
    runner = catalog.load("runners", natural_runner(artifact.format))
    session: Session = runner.open(artifact.path, describe(artifact).signature, runner.Options())
    return session


def natural_runner(format: str) -> str:
    """The runner that passes and comparisons take for a format where no target says another.

    Raises:
        UsageError: no runner opens this format.
    """
    for name in catalog.names("runners"):
        if format in catalog.load("runners", name).PREDICTS:
            return name
    raise UsageError(f"no runner opens {format} files")
