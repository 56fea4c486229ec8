"""Distillation: the student learns, is compared with itself alone, and every check can fail."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_work import FakeWork, artifact

from edgekit.core.artifact import InputScaling
from edgekit.core.training import TrainingOptions
from edgekit.errors import PromiseError
from edgekit.frameworks import training
from edgekit.techniques.distill import Parameters, keras
from edgekit.techniques.distill._comparison import alone_options, alone_path

pytestmark = pytest.mark.tensorflow

CLASSES = 10


def make_data(count: int = 100) -> tuple[Any, Any]:
    """Ten classes that a small net learns at once: which row of the image is bright."""
    rng = np.random.default_rng(0)
    y = np.arange(count) % CLASSES
    x = rng.normal(0, 0.1, (count, 8, 8, 1)).astype(np.float32)
    for row, label in enumerate(y):
        x[row, label % 8] += 1 + label // 8
    return x, y


def make_model(channels: int, *, classes: int = CLASSES, size: int = 8) -> Any:
    from edgekit.frameworks.keras import import_keras

    library = import_keras("a test")
    library.utils.set_random_seed(channels)
    return library.Sequential(
        [
            library.Input((size, size, 1), name="image"),
            library.layers.Conv2D(channels, 3, activation="relu", name="conv"),
            library.layers.MaxPooling2D(2, name="pool"),
            library.layers.Flatten(name="flatten"),
            library.layers.Dense(classes, activation="softmax", name="dense"),
        ]
    )


def save(model: Any, path: Path) -> Path:
    from edgekit.frameworks.keras import save_keras

    save_keras(model, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distill")


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    return save(make_model(8), folder / "teacher.keras")


@pytest.fixture(scope="module")
def student(folder: Path) -> Path:
    return save(make_model(2), folder / "student.keras")


@pytest.fixture
def work(source: Path, tmp_path: Path) -> FakeWork:
    x, y = make_data()
    return FakeWork(tmp_path, artifact(source, "keras"), x=x, y=y, suffix=".keras")


def run(parameters: Parameters, work: FakeWork) -> None:
    keras.check(parameters, work.source, work)
    keras.apply(parameters, work.source, work)
    keras.verify(parameters, work.source, artifact(work.output, "keras"), work)


def options(**given: Any) -> Parameters:
    return Parameters(**{"epochs": 1, "batch_size": 20, **given})


def weights(path: Path) -> list[Any]:
    from edgekit.frameworks.bridge import load_trainable

    return [np.asarray(weight) for weight in load_trainable(path).weights]


def test_a_narrower_student_takes_the_sources_place(work: FakeWork) -> None:
    parameters = options(width=0.5, features=("conv:conv",))
    run(parameters, work)
    assert [curve.title for curve in work.curves] == ["distill", "alone"]
    (note,) = work.noted("smaller than the teacher")
    assert note.item == "teacher 'source'"
    assert note.reason == "410 parameters against 810"
    found = [
        *work.noted("beats the same student trained alone"),
        *work.noted("not better than alone"),
    ]
    assert len(found) == 1
    assert found[0].reason.endswith("on 20 samples of the select split")
    first = weights(work.output)
    keras.apply(parameters, work.source, work)
    assert all(np.array_equal(a, b) for a, b in zip(first, weights(work.output), strict=True))


def test_an_ensemble_of_formats_teaches_a_student_file(
    work: FakeWork, student: Path, tiny_float: Path
) -> None:
    run(options(student=str(student), teacher=("source", str(tiny_float)), baseline=False), work)
    assert [curve.title for curve in work.curves] == ["distill"]
    assert {note.item for note in work.noted("smaller than the teacher")} == {
        "teacher 'source'",
        f"teacher '{tiny_float}'",
    }


def onnx_teacher(path: Path, shape: tuple[int, ...], weights: Any) -> Path:
    """One dense layer on the flattened image."""
    from onnx import helper
    from onnx_models import save_model, tensor, value

    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    ends = [value("image", ["N", *shape])], [value("logits", ["N", weights.shape[1]])]
    return save_model(path, helper.make_graph(nodes, "t", *ends, [tensor("w", weights)]))


@pytest.mark.parametrize("is_first", [True, False])
def test_an_onnx_teacher_has_its_channels_first_or_last(is_first: bool, tmp_path: Path) -> None:
    """Three channels tell the two classes apart, so that an image turned wrongly teaches chance;
    the labels do not count."""
    from edgekit.frameworks.keras import import_keras

    library, rng = import_keras("a test"), np.random.default_rng(0)
    library.utils.set_random_seed(0)
    layers = [library.Input((6, 7, 3)), library.layers.Flatten(), library.layers.Dense(2)]
    held = artifact(save(library.Sequential(layers), tmp_path / "s.keras"), "keras")
    x = rng.random((200, 6, 7, 3), dtype=np.float32)
    x[::2, ..., 1] += 0.5
    dense = np.zeros((6, 7, 3, 2), np.float32)
    dense[..., 1, :], dense[..., (0, 2), :] = (1, -1), (-0.5, 0.5)
    dense = dense.transpose(2, 0, 1, 3) if is_first else dense
    shape = dense.shape[:3]
    teacher = onnx_teacher(tmp_path / "t.onnx", shape, dense.reshape(-1, 2))
    work = FakeWork(tmp_path, held, x=x, y=rng.integers(0, 2, 200), suffix=".keras")
    own = x.transpose(0, 3, 1, 2) if is_first else x
    said = work.predict(artifact(teacher, "onnx"), (own,))[0].argmax(axis=1)
    work.y[160:] = said[160:]  # the select split, whose best epoch is kept
    given = {"epochs": 20, "learning_rate": 0.05, "baseline": False, "alpha": 0.0}
    run(options(student=str(held.path), teacher=(str(teacher),), **given), work)
    (learned,) = work.predict(artifact(work.output, "keras"), (x,))
    assert np.mean(learned.argmax(axis=1) == said) > 0.9


def test_the_student_learns_what_the_teacher_says(
    work: FakeWork, student: Path, folder: Path
) -> None:
    """At alpha = 0 the labels do not count: it learns the one class that the teacher knows."""
    model = make_model(8)
    model.get_layer("dense").set_weights([np.zeros((72, 10)), 20.0 * np.eye(10)[3]])
    stubborn = save(model, folder / "stubborn.keras")
    work.y[80:] = 3  # the select split, whose best epoch is kept
    given = {"epochs": 5, "learning_rate": 0.1, "baseline": False}
    run(options(student=str(student), teacher=(str(stubborn),), alpha=0.0, **given), work)
    (outputs,) = work.predict(artifact(work.output, "keras"), (work.x,))
    assert set(outputs.argmax(axis=1)) == {3}


def test_the_baseline_starts_alike_and_has_no_teacher(work: FakeWork) -> None:
    plain = alone_options(options(width=0.5, epochs=7, temperature=2.0))
    assert type(plain) is TrainingOptions
    assert (plain.teacher, plain.epochs, plain.batch_size) == ((), 7, 20)
    from edgekit.techniques.distill._student import build_student

    parameters = options(width=0.5)
    first, second = (build_student(parameters, work.source, work, seed=1) for _ in range(2))
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def verify(parameters: Parameters, path: Path, work: FakeWork) -> None:
    keras.verify(parameters, work.source, artifact(path, "keras"), work)


@pytest.mark.parametrize("better", [True, False], ids=["better", "worse"])
def test_the_comparison_is_of_the_files(work: FakeWork, folder: Path, better: bool) -> None:
    good, bad = make_model(2), make_model(2)
    good.get_layer("dense").set_weights([np.zeros((18, 10)), 20.0 * np.eye(10)[3]])
    work.y[:] = 3
    work.y[0] = 9
    distilled, alone = (good, bad) if better else (bad, good)
    save(alone, alone_path(work))
    verify(options(width=0.5), save(distilled, folder / f"distilled-{better}.keras"), work)
    wins = work.noted("beats the same student trained alone")
    losses = work.noted("not better than alone")
    assert (len(wins), len(losses)) == ((1, 0) if better else (0, 1))
    assert "loss" in (wins + losses)[0].reason
    assert "accuracy" in (wins + losses)[0].reason


def test_a_student_without_a_metric_is_compared_by_its_loss(work: FakeWork, student: Path) -> None:
    work.y = np.zeros((100, 10), np.float32)
    save(make_model(2), alone_path(work))
    verify(options(width=0.5), student, work)
    (note,) = work.noted("not better than alone")
    assert "accuracy" not in note.reason


def test_the_users_own_loss_is_compared(work: FakeWork, student: Path) -> None:
    work.y = np.full((100, 7), 3, np.float32)  # labels that no other loss takes
    work.hooks["loss"] = lambda true, predicted: true[:, 0]
    save(make_model(2), alone_path(work))
    verify(options(width=0.5), student, work)
    (note,) = work.noted("not better than alone")
    assert note.reason.startswith("loss 3 against 3")


def test_frozen_layers_of_a_narrower_student_are_trained(folder: Path, tmp_path: Path) -> None:
    model = make_model(8)
    model.get_layer("conv").trainable = False
    x, y = make_data()
    frozen = artifact(save(model, folder / "frozen.keras"), "keras")
    work = FakeWork(tmp_path, frozen, x=x, y=y, suffix=".keras")
    parameters = options(width=0.5, baseline=False, learning_rate=0.01)
    keras.apply(parameters, work.source, work)
    (note,) = work.noted("made trainable")
    assert (note.item, note.is_evidence) == ("Conv2D 'conv'", False)
    from edgekit.techniques.distill._student import build_student

    begun = build_student(parameters, work.source, work, seed=0)
    assert not np.array_equal(weights(work.output)[0], np.asarray(begun.weights[0]))


def test_a_result_with_other_outputs_is_found(work: FakeWork, folder: Path) -> None:
    with pytest.raises(PromiseError) as caught:
        verify(options(width=0.5), save(make_model(2, classes=4), folder / "4.keras"), work)
    assert caught.value.message == "distill: the outputs of the result are 4, and were 10"


def test_outputs_that_are_not_finite_are_found(work: FakeWork, folder: Path) -> None:
    model = make_model(2)
    model.get_layer("dense").bias.assign(np.full(10, np.nan))
    with pytest.raises(PromiseError) as caught:
        verify(options(width=0.5), save(model, folder / "nan.keras"), work)
    assert caught.value.message == "distill: the output 'dense' of the student is not finite"


def test_a_student_that_is_not_smaller_is_noted(work: FakeWork, source: Path) -> None:
    verify(options(width=0.5, baseline=False), source, work)
    (note,) = work.noted("not smaller than the teacher")
    assert note.reason == "810 parameters against 810"


def test_a_student_from_another_input_range_is_noted(
    work: FakeWork, student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled = dataclasses.replace(artifact(student, "keras"), scaling=InputScaling((2.0,)))
    monkeypatch.setattr(work, "open", lambda model: scaled, raising=False)
    keras.apply(options(student=str(student), baseline=False), work.source, work)
    (note,) = work.noted("poor start")
    assert note.item == f"student '{student}'"


def test_versions_name_what_trains() -> None:
    assert keras.versions() == training.versions()
