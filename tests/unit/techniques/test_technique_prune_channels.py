"""Channel pruning on Keras: smaller as asked, the same twice, and every check that can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_work import FakeWork, artifact

from edgekit.core.artifact import Artifact
from edgekit.core.training import Curve, Epoch
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import training
from edgekit.techniques.prune_channels import Parameters, _proof, keras

pytestmark = pytest.mark.tensorflow

OPTIONS = Parameters(ratio=0.5, epochs=3, rounds=2, batch_size=16, round_to=2)
FASTER, SLOWER = (0.5, (0.4, 0.6)), (1.0, (0.9, 1.1))


def make_data(count: int = 60) -> tuple[Any, Any]:
    """Two classes: bright left half or bright right half."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, count)
    x = rng.normal(0, 0.3, (count, 4, 4, 1)).astype(np.float32)
    x[y == 0, :, :2] += 1
    x[y == 1, :, 2:] += 1
    return x, y


def make_model(*, first: int = 8, classes: int = 2, dense: str = "dense") -> Any:
    from edgekit.frameworks.keras import import_keras

    library = import_keras("a test")
    library.utils.set_random_seed(3)
    layers = library.layers
    inputs = x = library.Input((4, 4, 1), name="image")
    x = layers.Conv2D(first, 3, padding="same", use_bias=False, name="conv1")(x)
    x = y = layers.ReLU(name="relu1")(layers.BatchNormalization(name="norm1")(x))
    x = layers.Conv2D(first, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.Flatten(name="flatten")(layers.Add(name="add")([x, y]))
    x = layers.Dense(6, activation="relu", name=dense)(x)
    return library.Model(inputs, layers.Dense(classes, activation="softmax", name="scores")(x))


def save(model: Any, path: Path) -> Artifact:
    from edgekit.frameworks.keras import save_keras

    save_keras(model, path)
    return artifact(path, "keras")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prune_channels")


@pytest.fixture(scope="module")
def source(folder: Path) -> Artifact:
    return save(make_model(), folder / "source.keras")


def work_on(source: Artifact, folder: Path) -> FakeWork:
    folder.mkdir(exist_ok=True)
    x, y = make_data()
    return FakeWork(folder, source, x=x, y=y, suffix=".keras")


def pruned(options: Parameters, source: Artifact, folder: Path) -> FakeWork:
    work = work_on(source, folder)
    keras.check(options, source, work)
    keras.apply(options, source, work)
    return work


@pytest.fixture(scope="module")
def done(source: Artifact, folder: Path) -> FakeWork:
    return pruned(OPTIONS, source, folder / "done")


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the training out, which other tests have, and which takes seconds."""

    def train_in(work: Any, build: Any, options: Any, *, title: str) -> Any:
        return SimpleNamespace(model=build())

    monkeypatch.setattr(training, "train_in", train_in)


def verify(
    work: FakeWork, result: Artifact, monkeypatch: pytest.MonkeyPatch, options: Any = OPTIONS
) -> None:
    work.notes.clear()
    monkeypatch.setattr(_proof, "latency_ratio", lambda *_, seed: FASTER)
    keras.verify(options, work.source, result, work)


def test_half_of_the_macs_go(done: FakeWork, monkeypatch: pytest.MonkeyPatch) -> None:
    verify(done, artifact(done.output, "keras"), monkeypatch)
    (small,) = done.noted("proven smaller")
    assert small.is_evidence
    assert small.reason.startswith("macs 11,148 to ")
    assert small.reason.endswith("(asked: 50.0 % of the macs)")
    assert [note.reason for note in done.noted("kept channels")] == ["conv1 4 of 8, dense 6 of 6"]
    (skipped,) = done.noted("skipped")
    assert (skipped.item, skipped.reason) == ("Dense 'scores'", "it is an output of the model")
    (faster,) = done.noted("measured lower")
    assert faster.is_evidence
    assert faster.reason.startswith("0.50 of the source's time (95 % interval 0.40 to 0.60)")


def test_epochs_are_split_over_the_rounds(done: FakeWork) -> None:
    assert [(curve.title, len(curve.epochs)) for curve in done.curves] == [
        ("prune-channels round 1/2", 1),
        ("prune-channels round 2/2", 2),
    ]


def test_the_same_seed_gives_the_same_weights(
    done: FakeWork, source: Artifact, tmp_path: Path
) -> None:
    again = pruned(OPTIONS, source, tmp_path / "again")
    first, second = (weights(work.output) for work in (done, again))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_interrupted_and_resumed_is_the_same(
    done: FakeWork, source: Artifact, tmp_path: Path, interrupted: Callable[..., None]
) -> None:
    """The second round is stopped: the channels and weights of the first one are found again."""
    work = work_on(source, tmp_path)
    interrupted(work, lambda: keras.apply(OPTIONS, source, work), epochs=2)
    keras.apply(OPTIONS, source, work)
    assert [note.item for note in work.noted("resumed")] == [
        "prune-channels round 1/2: after epoch 1",
        "prune-channels round 2/2: after epoch 1",
    ]
    first, second = (weights(each.output) for each in (done, work))
    assert [value.tobytes() for value in first] == [value.tobytes() for value in second]


def weights(path: Path) -> list[Any]:
    from edgekit.frameworks.bridge import load_trainable

    found: list[Any] = load_trainable(path).get_weights()
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"importance": "taylor", "taylor_batches": 2, "of": "parameters"},
        {"importance": "batchnorm-scale", "of": "channels", "layer_ratios": {"den*": 0.6}},
    ],
    ids=["taylor", "scale"],
)
def test_other_ways_to_choose(
    changes: Any,
    source: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    untrained: None,
) -> None:
    options = replace(OPTIONS, epochs=1, rounds=1, **changes)
    work = pruned(options, source, tmp_path)
    fallback = [(note.item, note.reason[:8]) for note in work.noted("fallback")]
    assert fallback == ([("Dense 'dense'", "L1 norms")] if options.layer_ratios else [])
    verify(work, artifact(work.output, "keras"), monkeypatch, options)
    (kept,) = work.noted("kept channels")
    assert not options.layer_ratios or kept.reason == "conv1 4 of 8, dense 2 of 6"


def test_zeros_of_an_earlier_step_are_named(folder: Path, tmp_path: Path, untrained: None) -> None:
    model = make_model()
    kernel = model.get_layer("conv2").get_weights()
    kernel[0][:, :, :4] = 0
    model.get_layer("conv2").set_weights(kernel)
    sparse = save(model, folder / "sparse.keras")
    work = pruned(replace(OPTIONS, epochs=1, rounds=1), sparse, tmp_path)
    (note,) = work.noted("not kept")
    assert note.item == "288 zeros of Conv2D 'conv2'"
    assert note.reason.startswith("training gives its zeros (50.0 % of its weights) values again")


def test_a_channel_that_carries_nothing_goes_first(folder: Path, tmp_path: Path) -> None:
    """By each importance, the channels that were silenced are those that are gone."""
    from edgekit.frameworks.bridge import load_trainable
    from edgekit.frameworks.channels import find_groups
    from edgekit.techniques.prune_channels._importance import importance

    model, silent = make_model(), [1, 4, 6]
    for name in ("conv1", "norm1", "conv2"):
        values = model.get_layer(name).get_weights()
        for value in values:
            value[..., silent] = 0
        model.get_layer(name).set_weights(values)
    dead = save(model, folder / "dead.keras")
    work, model = work_on(dead, tmp_path), load_trainable(dead.path)
    groups = find_groups(model)
    for kind in ("l1", "batchnorm-scale", "taylor"):
        options = replace(OPTIONS, importance=kind)  # type: ignore[arg-type]
        scores = importance(options, model, groups, work)
        assert np.flatnonzero(scores["conv1"] == 0).tolist() == silent, kind


REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"skip": ("cnv1",)}, "skip 'cnv1' matches no layer of the model", "'conv1'"),
    ({"skip": ("conv*", "den*")}, "prune-channels: the model has no channels that may go", "prune"),
    ({"skip": ("conv*",), "ratio": 0.9}, "ratio = 0.9 of the macs cannot be reached", "less"),
    ({"layer_ratios": {"dens": 0.5}}, "layer_ratios 'dens' matches no layer", "'dense'"),
    (
        {"layer_ratios": {"scores": 0.5}},
        "layer_ratios 'scores': the channels of 'scores' stay: it is an output of the model",
        "conv1, conv2, dense",
    ),
    (
        {"layer_ratios": {"conv1": 0.5, "conv2": 0.25}},
        "layer_ratios 'conv1' = 0.5 and 'conv2' = 0.25 are of the same channels (those of 'conv1')",
        "one ratio",
    ),
    ({"layer_ratios": {"conv1": 0.0}}, "ratio = 0.5 of the macs cannot be reached", "less"),
    ({"hooks": "python:no_such_file.py"}, "", ""),
]


@pytest.mark.parametrize(("changes", "message", "hint"), REFUSALS)
def test_refused_before_any_training(
    changes: Any, message: str, hint: str, source: Artifact, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        keras.check(replace(OPTIONS, **changes), source, work_on(source, tmp_path))
    assert caught.value.message.startswith(message)
    assert hint in caught.value.hint


def test_no_batchnormalization_for_its_scale(folder: Path, tmp_path: Path) -> None:
    from edgekit.frameworks.keras import import_keras

    library = import_keras("a test")
    model = library.Sequential(
        [library.Input((4,)), library.layers.Dense(8), library.layers.Dense(2)]
    )
    plain = save(model, folder / "plain.keras")
    with pytest.raises(UsageError, match="'batchnorm-scale': the model has no BatchNorm"):
        options = replace(OPTIONS, importance="batchnorm-scale")
        keras.check(options, plain, work_on(plain, tmp_path))


def smaller(**sizes: int) -> Any:
    from edgekit.frameworks.channels import keep

    return keep(make_model(), {name: range(size) for name, size in sizes.items()})


def broken() -> Any:
    model = smaller(conv1=4)
    values = model.get_layer("dense").get_weights()
    values[0][:] = np.nan
    model.get_layer("dense").set_weights(values)
    return model


BROKEN: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "nothing": (make_model, {}, "the macs did not fall (11,148 to 11,148)"),
    "too little": (lambda: smaller(conv1=6), {}, "40.5 % of the macs went, and 50.0 % was asked"),
    "channels": (lambda: smaller(conv1=6), {"of": "channels"}, "14.3 % of the channels went"),
    "odd": (lambda: smaller(conv1=3), {}, "'conv1' has 3 of 8 channels, not a multiple of 2"),
    "own ratio": (
        lambda: smaller(conv1=4),
        {"layer_ratios": {"dense": 0.6}},
        "'dense' has 6 of 6 channels, not 2",
    ),
    "outputs": (
        lambda: make_model(first=4, classes=3),
        {},
        "'scores' has lost channels that had to stay",
    ),
    "renamed": (
        lambda: make_model(first=4, dense="other"),
        {},
        "layers came or went: dense, other",
    ),
    "nan": (broken, {}, "output (4, 2) is not finite"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_result_that_is_not_what_was_asked(
    case: str, source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, changes, message = BROKEN[case]
    result = save(make(), tmp_path / "broken.keras")
    with pytest.raises(PromiseError) as caught:
        verify(work_on(source, tmp_path), result, monkeypatch, replace(OPTIONS, **changes))
    assert caught.value.message.startswith("prune-channels: ")
    assert message in caught.value.message


def test_a_result_that_is_not_faster_is_a_note(
    done: FakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_proof, "latency_ratio", lambda *_, seed: SLOWER)
    done.notes.clear()
    keras.verify(OPTIONS, done.source, artifact(done.output, "keras"), done)
    (note,) = done.noted("not faster")
    assert not note.is_evidence
    assert note.reason.startswith("1.00 of the source's time (95 % interval 0.90 to 1.10)")


def test_two_models_are_timed_against_each_other() -> None:
    from edgekit.frameworks.keras import import_keras, wrap
    from edgekit.techniques.prune_channels._latency import latency_ratio

    library = import_keras("a test")
    large, small = (
        library.Sequential(
            [library.Input((64, 64, 1)), library.layers.Conv2D(n, 5), library.layers.Conv2D(n, 5)]
        )
        for n in (48, 2)
    )
    image = (np.zeros((1, 64, 64, 1), np.float32),)
    ratio, (low, high) = latency_ratio(wrap(large), wrap(small), image, seed=0)
    assert 0 < low <= ratio <= high < 1


def test_its_versions_are_those_of_training() -> None:
    assert keras.versions() == training.versions()


def costing(monkeypatch: pytest.MonkeyPatch, *accuracies: float) -> None:
    """Trainings that do nothing, with these accuracies on select; the source has 0.9."""
    left = list(accuracies)

    def train_in(work: Any, build: Any, options: Any, *, title: str) -> Any:
        epoch = Epoch(0.1, 1.0, 0.1, left.pop(0), 1.0)
        return SimpleNamespace(model=build(), curve=Curve(title, "accuracy", (epoch,), 1))

    monkeypatch.setattr(training, "train_in", train_in)
    monkeypatch.setattr(training, "evaluate", lambda *_, own: (0.1, 0.9))


def test_a_round_that_costs_more_than_max_drop_is_taken_back(
    source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costing(monkeypatch, 0.9, 0.8)
    options = replace(OPTIONS, max_drop=0.01)
    work = pruned(options, source, tmp_path / "work")
    (note,) = work.noted("taken back")
    assert note.item == "prune-channels round 2/2"
    assert note.reason == (
        "it costs 10.0 % of the accuracy on the select split, and max_drop is 1.0 %"
    )
    verify(work, artifact(work.output, "keras"), monkeypatch, options)
    (small,) = work.noted("proven smaller")
    assert 0.23 <= share_gone(small.reason) < 0.5


def test_where_the_first_round_costs_too_much_the_model_stays(
    source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costing(monkeypatch, 0.5)
    options = replace(OPTIONS, max_drop=0.01)
    work = pruned(options, source, tmp_path / "work")
    verify(work, artifact(work.output, "keras"), monkeypatch, options)
    assert [note.what for note in work.notes] == ["not smaller"]
    assert all(
        np.array_equal(a, b)
        for a, b in zip(weights(source.path), weights(work.output), strict=True)
    )


def test_all_rounds_done_are_the_whole_whatever_floats_say(
    source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.7 * 3 / 3 is not 0.7, and what layer_ratios says was not looked at."""
    given = {"dense": 0.6}
    options = replace(OPTIONS, ratio=0.7, rounds=3, max_drop=0.5, layer_ratios=given)
    work = work_on(source, tmp_path / "work")
    _proof.note_rounds(work, 3)
    result = save(smaller(conv1=2), tmp_path / "result.keras")
    with pytest.raises(PromiseError, match="'dense' has 6 of 6 channels, not 2"):
        verify(work, result, monkeypatch, options)


@pytest.mark.parametrize(("width", "count"), [(4, 0), (2, 1)])
def test_much_more_than_asked_is_noted(
    width: int, count: int, source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = work_on(source, tmp_path / "work")
    options = replace(OPTIONS, ratio=0.65)
    verify(work, save(smaller(conv1=width), tmp_path / "result.keras"), monkeypatch, options)
    found = work.noted("more than asked")
    assert len(found) == count
    for note in found:
        assert not note.is_evidence
        assert note.item.endswith("of the macs went, 65.0 % asked")
        assert "round_to = 2" in note.reason


def test_the_users_own_loss_is_what_max_drop_counts_from(source: Artifact, tmp_path: Path) -> None:
    from edgekit.frameworks.bridge import load_trainable

    work = work_on(source, tmp_path / "work")
    work.y = np.full((60, 7), 3, np.float32)  # labels that no other loss takes
    work.hooks["loss"] = lambda true, predicted: true[:, 0]
    options = replace(OPTIONS, max_drop=0.01)
    assert keras._judged(options, load_trainable(source.path), work) == 3


def share_gone(reason: str) -> float:
    """The share of MACs in 'macs 11,148 to 5,000, 55.1 % fewer; ...'."""
    return float(reason.split(", ")[1].partition(" %")[0].split()[-1]) / 100
