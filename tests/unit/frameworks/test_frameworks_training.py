"""Training: same seed, same weights; interrupted and resumed, same weights; what it refuses."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import training
from edgekit.frameworks.training import Epoch, TrainingData, TrainingResult, TrainingSettings, train

SETTINGS = TrainingSettings(epochs=6, batch_size=16, learning_rate=3e-2, patience=6)


def make_data(count: int = 70, *, seed: int = 0) -> TrainingData:
    """Two classes that a small net learns at once: bright left half or bright right half."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    x = rng.normal(0, 0.3, (count, 4, 4, 1)).astype(np.float32)
    x[y == 0, :, :2] += 1
    x[y == 1, :, 2:] += 1
    return TrainingData(x[20:], y[20:], x[:20], y[:20])


def make_model() -> Any:
    """Has dropout and BatchNorm, whose states must survive an interruption too."""
    from edgekit.frameworks.keras import import_keras

    keras = import_keras("a test")
    return keras.Sequential(
        [
            keras.Input((4, 4, 1), name="image"),
            keras.layers.Conv2D(4, 3, use_bias=False, name="conv1"),
            keras.layers.BatchNormalization(name="norm1"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dropout(0.5, name="dropout"),
            keras.layers.Dense(2, activation="softmax", name="dense1"),
        ],
        name="tiny",
    )


class Bars:
    """Records the texts of the progress bars; raises once `stop_at` steps of an epoch are done."""

    def __init__(self, *, stop_in_epoch: int = 0) -> None:
        self.texts: list[str] = []
        self.steps: list[int] = []
        self.stop_in_epoch = stop_in_epoch

    @contextmanager
    def __call__(self, text: str, total: int) -> Iterator[Bars]:
        self.texts.append(text)
        self.steps.append(0)
        yield self
        assert self.steps[-1] == total

    def advance(self, count: int = 1) -> None:
        self.steps[-1] += count
        if len(self.texts) == self.stop_in_epoch and self.steps[-1] == 2:
            raise KeyboardInterrupt


def weights(path: Path) -> bytes:
    from edgekit.frameworks.keras import import_keras

    model = import_keras("a test").saving.load_model(path, compile=False)
    return b"".join(array.tobytes() for array in model.get_weights())


def content_digest(path: Path) -> str:
    """Over the members of the zip, but for the one that holds the date."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(path) as archive:
        for name in sorted(set(archive.namelist()) - {"metadata.json"}):
            digest.update(name.encode() + archive.read(name))
    return digest.hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingResult, Bars]:
    """One run without an interruption; no test changes its folder."""
    bars = Bars()
    folder = tmp_path_factory.mktemp("whole")
    return train(make_model, make_data(), SETTINGS, folder=folder, seed=7, progress=bars), bars


@pytest.mark.tensorflow
def test_training_learns_and_says_what_it_did(whole: tuple[TrainingResult, Bars]) -> None:
    result, bars = whole
    assert result.select_accuracy >= 0.9
    assert result.epochs == len(result.history) == len(bars.texts) == 6
    losses = [epoch.select_loss for epoch in result.history]
    assert losses[result.best_epoch - 1] == min(losses)
    assert result.history[result.best_epoch - 1].select_accuracy == result.select_accuracy
    assert (result.resumed_after, result.notes) == (0, ())
    assert bars.steps == [50 // 16] * 6
    assert bars.texts[0] == "epoch 1/6"
    assert bars.texts[1].startswith("epoch 2/6  loss ")
    assert bars.texts[1].endswith(" left")


@pytest.mark.tensorflow
def test_only_the_best_and_the_last_checkpoint_stay_and_the_model_has_no_optimizer(
    whole: tuple[TrainingResult, Bars],
) -> None:
    from edgekit.frameworks.keras import import_keras

    result, _ = whole
    folder = result.path.parent
    kept = {f"epoch-{number:04d}.keras" for number in (result.best_epoch, result.epochs)}
    assert {path.name for path in folder.iterdir()} == kept | {"history.json", "model.keras"}
    model = import_keras("a test").saving.load_model(result.path)
    assert getattr(model, "optimizer", None) is None
    assert weights(result.path) == weights(folder / f"epoch-{result.best_epoch:04d}.keras")


@pytest.mark.tensorflow
def test_interrupted_and_resumed_is_the_same_as_uninterrupted(
    whole: tuple[TrainingResult, Bars], tmp_path: Path
) -> None:
    expected, _ = whole
    stop = Bars(stop_in_epoch=3)
    with pytest.raises(KeyboardInterrupt):
        train(make_model, make_data(), SETTINGS, folder=tmp_path, seed=7, progress=stop)
    bars = Bars()
    resumed = train(make_model, make_data(), SETTINGS, folder=tmp_path, seed=7, progress=bars)
    assert resumed.resumed_after == 2
    assert len(bars.texts) == 4
    last = f"epoch-{resumed.epochs:04d}.keras"
    assert weights(tmp_path / last) == weights(expected.path.parent / last)
    assert content_digest(resumed.path) == content_digest(expected.path)
    assert [replace(epoch, seconds=0) for epoch in resumed.history] == [
        replace(epoch, seconds=0) for epoch in expected.history
    ]


@pytest.mark.tensorflow
def test_the_same_seed_gives_the_same_file_and_another_seed_another(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=1)
    first, second, other = (
        train(
            make_model, make_data(), settings, folder=tmp_path / name, seed=seed, progress=Bars()
        ).path
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert content_digest(first) == content_digest(second)
    assert weights(first) != weights(other)


@pytest.mark.tensorflow
def test_a_finished_run_is_not_trained_again_but_another_run_is(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=1)
    first = train(make_model, make_data(), settings, folder=tmp_path, seed=0, progress=Bars())
    bars = Bars()
    again = train(make_model, make_data(), settings, folder=tmp_path, seed=0, progress=bars)
    assert bars.texts == []
    assert again == replace(first, resumed_after=1)
    other = train(make_model, make_data(), settings, folder=tmp_path, seed=1, progress=bars)
    assert other.resumed_after == 0
    assert [note.reason for note in other.notes] == [
        "it is of a run with other settings, seed, data or layers"
    ]


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["history.json", "epoch-0001.keras"])
def test_a_damaged_checkpoint_is_not_used_and_that_is_noted(tmp_path: Path, name: str) -> None:
    settings = replace(SETTINGS, epochs=1)
    first = train(make_model, make_data(), settings, folder=tmp_path, seed=0, progress=Bars())
    expected = weights(first.path)
    damaged = tmp_path / name
    damaged.write_bytes(damaged.read_bytes()[:100])
    result = train(make_model, make_data(), settings, folder=tmp_path, seed=0, progress=Bars())
    assert [(note.what, note.item) for note in result.notes] == [
        ("restarted", "training checkpoint")
    ]
    assert weights(result.path) == expected


@pytest.mark.tensorflow
def test_a_loss_that_is_not_finite_names_its_step_and_keeps_the_checkpoint(
    tmp_path: Path,
) -> None:
    data = make_data()
    x = data.x_train

    class TurnsBad:
        """Every read after the first epoch's three batches is NaN."""

        shape, dtype = x.shape, x.dtype
        reads = 0

        def __len__(self) -> int:
            return len(x)

        def __getitem__(self, index: Any) -> Any:
            self.reads += 1
            return x[index] * (np.nan if self.reads == 5 else 1)

    with pytest.raises(PromiseError) as caught:
        train(
            make_model,
            replace(data, x_train=TurnsBad()),
            SETTINGS,
            folder=tmp_path,
            seed=0,
            progress=Bars(),
        )
    assert caught.value.message == "training: the loss is nan at epoch 2, step 2"
    assert caught.value.hint == "check the input scaling, or train with a lower learning rate"
    assert len(json.loads((tmp_path / "history.json").read_text())["epochs"]) == 1
    assert weights(tmp_path / "epoch-0001.keras")


@pytest.mark.tensorflow
def test_fewer_samples_than_a_batch(tmp_path: Path) -> None:
    data = make_data()
    few = TrainingData(data.x_train[:5], data.y_train[:5], data.x_select[:1], data.y_select[:1])
    settings = replace(SETTINGS, epochs=1)
    bars = Bars()
    result = train(make_model, few, settings, folder=tmp_path, seed=0, progress=bars)
    assert result.select_accuracy in (0.0, 1.0)
    assert bars.steps == [1]


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2] * 10, "data: labels go from 0 to 2, but the model has 2 classes"),
        ([0, 1, -1] * 10, "data: labels go from -1 to 1, but the model has 2 classes"),
        ([0.0, 1.0] * 15, "data: labels are float64, but a classifier learns whole numbers"),
        ([0, 1], "data: 30 samples with 2 labels to train or select on"),
        ([], "data: 30 samples with 0 labels to train or select on"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path, labels: list[float], message: str
) -> None:
    data = replace(make_data(50), y_train=np.array(labels))
    with pytest.raises(UsageError) as caught:
        train(make_model, data, SETTINGS, folder=tmp_path, seed=0, progress=Bars())
    assert caught.value.message == message
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["epochs", "batch_size", "learning_rate", "patience"])
def test_settings_have_a_range(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be above 0, not 0$"):
        replace(SETTINGS, **{name: 0})


class History:
    """Stands for checkpoints with these losses on `select`."""

    def __init__(self, losses: list[float]) -> None:
        self.history = [Epoch(1, 0, loss, 0.5, 2.0) for loss in losses]
        self.best_epoch = losses.index(min(losses)) + 1 if losses else 0


@pytest.mark.parametrize(
    ("losses", "done"),
    [([], False), ([3, 2], False), ([1, 2], False), ([1, 2, 3], True), ([4, 3, 2, 1], True)],
)
def test_it_stops_after_all_epochs_or_when_patience_is_spent(
    losses: list[float], done: bool
) -> None:
    settings = replace(SETTINGS, epochs=4, patience=2)
    assert training._is_done(History(losses), settings) is done


def test_the_status_says_the_time_left() -> None:
    settings = replace(SETTINGS, epochs=40)
    text = training._status(History([1.5, 1.25]).history, settings)
    assert text == "epoch 3/40  loss 1.000  select 50.0 %  at most 76 s left"
