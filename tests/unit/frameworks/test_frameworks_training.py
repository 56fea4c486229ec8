"""Training: same seed, same weights; interrupted and resumed, same weights; what it refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_cases import LIBRARIES, OPTIONS, Bars, builder, digest, halves, library, trained

from edgekit.core.data import TrainingData
from edgekit.core.training import Epoch
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import training
from edgekit.frameworks._hooks import Hooks
from edgekit.frameworks._loop import _schedule
from edgekit.frameworks.keras import load_model
from edgekit.frameworks.training import TrainingResult, epochs_in, evaluate, steps_in

pytestmark = pytest.mark.tensorflow

STEPS = 50 // 16
"""Of one epoch of `halves` with `OPTIONS`."""


def without_times(result: TrainingResult) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in result.curve.epochs]


@pytest.fixture(scope="module", params=LIBRARIES)
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, TrainingResult, Bars, Path]:
    """One run without an interruption; no test changes its folder."""
    bars = Bars()
    folder = tmp_path_factory.mktemp("whole")
    return request.param, trained(folder, builder(request.param), bars=bars), bars, folder


class TestOneTraining:
    def test_learns_and_says_what_it_did(self, whole: Any) -> None:
        _, result, bars, _ = whole
        curve = result.curve
        assert (curve.title, curve.metric, len(curve.epochs)) == ("train", "accuracy", 4)
        losses = [epoch.select_loss for epoch in curve.epochs]
        assert losses[curve.best_epoch - 1] == min(losses)
        assert curve.epochs[curve.best_epoch - 1].select_metric >= 0.9
        assert curve.epochs[0].loss > curve.epochs[-1].loss
        assert (result.resumed_after, result.notes) == (0, ())
        assert (bars.totals, bars.done) == ([4 * STEPS], [4 * STEPS])

    def test_the_status_has_epoch_figures_and_time_left(self, whole: Any) -> None:
        _, _, bars, _ = whole
        assert bars.texts[0] == "train: epoch 1/4"
        assert re.fullmatch(
            r"train: epoch 2/4  loss \S+  select \S+ [\d.]+ %  at most .+ left", bars.texts[1]
        )
        assert len(bars.texts) == 5

    def test_the_model_is_the_best_epochs_and_has_no_optimizer(self, whole: Any) -> None:
        _, result, _, folder = whole
        with np.load(folder / f"epoch-{result.curve.best_epoch:04d}.npz") as held:
            saved = [held[f"arr_{index}"] for index in range(len(result.model.get_weights()))]
        variables = [np.asarray(item) for item in result.model.variables][: len(saved)]
        for mine, other in zip(variables, saved, strict=True):
            np.testing.assert_array_equal(mine, other)
        assert getattr(result.model, "optimizer", None) is None

    def test_the_best_and_the_last_two_checkpoints_stay(self, whole: Any) -> None:
        _, result, _, folder = whole
        kept = {f"epoch-{number:04d}.npz" for number in (3, 4, result.curve.best_epoch)}
        assert {path.name for path in folder.iterdir()} == kept | {"history.json"}

    def test_evaluate_measures_the_same_as_the_training(self, whole: Any) -> None:
        _, result, _, _ = whole
        best = result.curve.epochs[result.curve.best_epoch - 1]
        loss, accuracy = evaluate(result.model, halves(), OPTIONS)
        assert loss == pytest.approx(best.select_loss, rel=1e-5)
        assert accuracy == best.select_metric

    def test_the_same_seed_gives_the_same_weights(self, whole: Any, tmp_path: Path) -> None:
        name, result, _, _ = whole
        again = trained(tmp_path, builder(name))
        assert digest(again.model) == digest(result.model)
        assert without_times(again) == without_times(result)

    def test_interrupted_and_resumed_is_the_same(self, whole: Any, tmp_path: Path) -> None:
        name, expected, _, _ = whole
        step = 2 * STEPS + 1
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path, builder(name), bars=Bars(stop_at=step))
        bars = Bars()
        resumed = trained(tmp_path, builder(name), bars=bars)
        assert resumed.resumed_after == 2
        assert bars.done == [4 * STEPS]
        assert digest(resumed.model) == digest(expected.model)
        assert without_times(resumed) == without_times(expected)
        notes = [(note.what, note.item, note.is_evidence) for note in resumed.notes]
        assert notes == [("resumed", "train: after epoch 2", True)]


def test_a_finished_run_is_not_trained_again_but_another_run_is(tmp_path: Path) -> None:
    first, bars = trained(tmp_path, epochs=1), Bars()
    again = trained(tmp_path, epochs=1, bars=bars)
    assert bars.texts == []
    assert (again.resumed_after, again.curve) == (1, first.curve)
    assert digest(again.model) == digest(first.model)
    other = trained(tmp_path, epochs=1, seed=1)
    assert other.resumed_after == 0
    assert [(note.what, note.item, note.reason) for note in other.notes] == [
        (
            "restarted",
            "training checkpoint",
            "it is of a training with other options, seed, data or weights",
        )
    ]
    assert digest(other.model) != digest(first.model)


def test_a_checkpoint_with_other_variables_is_noted(tmp_path: Path) -> None:
    """As where the user's optimizer hook has changed."""
    first = trained(tmp_path, epochs=1)
    with np.load(tmp_path / "epoch-0001.npz") as held:
        values = [held[name] for name in held.files]
    np.savez(tmp_path / "epoch-0001.npz", *values[:-1])
    again = trained(tmp_path, epochs=1)
    assert [note.reason for note in again.notes] == [
        f"{len(values) - 1} values for {len(values)} variables"
    ]
    assert digest(again.model) == digest(first.model)


KEPT = ("last-good.keras", "last-good.npz")
"""What is left after NaN, for a model of each of `LIBRARIES`."""


def weights_in(path: Path) -> list[Any]:
    """The weights in a file that a failed training left."""
    if path.suffix == ".keras":
        return list(load_model(path).model.get_weights())
    with np.load(path, allow_pickle=False) as held:
        assert any("conv1" in name for name in held.files)
        return [held[name] for name in held.files]


class TurnsBad:
    """Every read from the given one on is NaN."""

    def __init__(self, rows: Any, read: int) -> None:
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype
        self.left = read

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any, /) -> Any:
        self.left -= 1
        return self.rows[index] * (np.nan if self.left <= 0 else 1)


class TestNoNumber:
    @pytest.mark.parametrize(("name", "file"), list(zip(LIBRARIES, KEPT, strict=True)))
    def test_names_the_step_and_keeps_the_last_good_weights(
        self, tmp_path: Path, name: Any, file: str
    ) -> None:
        data = halves()
        bad = replace(data, x_train=(TurnsBad(data.x_train[0], STEPS + 2),))
        with pytest.raises(PromiseError) as caught:
            trained(tmp_path, builder(name), bad, more={"title": "fine-tune"})
        assert caught.value.message == (
            "fine-tune: the loss is nan at epoch 2, step 2; the weights after epoch 1 are kept in "
            f"{tmp_path / file}"
        )
        assert caught.value.hint == "check the input scaling, or train with a lower learning rate"
        assert len(json.loads((tmp_path / "history.json").read_text())["epochs"]) == 1
        with np.load(tmp_path / "epoch-0001.npz") as held:
            kept = [held[f"arr_{number}"] for number in range(len(held.files))]
        weights = weights_in(tmp_path / file)
        assert all(np.isfinite(array).all() for array in weights)
        assert all(any(np.array_equal(array, other) for other in kept) for array in weights)

    def test_in_the_first_epoch_there_is_nothing_to_keep(self, tmp_path: Path) -> None:
        data = halves()
        with pytest.raises(PromiseError) as caught:
            trained(tmp_path, data=replace(data, x_train=(TurnsBad(data.x_train[0], 1),)))
        assert caught.value.message == (
            "train: the loss is nan at epoch 1, step 1; no epoch was finished, so there are no "
            "weights to keep"
        )

    def test_on_the_select_split(self, tmp_path: Path) -> None:
        data = halves()
        # It is read before the first epoch, and after each.
        bad = replace(data, x_select=(TurnsBad(data.x_select[0], 3),))
        with pytest.raises(PromiseError) as caught:
            trained(tmp_path, data=bad)
        assert "at epoch 2, on the select split; the weights after epoch 1" in caught.value.message

    def test_a_learning_rate_without_measure(self, tmp_path: Path) -> None:
        """The loss of a net that runs away is inf or nan, whichever comes first."""
        with pytest.raises(PromiseError, match=r"the loss is (inf|nan) at epoch \d"):
            trained(
                tmp_path,
                builder(head="values", dropout=0),
                halves(labels="values"),
                learning_rate=1e30,
                optimizer="sgd",
            )


class TestData:
    def test_fewer_samples_than_a_batch(self, tmp_path: Path) -> None:
        data = halves()
        few = TrainingData(
            (data.x_train[0][:5],), data.y_train[:5], (data.x_select[0][:1],), data.y_select[:1], 2
        )
        bars = Bars()
        result = trained(tmp_path, data=few, epochs=1, bars=bars)
        assert result.curve.epochs[0].select_metric in (0.0, 1.0)
        assert bars.done == [1]

    def test_every_sample_is_seen_in_the_long_run(self, tmp_path: Path) -> None:
        """50 samples make three batches of 16: which two are left out changes by epoch."""
        seen: list[int] = []
        data = halves()

        class Looks(TurnsBad):
            def __getitem__(self, index: Any, /) -> Any:
                seen.extend(index)
                return self.rows[index]

        trained(tmp_path, data=replace(data, x_train=(Looks(data.x_train[0], 0),)))
        epochs = [seen[start : start + 48] for start in range(0, 4 * 48, 48)]
        assert all(len(set(epoch)) == 48 for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 4
        assert set(seen) == set(range(50))

    @pytest.mark.parametrize(
        ("train", "select", "message"),
        [
            (30, 2, "data: 20 samples with 2 labels in the select split"),
            (2, 20, "data: 50 samples with 2 labels in the train split"),
            (0, 20, "data: 50 samples with 0 labels in the train split"),
        ],
    )
    def test_missing_labels_are_refused(
        self, tmp_path: Path, train: int, select: int, message: str
    ) -> None:
        data = halves()
        train = train if train < 30 else 50
        data = replace(data, y_train=data.y_train[:train], y_select=data.y_select[:select])
        with pytest.raises(UsageError) as caught:
            trained(tmp_path / "new", data=data)
        assert caught.value.message == message
        assert caught.value.hint
        assert not (tmp_path / "new").exists()

    def test_no_samples_are_refused(self, tmp_path: Path) -> None:
        data = halves(labels="none")
        with pytest.raises(UsageError, match="data: 0 samples with no labels in the train split"):
            trained(tmp_path, data=replace(data, x_train=(data.x_train[0][:0],)))

    def test_labels_that_do_not_fit_are_refused_before_a_checkpoint_is_looked_for(
        self, tmp_path: Path
    ) -> None:
        with pytest.raises(UsageError, match="labels go up to 4, but the model has 2 classes"):
            trained(tmp_path / "new", data=replace(halves(), classes=5))
        assert not (tmp_path / "new").exists()

    def test_the_number_of_steps(self) -> None:
        assert steps_in(halves(), OPTIONS) == 4 * STEPS
        assert steps_in(halves(), replace(OPTIONS, batch_size=51)) == 4
        assert steps_in(halves(), replace(OPTIONS, batch_size=50, epochs=7)) == 7

    @pytest.mark.parametrize(("least", "epochs"), [(0, 4), (12, 4), (13, 5), (100, 34)])
    def test_small_data_is_passed_over_more_often(self, least: int, epochs: int) -> None:
        options = replace(OPTIONS, min_steps=least)
        assert epochs_in(halves(), options) == epochs
        assert steps_in(halves(), options) == epochs * STEPS >= least

    def test_the_least_number_of_steps_is_trained(self, tmp_path: Path) -> None:
        bars = Bars()
        result = trained(tmp_path, builder(dropout=0), epochs=1, min_steps=4, bars=bars)
        assert (len(result.curve.epochs), bars.totals, bars.done) == (2, [6], [6])
        as_asked = trained(tmp_path / "b", builder(dropout=0), epochs=2)
        assert digest(as_asked.model) == digest(result.model)

    def test_evaluate_takes_the_first_samples_only(self) -> None:
        model, data = builder()(), halves()
        first = replace(data, x_select=(data.x_select[0][:5],), y_select=data.y_select[:5])
        assert evaluate(model, data, OPTIONS, limit=5) == evaluate(model, first, OPTIONS)

    def test_more_select_samples_than_fit_a_batch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = builder()()
        at_once = evaluate(model, halves(), OPTIONS)
        monkeypatch.setattr(training, "_SELECT_BATCH", 7)
        in_parts = evaluate(model, halves(), OPTIONS)
        assert in_parts == pytest.approx(at_once, rel=1e-5)


class TestWhenItStops:
    @pytest.mark.parametrize(
        ("losses", "first", "done"),
        [
            ([], 1, False),
            ([3, 2], 1, False),
            ([1, 2], 1, False),
            ([1, 2, 3], 1, True),
            ([4, 3, 2, 1], 1, True),
            ([1, 2, 3], 3, False),  # the third is the first that counts, so the best so far
            ([1, 2, 3], 4, False),
        ],
    )
    def test_after_all_epochs_or_when_patience_is_spent(
        self, tmp_path: Path, losses: list[float], first: int, done: bool
    ) -> None:
        checkpoints = training.Checkpoints(tmp_path, "plan", first_epoch=first)
        checkpoints.history = [Epoch(1.0, 0.0, loss, 0.5, 2.0) for loss in losses]
        run = training._Run(
            None,  # type: ignore[arg-type]
            halves(),
            (np.zeros(50), np.zeros(20)),
            replace(OPTIONS, patience=2),
            0,
            "train",
            checkpoints,
        )
        assert run.is_done is done

    def test_patience_ends_a_training_and_the_best_epoch_is_kept(self, tmp_path: Path) -> None:
        """The select labels are turned round: learning makes it only worse there."""
        data = halves()
        wrong = replace(data, y_select=1 - data.y_select)
        result = trained(tmp_path, builder(dropout=0), wrong, patience=2, epochs=30)
        epochs, best = result.curve.epochs, result.curve.best_epoch
        assert len(epochs) == best + 2 < 30
        assert evaluate(result.model, wrong, OPTIONS)[0] == pytest.approx(
            epochs[best - 1].select_loss, rel=1e-5
        )

    def test_only_epochs_that_count_are_kept(self, tmp_path: Path) -> None:
        data = halves()
        wrong = replace(data, y_select=1 - data.y_select)
        result = trained(tmp_path, builder(dropout=0), wrong, more={"first_epoch": 3})
        losses = [epoch.select_loss for epoch in result.curve.epochs]
        assert result.curve.best_epoch >= 3
        assert min(losses) < min(losses[2:])


class Stops:
    """A user's callback that ends the training after an epoch (counted from 0), or before any."""

    def __init__(self, after: int | None) -> None:
        self.after = after

    def set_model(self, model: Any) -> None:
        self.model = model

    def on_train_begin(self) -> None:
        self.model.stop_training = self.after is None

    def on_epoch_end(self, epoch: int) -> None:
        self.model.stop_training = epoch == self.after


class TestStopped:
    """By a user's callback, before or after the first epoch whose weights may be kept."""

    @pytest.mark.parametrize(
        ("after", "first", "said"),
        [
            (1, 3, "before epoch 3, where all zeros are there"),
            (None, 1, "before the end of epoch 1"),
        ],
    )
    def test_too_early(self, tmp_path: Path, after: int | None, first: int, said: str) -> None:
        own = {"hooks": Hooks(callbacks=[Stops(after)]), "first_epoch": first}
        for _ in range(2):  # no checkpoint lets the same command go on behind the epoch
            with pytest.raises(UsageError) as caught:
                trained(tmp_path, builder(dropout=0), more=own)
            assert caught.value.message == f"hooks: a callback stopped the training {said}"
            assert caught.value.hint

    def test_late_enough(self, tmp_path: Path) -> None:
        own = {"hooks": Hooks(callbacks=[Stops(1)]), "first_epoch": 2}
        result = trained(tmp_path, builder(dropout=0), more=own)
        assert (len(result.curve.epochs), result.curve.best_epoch) == (2, 2)


class Listens:
    """A callback that notes what it is told, and looks at the optimizer as tfmot's does."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.steps: list[int] = []

    def set_model(self, model: Any) -> None:
        self.model = model
        self.told.append("set_model")

    def on_train_begin(self) -> None:
        self.told.append("train_begin")

    def on_epoch_begin(self, epoch: int) -> None:
        self.told.append(f"epoch_begin {epoch}")

    def on_train_batch_begin(self, step: int) -> None:
        self.told.append(f"begin {step}")

    def on_train_batch_end(self, step: int) -> None:
        self.told.append(f"end {step}")
        self.steps.append(int(self.model.optimizer.iterations))

    def on_epoch_end(self, epoch: int) -> None:
        self.told.append(f"epoch_end {epoch}")

    def on_train_end(self) -> None:
        self.told.append("train_end")


@pytest.mark.parametrize("name", LIBRARIES)
def test_callbacks_are_told_what_happens(tmp_path: Path, name: Any) -> None:
    listens = Listens()
    result = trained(tmp_path, builder(name), epochs=2, more={"callbacks": [listens, object()]})
    batches = [word for step in range(STEPS) for word in (f"begin {step}", f"end {step}")]
    assert listens.told == [
        *("set_model", "train_begin"),
        *("epoch_begin 0", *batches, "epoch_end 0"),
        *("epoch_begin 1", *batches, "epoch_end 1"),
        "train_end",
    ]
    assert listens.steps == list(range(1, 2 * STEPS + 1))
    assert result.model.optimizer is None


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_every_optimizer_trains(tmp_path: Path, name: Any, optimizer: str) -> None:
    result = trained(tmp_path, builder(name, dropout=0), optimizer=optimizer, schedule="linear")
    assert result.curve.epochs[-1].loss < 0.5 * result.curve.epochs[0].loss


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_schedule_falls_over_all_steps(name: Any, schedule: Any) -> None:
    made = _schedule(library(name), replace(OPTIONS, schedule=schedule), 10)
    done = np.linspace(0, 1, 11)
    rates = [float(made(step)) if callable(made) else made for step in range(11)]
    shapes = {
        "constant": 0 * done + 1,
        "linear": 1 - done,
        "cosine": (1 + np.cos(np.pi * done)) / 2,
    }
    np.testing.assert_allclose(rates, 3e-2 * shapes[schedule], atol=1e-8)


def test_two_inputs_go_by_their_order(tmp_path: Path) -> None:
    """The second input alone tells the class."""
    keras, data = library("keras"), halves()

    def build() -> Any:
        noise, image = keras.Input((3,), name="z"), keras.Input((4, 4, 1), name="a")
        flat = keras.layers.Concatenate()([keras.layers.Flatten()(image), noise])
        return keras.Model([noise, image], keras.layers.Dense(2, activation="softmax")(flat))

    zeros = np.zeros((70, 3), np.float32)
    both = replace(data, x_train=(zeros[:50], *data.x_train), x_select=(zeros[:20], *data.x_select))
    result = trained(tmp_path, build, both)
    assert result.curve.epochs[-1].select_metric == 1.0


def test_penalties_of_the_layers_count(tmp_path: Path) -> None:
    keras = library("keras")

    def build() -> Any:
        given = keras.Input((4, 4, 1))
        penalty = keras.regularizers.L2(100.0)
        layer = keras.layers.Dense(2, activation="softmax", kernel_regularizer=penalty)
        return keras.Model(given, layer(keras.layers.Flatten()(given)))

    epochs = trained(tmp_path, build).curve.epochs
    assert epochs[0].loss > 10 * epochs[0].select_loss  # what is measured has no penalty in it
