"""Checkpoints of a training: the values of all variables after an epoch, and the history."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.notes import Note
from edgekit.core.training import Epoch

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["Checkpoints", "plan_digest", "save_weights"]

_MAX_HISTORY_BYTES = 10_000_000


class Checkpoints:
    """The folder of one training. `history.json` is renamed into place last, so it is the truth.

    `first_epoch` is the earliest whose weights may be kept in the end. The last two epochs stay:
    of several workers one may have been killed before it wrote what the others did.
    """

    def __init__(self, folder: Path, plan: str, *, first_epoch: int = 1) -> None:
        self.folder = folder
        self.plan = plan
        self.first_epoch = first_epoch
        self.history: list[Epoch] = []
        self.notes: list[Note] = []

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest loss on `select` among those that count, from 1; 0 for none."""
        losses = [epoch.select_loss for epoch in self.history[self.first_epoch - 1 :]]
        return losses.index(min(losses)) + self.first_epoch if losses else 0

    def load(self) -> list[Array] | None:
        """The values after the last epoch, or None to start from the beginning.

        A checkpoint of another training (other options, seed or weights to start from) or a damaged
        one is not used, and that is noted.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._history_path.exists():
            return None
        try:
            self.history = self._read_history()
            return self._last()
        except Exception as error:  # numpy and json raise nearly anything on a damaged file
            self.history = []
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.notes.append(Note("restarted", "training checkpoint", reason))
            return None

    def rewind(self, number: int) -> list[Array] | None:
        """Forgets the epochs after `number`; all of them where that one is not there any more."""
        self.history = self.history[:number]
        try:
            return self._last() if number else None
        except (OSError, ValueError):
            self.history = []
            return None

    def forget(self) -> None:
        """Begins anew the next time: for a training that cannot end well."""
        self.history = []
        self._history_path.unlink(missing_ok=True)

    def _last(self) -> list[Array]:
        if self.best_epoch:
            self.values(self.best_epoch)
        return self.values(len(self.history))

    def add(self, values: Sequence[Array], epoch: Epoch) -> None:
        """Saves the values of an epoch; those before the last two go, but for the best."""
        import numpy as np

        number = len(self.history) + 1
        partial = self.folder / f".partial-{number}.npz"
        with partial.open("wb") as file:
            np.savez(file, *values)
        os.replace(partial, self._path(number))
        self.history.append(epoch)
        table = {"plan": self.plan, "epochs": [asdict(item) for item in self.history]}
        _write(self._history_path, json.dumps(table, indent=1))
        kept = {self._path(index) for index in (number - 1, number, self.best_epoch)}
        for path in self.folder.glob("epoch-*.npz"):
            if path not in kept:
                path.unlink()

    def values(self, number: int) -> list[Array]:
        """The values that were saved after an epoch."""
        import numpy as np

        # Opened here, because numpy leaves a file open that is no zip archive.
        with self._path(number).open("rb") as file, np.load(file, allow_pickle=False) as held:
            return [held[f"arr_{index}"] for index in range(len(held.files))]

    @property
    def _history_path(self) -> Path:
        return self.folder / "history.json"

    def _path(self, number: int) -> Path:
        return self.folder / f"epoch-{number:04d}.npz"

    def _read_history(self) -> list[Epoch]:
        if self._history_path.stat().st_size > _MAX_HISTORY_BYTES:
            raise ValueError("history.json is too large")
        table = json.loads(self._history_path.read_text(encoding="utf-8"))
        if table["plan"] != self.plan:
            raise ValueError("it is of a training with other options, seed, data or weights")
        history = [Epoch(**row) for row in table["epochs"]]
        if not history or not all(math.isfinite(epoch.select_loss) for epoch in history):
            raise ValueError("history.json has no figures")
        return history


def plan_digest(settings: object, values: Iterable[Array]) -> str:
    """Names a training: a checkpoint is resumed only by one with the same digest.

    The samples are not read: the caller keeps one folder for one data set.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=repr).encode())
    for array in values:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_weights(model: Any, folder: Path) -> Path:
    """Writes the weights as a user can take them up: a `.keras`, or arrays by name for tf_keras.

    What the engines wrap around the layers of tf_keras cannot be opened without them.
    """
    import numpy as np

    from edgekit.frameworks.keras import import_keras, save_keras

    if isinstance(model, import_keras().Model):
        save_keras(model, folder / "last-good.keras")
        return folder / "last-good.keras"
    arrays = {f"{place:04d} {item.name}": item.numpy() for place, item in enumerate(model.weights)}
    with (folder / "last-good.npz").open("wb") as file:
        np.savez(file, **{name.replace("/", "."): array for name, array in arrays.items()})
    return folder / "last-good.npz"


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
