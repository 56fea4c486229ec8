"""Fine-tuning: better on the data, zeros kept, clusters refused, and every check that can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_work import FakeWork, artifact

from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import training
from edgekit.techniques.fine_tune import Parameters, keras

pytestmark = pytest.mark.tensorflow

OPTIONS = Parameters(epochs=2, batch_size=16, learning_rate=1e-2)


def make_data(count: int = 80) -> tuple[Any, Any]:
    """Two classes that a small net learns at once: bright left half or bright right half."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, count)
    x = rng.normal(0, 0.3, (count, 4, 4, 1)).astype(np.float32)
    x[y == 0, :, :2] += 1
    x[y == 1, :, 2:] += 1
    return x, y


def make_model(*, classes: int = 2) -> Any:
    from edgekit.frameworks.keras import import_keras

    library = import_keras("a test")
    library.utils.set_random_seed(3)
    return library.Sequential(
        [
            library.Input((4, 4, 1), name="image"),
            library.layers.Conv2D(4, 3, activation="relu", name="conv"),
            library.layers.Flatten(name="flatten"),
            library.layers.Dense(8, activation="relu", name="dense1"),
            library.layers.Dense(classes, activation="softmax", name="dense2"),
        ]
    )


def save(model: Any, path: Path) -> Path:
    from edgekit.frameworks.keras import save_keras

    save_keras(model, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fine_tune")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return save(make_model(), folder / "plain.keras")


@pytest.fixture(scope="module")
def sparse(folder: Path) -> Path:
    model = make_model()
    layer = model.get_layer("dense1")
    kernel, bias = layer.get_weights()
    kernel[::2] = 0
    layer.set_weights([kernel, bias])
    return save(model, folder / "sparse.keras")


@pytest.fixture
def work_on(tmp_path: Path) -> Callable[[Path], FakeWork]:
    def make(path: Path) -> FakeWork:
        x, y = make_data()
        return FakeWork(tmp_path, artifact(path, "keras"), x=x, y=y, suffix=".keras")

    return make


def weights(path: Path) -> dict[str, Any]:
    from edgekit.frameworks.bridge import load_trainable

    return {f"{i}": np.asarray(w) for i, w in enumerate(load_trainable(path).weights)}


def test_it_trains_and_says_by_how_much(
    plain: Path, work_on: Callable[[Path], FakeWork], tmp_path: Path
) -> None:
    work = work_on(plain)
    keras.check(OPTIONS, work.source, work)
    keras.apply(OPTIONS, work.source, work)
    result = artifact(work.output, "keras")
    keras.verify(OPTIONS, work.source, result, work)
    (note,) = work.noted("fine-tuned")
    assert note.is_evidence
    assert note.item == "16 samples of the select split"
    assert "before" in note.reason
    assert [curve.title for curve in work.curves] == ["fine-tune"]
    assert not work.noted("sparsity kept")
    first = weights(work.output)
    (tmp_path / "again").mkdir()
    again = FakeWork(tmp_path / "again", work.source, x=work.x, y=work.y, suffix=".keras")
    keras.apply(OPTIONS, again.source, again)
    second = weights(again.output)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_zeros_of_pruned_kernels_stay(sparse: Path, work_on: Callable[[Path], FakeWork]) -> None:
    work = work_on(sparse)
    keras.apply(OPTIONS, work.source, work)
    keras.verify(OPTIONS, work.source, artifact(work.output, "keras"), work)
    (note,) = work.noted("sparsity kept")
    assert note.item == "Dense 'dense1'"
    assert note.reason == "all 64 zeros kept, 50.0 % of its weights"
    from edgekit.frameworks.bridge import load_trainable

    before, after = load_trainable(sparse), load_trainable(work.output)
    old, new = (np.asarray(m.get_layer("dense1").kernel) for m in (before, after))
    assert not new[::2].any()
    assert not np.signbit(new[::2]).any()
    assert not np.array_equal(old[1::2], new[1::2])


def test_few_zeros_stay_too(folder: Path, work_on: Callable[[Path], FakeWork]) -> None:
    model = make_model()
    layer = model.get_layer("dense1")
    kernel, bias = layer.get_weights()
    kernel[:4, 0] = 0
    layer.set_weights([kernel, bias])
    work = work_on(save(model, folder / "few.keras"))
    keras.apply(OPTIONS, work.source, work)
    keras.verify(OPTIONS, work.source, artifact(work.output, "keras"), work)
    (note,) = work.noted("sparsity kept")
    assert note.reason == "all 4 zeros kept, 3.1 % of its weights"
    from edgekit.frameworks.bridge import load_trainable

    assert not np.asarray(load_trainable(work.output).get_layer("dense1").kernel)[:4, 0].any()


def test_lost_zeros_are_found(
    sparse: Path, plain: Path, work_on: Callable[[Path], FakeWork]
) -> None:
    work = work_on(sparse)
    with pytest.raises(PromiseError) as caught:
        keras.verify(OPTIONS, work.source, artifact(plain, "keras"), work)
    assert caught.value.message == "fine-tune: 64 of 64 zeros of Dense 'dense1' are lost"


def test_an_all_zero_kernel_is_trained(folder: Path, work_on: Callable[[Path], FakeWork]) -> None:
    model = make_model()
    layer = model.get_layer("dense2")
    layer.set_weights([np.zeros((8, 2), np.float32), np.zeros(2, np.float32)])
    work = work_on(save(model, folder / "fresh.keras"))
    keras.apply(OPTIONS, work.source, work)
    from edgekit.frameworks.bridge import load_trainable

    assert np.asarray(load_trainable(work.output).get_layer("dense2").kernel).any()


@pytest.mark.parametrize("centroids", [(-0.5, 0.25, 0.5), (0.0, 0.5)], ids=["k=3", "zero and one"])
def test_clusters_are_refused_before_training(
    centroids: tuple[float, ...], folder: Path, work_on: Callable[[Path], FakeWork]
) -> None:
    model = make_model()
    layer = model.get_layer("dense1")
    kernel, bias = layer.get_weights()
    rng = np.random.default_rng(0)
    layer.set_weights([rng.choice(centroids, kernel.shape).astype(np.float32), bias])
    work = work_on(save(model, folder / f"clustered{len(centroids)}.keras"))
    with pytest.raises(PromiseError) as caught:
        keras.apply(OPTIONS, work.source, work)
    assert caught.value.message.startswith("fine-tune: Dense 'dense1' is clustered (")
    assert "quantize-aware-train" in caught.value.hint
    assert not work.curves


def test_a_clustered_source_is_refused_by_the_check(
    folder: Path, work_on: Callable[[Path], FakeWork]
) -> None:
    model = make_model()
    layer = model.get_layer("dense1")
    kernel, bias = layer.get_weights()
    layer.set_weights([np.where(kernel > 0, 0.5, -0.5), bias])
    work = work_on(save(model, folder / "clustered.keras"))
    with pytest.raises(UsageError) as caught:
        keras.check(OPTIONS, work.source, work)
    assert caught.value.message.startswith("fine-tune: Dense 'dense1' is clustered (")
    assert "before cluster" in caught.value.hint


def test_constant_kernels_are_no_clusters(
    folder: Path, work_on: Callable[[Path], FakeWork]
) -> None:
    from edgekit.techniques.fine_tune._clusters import clustered

    model = make_model()
    layer = model.get_layer("dense1")
    layer.set_weights([np.ones_like(w) for w in layer.get_weights()])
    assert clustered(model) == ""


def test_another_signature_is_found(
    plain: Path, folder: Path, work_on: Callable[[Path], FakeWork]
) -> None:
    other = artifact(save(make_model(classes=3), folder / "three.keras"), "keras")
    work = work_on(plain)
    with pytest.raises(PromiseError) as caught:
        keras.verify(OPTIONS, work.source, other, work)
    assert (
        caught.value.message == "fine-tune: the outputs of the result are [(3,)], and were [(2,)]"
    )


def test_a_weight_that_is_not_finite_is_found(
    plain: Path, folder: Path, work_on: Callable[[Path], FakeWork]
) -> None:
    model = make_model()
    model.get_layer("dense2").bias.assign([0, np.nan])
    work = work_on(plain)
    with pytest.raises(PromiseError) as caught:
        keras.verify(
            OPTIONS, work.source, artifact(save(model, folder / "nan.keras"), "keras"), work
        )
    assert caught.value.message == "fine-tune: the weight 'dense2/bias' of the result is not finite"


def test_a_worse_result_is_noted(
    plain: Path, folder: Path, work_on: Callable[[Path], FakeWork]
) -> None:
    model = make_model()
    model.get_layer("dense2").bias.assign([9, -9])
    work = work_on(plain)
    keras.verify(OPTIONS, work.source, artifact(save(model, folder / "bad.keras"), "keras"), work)
    (note,) = work.noted("not better")
    assert not note.is_evidence
    assert note.reason.startswith("loss ")


def test_the_users_own_loss_is_compared(plain: Path, work_on: Callable[[Path], FakeWork]) -> None:
    work = work_on(plain)
    work.y = np.full((80, 7), 3, np.float32)  # labels that no other loss takes
    work.hooks["loss"] = lambda true, predicted: true[:, 0]
    keras.verify(OPTIONS, work.source, work.source, work)
    (note,) = work.noted("fine-tuned")
    assert note.reason.startswith("loss 3 before, 3 after")


def test_augmentation_that_does_not_suit_is_refused(
    folder: Path, work_on: Callable[[Path], FakeWork]
) -> None:
    work = work_on(save(make_model(), folder / "small.keras"))
    with pytest.raises(UsageError, match="augment: 'crop' is for images"):
        keras.check(Parameters(augment=("crop",)), work.source, work)


def test_a_bare_saved_model_is_refused(folder: Path, work_on: Callable[[Path], FakeWork]) -> None:
    from edgekit.frameworks.keras import quiet

    with quiet():
        make_model().export(str(folder / "saved"))
    work = work_on(folder / "saved")
    with pytest.raises(UsageError, match="has nothing to train"):
        keras.check(OPTIONS, work.source, work)


def test_versions_name_what_trains() -> None:
    assert keras.versions() == training.versions()
