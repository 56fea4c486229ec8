"""Clustering in training: few values, zeros that stay, and every check that can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_work import FakeWork, artifact

from edgekit.core.notes import Note
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.sparsity import distinct_values, kernels, set_kernel
from edgekit.techniques.cluster import Parameters, keras

pytestmark = pytest.mark.tensorflow

MakeWork = Callable[..., FakeWork]


def make_model() -> Any:
    from edgekit.frameworks.keras import import_keras

    library = import_keras("a test")
    library.utils.set_random_seed(3)
    layers = library.layers
    inputs = layers.Input((6, 6, 4), name="image")
    x = layers.Conv2D(8, 3, use_bias=False, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(20, activation="relu", name="hidden")(x)
    return library.Model(inputs, layers.Dense(2, activation="softmax", name="out")(x))


def make_data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 100)
    x = rng.normal(0, 1, (100, 6, 6, 4)) + y[:, None, None, None]
    return x.astype(np.float32), y


def saved(model: Any, path: Path) -> Path:
    from edgekit.frameworks.keras import save_keras

    save_keras(model, path)
    return path


def loaded(path: Path) -> Any:
    from edgekit.frameworks.bridge import load_trainable

    return load_trainable(path)


def changed(path: Path, layer: str, change: Callable[[Any], Any], target: Path) -> Path:
    model = loaded(path)
    kernel = next(k for k in kernels(model) if k.layer == layer)
    set_kernel(model, kernel, change(kernel.values))
    return saved(model, target)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    return saved(make_model(), folder / "source.keras")


@pytest.fixture(scope="module")
def sparse(source: Path, folder: Path) -> Path:
    """The same net with 60 % zeros in one kernel, as after pruning, and 6 % in another."""

    def prune(values: Any) -> Any:
        return np.where(np.random.default_rng(1).random(values.shape) < 0.6, 0, values)

    def few(values: Any) -> Any:
        return np.where(np.arange(values.size).reshape(values.shape) % 16 == 7, 0, values)

    first = changed(source, "hidden", prune, folder / "first.keras")
    return changed(first, "conv", few, folder / "sparse.keras")


@pytest.fixture
def work_on(tmp_path: Path) -> MakeWork:
    def make(path: Path, **settings: Any) -> FakeWork:
        x, y = make_data()
        return FakeWork(tmp_path, artifact(path, "keras"), x=x, y=y, suffix=".keras", **settings)

    return make


def options(**settings: Any) -> Parameters:
    return Parameters(**{"clusters": 8, "epochs": 1, "batch_size": 16, **settings})


def cluster(work: FakeWork, parameters: Parameters) -> dict[str, Any]:
    """Declares, acts and checks, as the engine does; returns the kernels of the result."""
    keras.check(parameters, work.source, work)
    keras.apply(parameters, work.source, work)
    keras.verify(parameters, work.source, artifact(work.output, "keras"), work)
    return {kernel.layer: kernel.values for kernel in kernels(loaded(work.output))}


class TestClusters:
    def test_kernels_have_as_many_values_as_asked(self, source: Path, work_on: MakeWork) -> None:
        work = work_on(source)
        made = cluster(work, options(layer_clusters={"con*": 3}, epochs=2))
        counts = {name: distinct_values(values) for name, values in made.items()}
        assert counts == {"conv": 3, "hidden": 8, "out": 40}
        assert {note.item for note in work.noted("skipped")} == {
            "Dense 'out'",
            "DepthwiseConv2D 'depthwise'",
        }
        assert work.noted("sparsity") == [
            Note(
                "sparsity",
                "zeros of the source",
                "none to keep: no kernel was pruned (has two zeros or more, and other weights)",
                True,
            )
        ]

    def test_weights_and_centroids_are_trained(self, source: Path, work_on: MakeWork) -> None:
        from edgekit.techniques.cluster._engine import stripped, wrapped
        from edgekit.techniques.cluster._plan import make_plan

        model = loaded(source)
        begun = wrapped(model, options(), make_plan(options(), model), 0)
        start = np.unique(stripped(begun).get_layer("hidden").kernel.numpy())
        made = cluster(work_on(source), options(learning_rate=1e-2))
        assert not set(start.tolist()) & set(np.unique(made["hidden"]).tolist())

    def test_channels_have_clusters_of_their_own(self, sparse: Path, work_on: MakeWork) -> None:
        made = cluster(work_on(sparse), options(clusters=4, per_channel=True))
        channels = [distinct_values(made["conv"][..., c]) for c in range(8)]
        assert max(channels) == 4
        assert distinct_values(made["conv"]) > 16
        assert distinct_values(made["hidden"]) == 4

    def test_same_seed_gives_the_same_weights(
        self, source: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        results = []
        for name in ("first", "second"):
            x, y = make_data()
            folder = tmp_path_factory.mktemp(name)
            work = FakeWork(folder, artifact(source, "keras"), x=x, y=y, suffix=".keras", seed=7)
            results.append(cluster(work, options(init="random")))
        assert all((results[0][name] == results[1][name]).all() for name in results[0])

    def test_clustered_again(self, source: Path, work_on: MakeWork, tmp_path: Path) -> None:
        """The engine raises StopIteration where it meets its own traces."""
        cluster(work_on(source), options())
        again = work_on(Path(tmp_path / "result.keras").rename(tmp_path / "once.keras"))
        assert distinct_values(cluster(again, options(clusters=4))["hidden"]) == 4


class TestZeros:
    def test_zeros_stay_where_something_was_pruned(self, sparse: Path, work_on: MakeWork) -> None:
        work = work_on(sparse)
        before = {kernel.layer: kernel.values for kernel in kernels(loaded(sparse))}
        made = cluster(work, options(learning_rate=1e-2))
        for name in ("conv", "hidden"):
            assert (made[name][before[name] == 0] == 0).all()
            assert distinct_values(made[name]) <= 8
        assert work.noted("sparsity")[0].reason.startswith("kept in 2 kernels: the sparsest has 6")
        assert " zeros kept, 6" in work.noted("proven clusters")[1].reason

    def test_few_zeros_are_a_pruned_kernels_too(self, source: Path, sparse: Path) -> None:
        """Whatever the other kernels have: one rule for all techniques."""
        from edgekit.techniques.cluster._plan import make_plan

        model = loaded(sparse)
        hidden = next(k for k in kernels(loaded(source)) if k.layer == "hidden")
        set_kernel(model, hidden, hidden.values)
        assert make_plan(options(), model).keep_zeros == {"conv"}

    def test_kernels_that_are_left_alone_keep_their_zeros(
        self, sparse: Path, work_on: MakeWork
    ) -> None:
        work = work_on(sparse)
        before = {kernel.layer: kernel.values for kernel in kernels(loaded(sparse))}
        made = cluster(work, options(skip=("hidden",), learning_rate=1e-2))
        assert (made["hidden"][before["hidden"] == 0] == 0).all()
        assert not np.array_equal(made["hidden"], before["hidden"])
        assert work.noted("sparsity")[0].reason.startswith("kept in 2 kernels: the sparsest has 6")

    def test_two_clusters_are_zero_and_one_more(self, sparse: Path, work_on: MakeWork) -> None:
        """The engine refuses this number."""
        made = cluster(work_on(sparse), options(clusters=2))
        assert distinct_values(made["hidden"]) == 2
        assert (made["hidden"] == 0).any()


class TestNearest:
    def test_binary_search_says_what_the_engine_says(self, source: Path) -> None:
        from edgekit.frameworks.keras import import_tensorflow
        from edgekit.techniques.cluster._engine import wrapped
        from edgekit.techniques.cluster._plan import make_plan

        model = loaded(source)
        made = wrapped(model, options(), make_plan(options(), model), 0)
        algorithm = made.get_layer("cluster_hidden").clustering_algorithms["kernel"]
        held = algorithm.cluster_centroids
        held.assign(np.array([0.4, -0.1, 0.0, 0.0, 0.3, -0.5, 0.05, 0.2], np.float32))
        weight = import_tensorflow().constant(
            np.random.default_rng(0).normal(0, 0.3, (30, 20)).astype(np.float32)
        )
        quick = held.numpy()[algorithm.get_pulling_indices(weight)]
        engine = held.numpy()[type(algorithm).get_pulling_indices(algorithm, weight)]
        assert (quick == engine).all()

    def test_the_engines_table_is_left_as_it_was(self, source: Path) -> None:
        from edgekit.frameworks.bridge import import_tfmot
        from edgekit.techniques.cluster._engine import _own_centroids

        import_tfmot("a test")
        from tensorflow_model_optimization.python.core.clustering.keras import (
            clustering_centroids,
        )

        table = clustering_centroids.CentroidsInitializerFactory._initialisers
        before = dict(table)
        with _own_centroids(options(), 2, seed=0):
            assert len(table) == len(before) + 2
        assert table == before


class TestCheck:
    @pytest.mark.parametrize(
        ("settings", "message", "hint"),
        [
            ({"skip": ("hiden",)}, "skip: no layer matches 'hiden'", "'hidden'"),
            (
                {"layer_clusters": {"cov": 4}},
                "layer_clusters: no layer matches 'cov'",
                "'conv'",
            ),
        ],
    )
    def test_name_without_a_layer(
        self, settings: Any, message: str, hint: str, source: Path, work_on: MakeWork
    ) -> None:
        work = work_on(source)
        with pytest.raises(UsageError) as caught:
            keras.check(options(**settings), work.source, work)
        assert caught.value.message == message
        assert hint in caught.value.hint

    def test_nothing_left_to_cluster(self, source: Path, work_on: MakeWork) -> None:
        work = work_on(source)
        settings = {"skip": ("conv", "hidden"), "min_weights": 20, "clusters": 40}
        with pytest.raises(UsageError) as caught:
            keras.check(options(**settings), work.source, work)
        assert caught.value.message == (
            "cluster: the model has no kernel to cluster (Conv2D 'conv': left as it is, as skip "
            "says; Dense 'hidden': left as it is, as skip says; Dense 'out': 40 weights have no "
            "need of 40 clusters)"
        )

    def test_versions_name_the_engine(self) -> None:
        assert {"tensorflow-model-optimization", "tf-keras"} < set(keras.versions())


@pytest.fixture(scope="module")
def done(sparse: Path, folder: Path) -> FakeWork:
    x, y = make_data()
    work = FakeWork(folder, artifact(sparse, "keras"), x=x, y=y, suffix=".keras")
    cluster(work, options())
    return work


class TestCarried:
    def test_the_model_in_tf_keras_is_proven_equal(self, done: FakeWork) -> None:
        (note,) = done.noted("proven equal")
        assert (note.item, note.is_evidence) == ("the model in tf_keras, where it is trained", True)
        assert note.reason.startswith("outputs on 8 inputs differ by at most ")

    @pytest.mark.usefixtures("carried_wrongly")
    def test_another_model_is_not_trained(self, source: Path, work_on: MakeWork) -> None:
        work = work_on(source)
        keras.check(options(), work.source, work)
        with pytest.raises(PromiseError, match="the model that was carried over differs by"):
            keras.apply(options(), work.source, work)

    def test_a_layer_without_counterpart(self, uncarried: Path, work_on: MakeWork) -> None:
        work = work_on(uncarried)
        with pytest.raises(UsageError, match=r"'rms' \(RMSNormalization\): .* no counterpart"):
            keras.check(options(), work.source, work)


def test_interrupted_and_resumed_is_the_same(
    source: Path, tmp_path: Path, interrupted: Callable[..., None]
) -> None:
    parameters, weights = options(epochs=2), []
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
        x, y = make_data()
        work = FakeWork(tmp_path / name, artifact(source, "keras"), x=x, y=y, suffix=".keras")
        if name == "cut":
            interrupted(work, lambda w=work: keras.apply(parameters, w.source, w), epochs=1)
        keras.apply(parameters, work.source, work)
        weights.append([value.tobytes() for value in loaded(work.output).get_weights()])
    assert [note.item for note in work.noted("resumed")] == ["cluster: after epoch 1"]
    assert weights[0] == weights[1]


class TestVerify:
    """Each promise is broken by hand in the file that came out."""

    def broken(self, work: FakeWork, layer: str, change: Callable[[Any], Any], target: Path) -> Any:
        return artifact(changed(work.output, layer, change, target), "keras")

    def test_one_value_too_many(self, done: FakeWork, tmp_path: Path) -> None:
        def change(values: Any) -> Any:
            return np.where(np.arange(values.size).reshape(values.shape) == 5, 9, values)

        result = self.broken(done, "conv", change, tmp_path / "broken.keras")
        with pytest.raises(PromiseError) as caught:
            keras.verify(options(), done.source, result, done)
        assert caught.value.message == (
            "cluster: Conv2D 'conv' has 9 different values after training, and 8 were asked for"
        )

    def test_one_value_too_many_in_a_channel(self, done: FakeWork) -> None:
        with pytest.raises(PromiseError, match="different values in a channel after training"):
            parameters = options(per_channel=True, clusters=2)
            keras.verify(parameters, done.source, artifact(done.output, "keras"), done)

    def test_lost_zeros(self, done: FakeWork, tmp_path: Path) -> None:
        def change(values: Any) -> Any:
            return np.where(values == 0, values.max(), values)

        result = self.broken(done, "hidden", change, tmp_path / "broken.keras")
        with pytest.raises(PromiseError, match=r"zeros of Dense 'hidden' are lost"):
            keras.verify(options(), done.source, result, done)

    def test_lost_zeros_of_a_kernel_that_was_left_alone(
        self, done: FakeWork, tmp_path: Path
    ) -> None:
        result = self.broken(done, "hidden", np.ones_like, tmp_path / "broken.keras")
        with pytest.raises(PromiseError, match=r"zeros of Dense 'hidden' are lost"):
            keras.verify(options(skip=("hidden",)), done.source, result, done)

    def test_a_layer_is_missing(self, done: FakeWork, tmp_path: Path) -> None:
        from edgekit.frameworks.keras import import_keras

        library = import_keras()
        inputs = library.Input((3,))
        other = library.Model(inputs, library.layers.Dense(2)(inputs))
        result = artifact(saved(other, tmp_path / "other.keras"), "keras")
        with pytest.raises(PromiseError, match="Conv2D 'conv' is not in the result as it was"):
            keras.verify(options(), done.source, result, done)
