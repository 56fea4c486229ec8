"""Pruning in training: zeros where they were asked for, and every check that can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_work import FakeWork, artifact

from edgekit.core.notes import Note
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.sparsity import Kernel, groups_of_four, set_kernel, zero_blocks, zero_share
from edgekit.frameworks.sparsity import kernels as kernels_in
from edgekit.techniques.prune import Parameters, keras

pytestmark = pytest.mark.tensorflow

MakeWork = Callable[..., FakeWork]
CARRIED = "the model in tf_keras, where it is trained"


def make_model() -> Any:
    """A net with two convolutions, a depthwise one and two dense layers, about 1,300 weights."""
    from edgekit.frameworks.keras import import_keras

    library = import_keras("a test")
    library.utils.set_random_seed(3)
    layers = library.layers
    inputs = layers.Input((6, 6, 4), name="image")
    x = layers.Conv2D(8, 3, use_bias=False, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(x)
    x = layers.Conv2D(10, 1, activation="relu", name="point")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(20, activation="relu", name="hidden")(x)
    return library.Model(inputs, layers.Dense(2, activation="softmax", name="out")(x))


def make_data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 100)
    x = rng.normal(0, 1, (100, 6, 6, 4)).astype(np.float32) + y[:, None, None, None]
    return x.astype(np.float32), y


def saved(model: Any, path: Path) -> Path:
    from edgekit.frameworks.keras import save_keras

    save_keras(model, path)
    return path


def loaded(path: Path) -> Any:
    from edgekit.frameworks.bridge import load_trainable

    return load_trainable(path)


def arrays(path: Path) -> dict[str, Any]:
    return {kernel.layer: kernel.values for kernel in kernels_in(loaded(path))}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(make_model(), tmp_path_factory.mktemp("prune") / "source.keras")


@pytest.fixture
def work_on(tmp_path: Path) -> MakeWork:
    def make(path: Path, **settings: Any) -> FakeWork:
        x, y = make_data()
        return FakeWork(tmp_path, artifact(path, "keras"), x=x, y=y, suffix=".keras", **settings)

    return make


def options(**settings: Any) -> Parameters:
    return Parameters(**{"epochs": 2, "batch_size": 16, "sparsity": 0.8, **settings})


def prune(work: FakeWork, parameters: Parameters) -> dict[str, Any]:
    """Declares, acts and checks, as the engine does; returns the kernels of the result."""
    keras.check(parameters, work.source, work)
    keras.apply(parameters, work.source, work)
    keras.verify(parameters, work.source, artifact(work.output, "keras"), work)
    return arrays(work.output)


class TestCarried:
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


class TestUnstructured:
    def test_each_kernel_is_as_sparse_as_asked(self, source: Path, work_on: MakeWork) -> None:
        work = work_on(source)
        made = prune(work, options(layer_sparsity={"hid*": 0.5}))
        assert {name: int((made[name] == 0).sum()) for name in ("conv", "point", "hidden")} == {
            "conv": round(0.8 * 288),
            "point": round(0.8 * 80),
            "hidden": round(0.5 * 800),
        }
        assert zero_share(made["out"]) == 0
        assert not np.signbit(made["hidden"][made["hidden"] == 0]).any()
        assert [note.item for note in work.noted("proven sparsity")] == [
            "Conv2D 'conv'",
            "Conv2D 'point'",
            "Dense 'hidden'",
            "all pruned kernels",
        ]
        assert work.noted("ramp") == [
            Note("ramp", "10 steps", "3 kernels pruned from step 1 to step 5, polynomial", True)
        ]
        (equal,) = work.noted("proven equal")
        assert (equal.item, equal.is_evidence) == (CARRIED, True)
        assert equal.reason.startswith("outputs on 8 inputs differ by at most ")

    def test_what_is_left_alone_is_noted(self, source: Path, work_on: MakeWork) -> None:
        work = work_on(source)
        prune(work, options(epochs=1, skip=("poi*",), layer_sparsity={"conv": 0}))
        assert {(note.item, note.reason) for note in work.noted("skipped")} == {
            ("Conv2D 'point'", "left dense, as skip says"),
            ("Conv2D 'conv'", "left dense, as layer_sparsity says"),
            ("Dense 'out'", "its 40 weights are fewer than min_weights = 64"),
            (
                "DepthwiseConv2D 'depthwise'",
                "a depthwise kernel has few weights, and the net loses most by them",
            ),
        }

    def test_a_short_training_prunes_too(self, source: Path, work_on: MakeWork) -> None:
        """One step: the engine's default of every 100 steps would do nothing."""
        made = prune(work_on(source), options(epochs=1, batch_size=80, end=1.0))
        assert zero_share(made["hidden"]) == 0.8

    def test_same_seed_gives_the_same_weights(
        self, source: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        results = []
        for name in ("first", "second"):
            x, y = make_data()
            folder = tmp_path_factory.mktemp(name)
            work = FakeWork(folder, artifact(source, "keras"), x=x, y=y, suffix=".keras", seed=7)
            results.append(prune(work, options(epochs=1, ramp="constant")))
        assert all((results[0][name] == results[1][name]).all() for name in results[0])

    def test_only_epochs_after_the_ramp_count(self, source: Path, work_on: MakeWork) -> None:
        work = work_on(source)
        prune(work, options(epochs=3, begin=0.3, end=1.0))
        assert work.curves[0].best_epoch == 3

    def test_a_sparser_kernel_keeps_its_zeros(
        self, source: Path, work_on: MakeWork, tmp_path: Path
    ) -> None:
        model = loaded(source)
        kernel = next(k for k in kernels_in(model) if k.layer == "hidden")
        mask = np.random.default_rng(1).random(kernel.values.shape) < 0.9
        set_kernel(model, kernel, np.where(mask, 0, kernel.values))
        sparse = saved(model, tmp_path / "sparse.keras")
        work = work_on(sparse)
        made = prune(work, options(begin=0.4))
        assert ((made["hidden"] == 0) == mask).all()
        assert "as it had before" in work.noted("proven sparsity")[2].reason

    def test_zeros_do_not_grow_back_before_the_ramp(
        self, source: Path, work_on: MakeWork, tmp_path: Path
    ) -> None:
        from edgekit.techniques.prune._engine import Ramp, stripped, wrapped
        from edgekit.techniques.prune._plan import Goal

        model = loaded(source)
        kernel = next(k for k in kernels_in(model) if k.layer == "hidden")
        set_kernel(model, kernel, np.where(np.eye(40, 20) > 0, 0, kernel.values))
        made = wrapped(model, options(), {"hidden": Goal(0.025, 0.9)}, Ramp(50, 90, 1))
        layer = made.get_layer("prune_low_magnitude_hidden")
        layer.layer.kernel.assign_add(np.ones((40, 20)))
        after = stripped(made).get_layer("hidden").kernel.numpy()
        assert ((after == 0) == (np.eye(40, 20) > 0)).all()

    def test_kernels_that_are_left_alone_keep_their_zeros(
        self, source: Path, work_on: MakeWork, tmp_path: Path
    ) -> None:
        model = loaded(source)
        kernel = next(k for k in kernels_in(model) if k.layer == "hidden")
        gone = np.eye(40, 20) > 0
        set_kernel(model, kernel, np.where(gone, 0, kernel.values))
        work = work_on(saved(model, tmp_path / "few.keras"))
        made = prune(work, options(skip=("hidden",), learning_rate=1e-2))
        assert ((made["hidden"] == 0) == gone).all()
        assert not np.array_equal(made["hidden"], kernel.values)

    def test_half_a_weight_is_rounded_either_way(self) -> None:
        """The engine makes 53 of 175 zeros where 30 % are asked for."""
        from edgekit.techniques.prune._plan import Goal
        from edgekit.techniques.prune._promises import _measure

        def measure(zeros: int, count: int, share: float) -> str:
            values = np.where(np.arange(count) < zeros, 0.0, 1.0).astype(np.float32)
            kernel = Kernel("name", "Dense", "kernel", values)
            return _measure(Parameters(), kernel, Goal(0.0, share))

        for zeros in (52, 53):
            measure(zeros, 175, 0.3)
        measure(32, 64, 0.5)
        measure(63, 64, 0.999)
        for zeros, count, share in ((31, 64, 0.5), (33, 64, 0.5), (64, 64, 0.999), (51, 175, 0.3)):
            with pytest.raises(PromiseError):
                measure(zeros, count, share)


class TestStructured:
    def test_blocks(self, source: Path, work_on: MakeWork) -> None:
        work = work_on(source)
        made = prune(work, options(structure="block", block=(2, 4), sparsity=0.7))
        assert zero_blocks(made["hidden"], (2, 4)) == (70, 100)
        assert Note(
            "skipped", "Conv2D 'conv'", "blocks are of kernels with two axes, and this one has 4"
        ) in work.noted("skipped")
        assert "70.0 % of 100 blocks of 2 x 4" in work.noted("proven sparsity")[0].reason

    def test_block_as_wide_as_the_kernel_is_left_alone(
        self, source: Path, work_on: MakeWork
    ) -> None:
        with pytest.raises(UsageError) as caught:
            keras.check(
                options(structure="block", block=(1, 20)),
                artifact(source, "keras"),
                work_on(source),
            )
        assert "its shape 40 x 20 does not hold two blocks along each axis" in caught.value.message

    def test_two_of_four(self, source: Path, work_on: MakeWork) -> None:
        work = work_on(source)
        made = prune(work, Parameters(epochs=1, batch_size=16, structure="2:4"))
        for name in ("conv", "point", "hidden"):
            assert groups_of_four(made[name]).max() == 2
            assert zero_share(made[name]) == 0.5
        assert work.noted("ramp")[0].reason == "3 kernels pruned in the first step"

    def test_two_of_four_leaves_what_it_is_not_defined_for(self) -> None:
        from edgekit.frameworks.keras import import_keras
        from edgekit.techniques.prune._plan import make_plan

        layers = import_keras().layers
        inputs = layers.Input((8, 8, 2))
        x = layers.Conv2D(8, 3, name="narrow")(inputs)
        x = layers.Conv2DTranspose(8, 3, name="up")(x)
        x = layers.Conv2D(8, 3, name="wide")(x)
        plan = make_plan(Parameters(structure="2:4"), import_keras().Model(inputs, x))
        assert [kernel.layer for kernel in plan.kernels] == ["wide"]
        assert dict(plan.skipped) == {
            "Conv2D 'narrow'": "with 2 input channels no group has more than two weights",
            "Conv2DTranspose 'up'": "groups of four input channels are defined for Dense and "
            "Conv2D, not Conv2DTranspose",
        }


class TestSensitivity:
    def test_global_share_is_reached_and_choices_are_evidence(
        self, source: Path, work_on: MakeWork
    ) -> None:
        work = work_on(source)
        made = prune(
            work,
            options(epochs=1, allocation="sensitivity", sparsity=0.7, layer_sparsity={"conv": 0.2}),
        )
        zeros = sum(int((made[name] == 0).sum()) for name in ("point", "hidden"))
        assert abs(zeros - 0.7 * 880) <= 2
        assert int((made["conv"] == 0).sum()) == round(0.2 * 288)
        assert [note.item for note in work.noted("sensitivity scan")] == [
            "Conv2D 'point'",
            "Dense 'hidden'",
        ]
        for note in work.noted("sensitivity scan"):
            assert "weights chosen; loss with it alone pruned: " in note.reason

    def test_nothing_is_scanned_where_all_layers_have_a_share(
        self, source: Path, work_on: MakeWork
    ) -> None:
        from edgekit.techniques.prune._plan import make_plan
        from edgekit.techniques.prune._sensitivity import shares

        parameters = options(allocation="sensitivity", layer_sparsity={"*": 0.5})
        model = loaded(source)
        assert shares(parameters, model, make_plan(parameters, model), work_on(source)) == {}

    def test_the_users_own_loss_is_scanned(self, source: Path, work_on: MakeWork) -> None:
        from edgekit.techniques.prune._plan import make_plan
        from edgekit.techniques.prune._sensitivity import shares

        work, model = work_on(source), loaded(source)
        work.y = np.zeros((100, 7), np.float32)  # labels that no other loss takes
        work.hooks["loss"] = lambda true, predicted: true[:, 0]
        parameters = options(allocation="sensitivity")
        assert shares(parameters, model, make_plan(parameters, model), work)
        assert "; loss with it alone pruned: +0 at" in work.noted("sensitivity scan")[0].reason


class TestCheck:
    @pytest.mark.parametrize(
        ("settings", "message", "hint"),
        [
            ({"skip": ("hiden",)}, "skip: no layer matches 'hiden'", "'hidden'"),
            (
                {"layer_sparsity": {"pont": 0.5}},
                "layer_sparsity: no layer matches 'pont'",
                "'point'",
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

    def test_nothing_left_to_prune(self, source: Path, work_on: MakeWork) -> None:
        work = work_on(source)
        with pytest.raises(UsageError) as caught:
            keras.check(options(min_weights=10_000), work.source, work)
        assert caught.value.message.startswith(
            "prune: the model has no kernel to prune (Conv2D 'conv': its 288 weights are fewer"
        )

    def test_versions_name_the_engine(self) -> None:
        assert {"tensorflow-model-optimization", "tf-keras"} < set(keras.versions())


class TestVerify:
    """Each promise is broken by hand in the file that came out."""

    @pytest.fixture(scope="class")
    @classmethod
    def done(cls, source: Path, tmp_path_factory: pytest.TempPathFactory) -> FakeWork:
        x, y = make_data()
        folder = tmp_path_factory.mktemp("done")
        work = FakeWork(folder, artifact(source, "keras"), x=x, y=y, suffix=".keras")
        prune(work, options(epochs=1))
        return work

    def broken(self, work: FakeWork, layer: str, change: Callable[[Any], Any], path: Path) -> Any:
        model = loaded(work.output)
        kernel = next(k for k in kernels_in(model) if k.layer == layer)
        set_kernel(model, kernel, change(kernel.values))
        return artifact(saved(model, path), "keras")

    def test_too_few_zeros(self, done: FakeWork, tmp_path: Path) -> None:
        def fill(values: Any) -> Any:
            return np.where(np.arange(values.size).reshape(values.shape) % 10 == 0, 1, values)

        result = self.broken(done, "hidden", fill, tmp_path / "broken.keras")
        with pytest.raises(PromiseError) as caught:
            keras.verify(options(epochs=1), done.source, result, done)
        assert "Dense 'hidden' has 7" in caught.value.message
        assert "80.0 % of its 800 weights were asked for" in caught.value.message

    def test_too_many_zeros(self, done: FakeWork, tmp_path: Path) -> None:
        result = self.broken(done, "conv", np.zeros_like, tmp_path / "broken.keras")
        with pytest.raises(PromiseError, match=r"Conv2D 'conv' has 100\.0 % zeros"):
            keras.verify(options(epochs=1), done.source, result, done)

    def test_zeros_in_a_layer_that_was_left_alone(self, done: FakeWork, tmp_path: Path) -> None:
        result = self.broken(done, "out", np.zeros_like, tmp_path / "broken.keras")
        with pytest.raises(PromiseError) as caught:
            keras.verify(options(epochs=1), done.source, result, done)
        assert caught.value.message == (
            "prune: Dense 'out' was to be left alone, and its zeros rose from 0.0 % to 100.0 %"
        )

    def test_lost_zeros_of_a_kernel_that_was_left_alone(
        self, done: FakeWork, tmp_path: Path
    ) -> None:
        from edgekit.techniques.prune._plan import make_plan
        from edgekit.techniques.prune._promises import prove_others

        before = loaded(done.output)
        plan = make_plan(options(skip=("hidden",)), before)
        with pytest.raises(PromiseError, match=r"640 of 640 zeros of Dense 'hidden' are lost"):
            kernel = next(k for k in kernels_in(before) if k.layer == "hidden")
            after = loaded(done.output)
            set_kernel(after, kernel, np.ones_like(kernel.values))
            prove_others(before, plan, after)

    def test_a_layer_is_missing(self, done: FakeWork, tmp_path: Path) -> None:
        from edgekit.frameworks.keras import import_keras

        library = import_keras()
        inputs = library.Input((3,))
        other = library.Model(inputs, library.layers.Dense(2)(inputs))
        result = artifact(saved(other, tmp_path / "other.keras"), "keras")
        with pytest.raises(PromiseError, match="Conv2D 'conv' is not in the result as it was"):
            keras.verify(options(epochs=1), done.source, result, done)

    def test_a_group_of_four_is_full(self, done: FakeWork, tmp_path: Path) -> None:
        result = self.broken(done, "conv", np.ones_like, tmp_path / "broken.keras")
        with pytest.raises(PromiseError) as caught:
            keras.verify(Parameters(structure="2:4"), done.source, result, done)
        assert caught.value.message == (
            "prune: 72 of 72 groups of four input channels of Conv2D 'conv' have fewer than two "
            "zeros"
        )

    def test_blocks_are_counted_not_weights(self, done: FakeWork) -> None:
        """80 % of single weights are not 80 % of blocks."""
        parameters = options(epochs=1, structure="block", block=(2, 4))
        result = artifact(done.output, "keras")
        with pytest.raises(PromiseError, match="of its 100 blocks of 2 x 4 were asked for"):
            keras.verify(parameters, done.source, result, done)

    def test_the_engine_doing_nothing_is_found(
        self, source: Path, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As with the engine's own frequency of 100 and a short training."""
        from edgekit.techniques.prune._engine import Ramp

        monkeypatch.setattr(keras, "ramp_over", lambda *_: Ramp(100, 200, 100))
        monkeypatch.setattr(Ramp, "first_full_epoch", lambda *_: 1)
        with pytest.raises(PromiseError, match=r"has 0\.0 % zeros after training"):
            prune(work_on(source), options(epochs=1))
