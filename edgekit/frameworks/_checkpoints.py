"""Checkpoints of a training run: one file an epoch, and a history that says which count."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edgekit.core.notes import Note
from edgekit.frameworks.keras import quiet, save_keras

__all__ = ["Checkpoints", "Epoch", "plan_digest"]

_MAX_HISTORY_BYTES = 10_000_000


@dataclass(frozen=True)
class Epoch:
    """Mean figures over one epoch of training, and on the whole `select` split after it."""

    loss: float
    accuracy: float
    select_loss: float
    select_accuracy: float
    seconds: float


class Checkpoints:
    """The folder of one run. `history.json` is renamed into place last, so it is the truth."""

    def __init__(self, folder: Path, plan: str) -> None:
        self.folder = folder
        self.plan = plan
        self.history: list[Epoch] = []
        self.notes: list[Note] = []

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest loss on `select`, from 1; 0 where there is none yet."""
        losses = [epoch.select_loss for epoch in self.history]
        return losses.index(min(losses)) + 1 if losses else 0

    def load(self, keras: Any) -> Any:
        """Returns the compiled model of the last epoch, or None to start from the beginning.

        A checkpoint of another run (other settings, seed, data or layers) or a damaged one is not
        used, and that is noted.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._history_path.exists():
            return None
        try:
            self.history = self._read_history()
            self._open(keras, self.best_epoch, compile=False)
            return self._open(keras, len(self.history), compile=True)
        except Exception as error:  # a damaged .keras file makes Keras raise nearly anything
            self.history = []
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.notes.append(Note("restarted", "training checkpoint", reason))
            return None

    def add(self, model: Any, epoch: Epoch) -> None:
        """Saves the model with its optimizer; earlier checkpoints go, but for the best one."""
        number = len(self.history) + 1
        save_keras(model, self._path(number))
        self.history.append(epoch)
        table = {"plan": self.plan, "epochs": [asdict(item) for item in self.history]}
        _write(self._history_path, json.dumps(table, indent=1))
        kept = {self._path(number), self._path(self.best_epoch)}
        for path in self.folder.glob("epoch-*.keras"):
            if path not in kept:
                path.unlink()

    def finish(self, keras: Any) -> Path:
        """Writes the best epoch's model, without optimizer, as `model.keras`."""
        path = self.folder / "model.keras"
        save_keras(self._open(keras, self.best_epoch, compile=False), path)
        return path

    @property
    def _history_path(self) -> Path:
        return self.folder / "history.json"

    def _path(self, number: int) -> Path:
        return self.folder / f"epoch-{number:04d}.keras"

    def _open(self, keras: Any, number: int, *, compile: bool) -> Any:
        with quiet():
            return keras.saving.load_model(self._path(number), compile=compile)

    def _read_history(self) -> list[Epoch]:
        if self._history_path.stat().st_size > _MAX_HISTORY_BYTES:
            raise ValueError("history.json is too large")
        table = json.loads(self._history_path.read_text(encoding="utf-8"))
        if table["plan"] != self.plan:
            raise ValueError("it is of a run with other settings, seed, data or layers")
        names = [item.name for item in fields(Epoch)]
        history = [Epoch(*(float(row[name]) for name in names)) for row in table["epochs"]]
        if not history or not all(math.isfinite(epoch.select_loss) for epoch in history):
            raise ValueError("history.json has no figures")
        return history


def plan_digest(model: Any, settings: Any, seed: int, labels: tuple[Any, ...]) -> str:
    """Names a run: a checkpoint is resumed only by a run with the same digest.

    The samples themselves are not read: the caller keeps one folder for one data set.
    """
    layers = [
        (type(layer).__name__, [list(weight.shape) for weight in layer.weights])
        for layer in model.layers
    ]
    text = json.dumps([layers, asdict(settings), seed])
    import hashlib

    digest = hashlib.sha256(text.encode())
    for values in labels:
        digest.update(values.tobytes())
    return digest.hexdigest()


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
