"""quantize-aware-train: the trained integers are in the file, with their zeros and clusters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_work import FakeWork, artifact

from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.tflite import read_model
from edgekit.techniques.quantize_aware_train import Parameters

pytestmark = pytest.mark.tensorflow

KERNELS = {"conv": "kernel", "depthwise": "kernel", "pointwise": "kernel", "dense": "kernel"}


def data() -> tuple[Any, Any]:
    """Four classes of noisy colours."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 80)
    x = rng.normal(size=(80, 6, 6, 3)) * 0.3 + np.eye(4)[y][:, None, None, :3]
    return x.astype(np.float32), y


def small_net() -> Any:
    """A convolution and a depthwise one with BatchNorm and ReLU6, a 1x1 convolution, a Dense."""
    from edgekit.frameworks.keras import import_keras

    keras = import_keras()
    keras.utils.set_random_seed(3)
    layers = keras.layers
    image = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(image)
    x = layers.ReLU(6.0, name="conv_relu")(layers.BatchNormalization(name="conv_norm")(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.ReLU(6.0, name="deep_relu")(layers.BatchNormalization(name="deep_norm")(x))
    x = layers.Conv2D(8, 1, activation="relu", name="pointwise")(x)
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(2, name="pool")(x))
    made = layers.Dense(4, activation="softmax", name="dense")(x)
    model = keras.Model(image, made, name="small")
    # One scale of a BatchNorm is negative: it turns the sign of a channel's integers.
    gamma = model.get_layer("conv_norm").gamma
    gamma.assign(np.linspace(-1, 2, 8).astype(np.float32))
    return model


def prune(model: Any) -> None:
    for name in KERNELS:
        kernel = model.get_layer(name).kernel
        values = kernel.numpy()
        kernel.assign(np.where(np.abs(values) < np.quantile(np.abs(values), 0.5), 0, values))


def cluster(model: Any) -> None:
    for name in KERNELS:
        kernel = model.get_layer(name).kernel
        values = kernel.numpy()
        centroids = np.quantile(values[values != 0], [0.1, 0.35, 0.65, 0.9])
        nearest = centroids[np.abs(values[..., None] - centroids).argmin(axis=-1)]
        kernel.assign(np.where(values == 0, 0, nearest))


def saved(model: Any, folder: Path, **settings: Any) -> FakeWork:
    """A Work on a model in memory."""
    from edgekit.frameworks.keras import save_keras

    folder.mkdir(parents=True, exist_ok=True)
    save_keras(model, folder / "model.keras")
    x, y = data()
    return FakeWork(folder, artifact(folder / "model.keras", "keras"), x=x, y=y, **settings)


def trained(work: FakeWork, **options: Any) -> Parameters:
    """Checks and applies; the result is in work.output."""
    from edgekit.techniques.quantize_aware_train import keras as technique

    settings: dict[str, Any] = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, **options}
    parameters = Parameters(**settings)
    technique.check(parameters, work.source, work)
    technique.apply(parameters, work.source, work)
    return parameters


def proven(work: FakeWork, parameters: Parameters) -> None:
    from edgekit.techniques.quantize_aware_train import keras as technique

    technique.verify(parameters, work.source, artifact(work.output), work)


def in_file(work: FakeWork) -> dict[str, Any]:
    """The int8 kernels of a file by layer name."""
    model = read_model(work.output)
    return {
        name: np.frombuffer(model.buffer(tensor.buffer), np.int8).reshape(tensor.shape)
        for tensor in model.subgraphs[0].tensors
        for name in KERNELS
        if tensor.dtype == "int8" and tensor.is_constant and f"/{name}/" in f"/{tensor.name}/"
    }


CASES: dict[str, tuple[Callable[[Any], None], ...]] = {
    "QAT": (),
    "PQAT": (prune,),
    "CQAT": (cluster,),
    "PCQAT": (prune, cluster),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[FakeWork, Parameters]]:
    """Each scheme trained and proven once; the two with clusters with one scale a kernel."""
    made = {}
    for scheme, changes in CASES.items():
        model = small_net()
        for change in changes:
            change(model)
        work = saved(model, tmp_path_factory.mktemp(scheme))
        parameters = trained(work, per_channel=scheme in ("QAT", "PQAT"))
        proven(work, parameters)
        made[scheme] = work, parameters
    return made


class TestSchemes:
    @pytest.mark.parametrize("scheme", CASES)
    def test_it_is_chosen_by_the_values_of_the_kernels(self, done: Any, scheme: str) -> None:
        work, _ = done[scheme]
        notes = work.noted(f"trained by {scheme}")
        assert [note.item for note in notes] == ["conv, depthwise, pointwise, dense"]

    @pytest.mark.parametrize("scheme", CASES)
    def test_the_file_has_the_trained_integers(self, done: Any, scheme: str) -> None:
        work, _ = done[scheme]
        (note,) = work.noted("proven as trained")
        assert note.item == "4 kernels, 640 weights"
        assert work.noted("all integer")
        (note,) = work.noted("proven ranges")
        assert note.item == "5 of 5 trained ranges of activations are in the file"

    def test_zeros_stay_zero_and_there_are_no_others(self, done: Any) -> None:
        for scheme in ("PQAT", "PCQAT"):
            kernels = in_file(done[scheme][0])
            assert sorted(kernels) == sorted(KERNELS)
            for name, values in kernels.items():
                assert np.mean(values == 0) == pytest.approx(0.5, abs=0.1), name
                assert np.count_nonzero(values), name

    def test_clusters_stay_within_one_scale(self, done: Any) -> None:
        for scheme, most in (("CQAT", 4), ("PCQAT", 5)):
            for name, values in in_file(done[scheme][0]).items():
                # A negative BatchNorm scale turns signs, which does not make more magnitudes.
                assert len(np.unique(np.abs(values))) <= most, name
                if name != "conv":
                    assert len(np.unique(values)) <= most, name

    def test_the_signature_is_that_of_the_model(self, done: Any) -> None:
        work, _ = done["QAT"]
        before = work.describe(work.source).signature
        after = work.describe(artifact(work.output)).signature
        assert [spec.name for spec in after.inputs] == [spec.name for spec in before.inputs]
        assert [spec.name for spec in after.outputs] == [spec.name for spec in before.outputs]
        assert {spec.dtype for spec in (*after.inputs, *after.outputs)} == {"int8"}
        assert after.inputs[0].shape == (1, 6, 6, 3)

    def test_the_same_seed_gives_the_same_bytes(self, done: Any, tmp_path: Path) -> None:
        work, _ = done["QAT"]
        again = saved(small_net(), tmp_path)
        trained(again)
        assert again.output.read_bytes() == work.output.read_bytes()

    def test_the_model_in_tf_keras_is_proven_equal(self, done: Any) -> None:
        (note,) = done["QAT"][0].noted("proven equal")
        assert (note.item, note.is_evidence) == ("the model in tf_keras, where it is trained", True)
        assert note.reason.startswith("outputs on 8 inputs differ by at most ")

    def test_the_engines_own_scheme_destroys_a_1x1_kernel(self) -> None:
        """tensorflow/model-optimization#979: when this fails, the engine has been repaired."""
        from edgekit.frameworks.keras import import_tf_keras, quiet
        from edgekit.techniques.quantize_aware_train._quantizers import module

        keras = import_tf_keras()
        image = keras.Input((4, 4, 2))
        model = keras.Model(image, keras.layers.Conv2D(3, 1, name="pointwise")(image))
        kernel = np.array([[0.0, 0.5, 0.25], [0.5, 0.25, 0.5]], np.float32).reshape(1, 1, 2, 3)
        model.layers[1].kernel.assign(kernel)
        path = "collab_opts.cluster_preserve.default_8bit_cluster_preserve_quantize_scheme"
        quantize = module("quantize")
        with quiet():
            scheme = module(path).Default8BitClusterPreserveQuantizeScheme(True)
            made = quantize.quantize_apply(quantize.quantize_annotate_model(model), scheme)
            made(np.ones((1, 4, 4, 2), np.float32), training=True)
        (values,) = [w.numpy() for w in made.weights if w.name.endswith("pointwise/kernel:0")]
        assert np.count_nonzero(values == 0) > np.count_nonzero(kernel == 0)


class TestPromises:
    """Each check fails on a file that is not what was promised."""

    @pytest.fixture
    def broken(self, done: Any, tmp_path: Path) -> Callable[..., FakeWork]:
        """A copy of a finished work, whose file or record a test spoils."""
        import shutil

        def make(scheme: str = "PCQAT") -> FakeWork:
            work, parameters = done[scheme]
            shutil.copytree(work.folder, tmp_path / "copy")
            copy = saved(small_net(), tmp_path / "copy")
            (tmp_path / "copy" / "model.keras").write_bytes(work.source.path.read_bytes())
            self.parameters = parameters
            return copy

        return make

    def refusal(self, work: FakeWork, **changes: Any) -> str:
        from dataclasses import replace

        with pytest.raises(PromiseError) as caught:
            proven(work, replace(self.parameters, **changes))
        return caught.value.message

    def spoil_record(self, work: FakeWork, **changes: Callable[[Any], Any]) -> None:
        path = work.folder / "trained.npz"
        with np.load(path) as file:
            held = dict(file)
        for key, change in changes.items():
            held[key] = change(held[key])
        np.savez(path, **held)

    def spoil_kernel(self, work: FakeWork, name: str, change: Callable[[Any], None]) -> None:
        """Changes a kernel in the file, and the record with it."""
        content, model = bytearray(work.output.read_bytes()), read_model(work.output)
        (tensor,) = [
            t
            for t in model.subgraphs[0].tensors
            if t.dtype == "int8" and t.is_constant and f"/{name}/" in f"/{t.name}/"
        ]
        start, end = model.buffers[tensor.buffer]
        values = np.frombuffer(content[start:end], np.int8).copy()
        change(values)
        content[start:end] = values.tobytes()
        work.output.write_bytes(bytes(content))
        if name == "dense":
            rows = values.reshape(tensor.shape).T.astype(np.float64)
            self.spoil_record(work, values3=lambda old: rows)

    def test_other_integers(self, broken: Any) -> None:
        work = broken()

        def change(values: Any) -> None:
            values[0] += 2

        self.spoil_kernel(work, "pointwise", change)
        found = "the integers of Conv2D 'pointwise' in the file are not the trained ones"
        assert found in self.refusal(work)

    def test_a_zero_that_came_alive(self, broken: Any) -> None:
        work = broken()

        def change(values: Any) -> None:
            values[np.flatnonzero(values == 0)[0]] = 1

        self.spoil_kernel(work, "dense", change)
        assert "Dense 'dense': 1 of 144 zeros are no longer zero" in self.refusal(work)

    def test_one_more_cluster(self, broken: Any) -> None:
        work = broken("CQAT")

        def change(values: Any) -> None:
            values[0] = 5 if 5 not in values else 6

        self.spoil_kernel(work, "dense", change)
        found = "Dense 'dense': 4 different weights became 5 different integers"
        assert found in self.refusal(work)

    def test_an_activation_with_another_scale(self, broken: Any) -> None:
        import struct

        work = broken()
        graph = read_model(work.output).subgraphs[0]
        (pool,) = [op for op in graph.operations if op.kind == "MAX_POOL_2D"]
        quantization = graph.tensors[pool.inputs[0]].quantization
        assert quantization is not None
        old, new = (struct.pack("<f", quantization.scales[0] * by) for by in (1, 1.001))
        assert old in work.output.read_bytes()
        work.output.write_bytes(work.output.read_bytes().replace(old, new))
        found = "the scale of 3 activations in the file is no trained one: 'small/pointwise/"
        assert found in self.refusal(work)

    def test_outputs_of_other_probes(self, broken: Any) -> None:
        work = broken()
        self.spoil_record(work, outputs0=lambda values: np.roll(values, 1, axis=0))
        found = self.refusal(work)
        assert "output 'dense' of the file differs by " in found
        assert "in the mean from the trained model, whose values vary by " in found

    def test_outputs_far_from_the_trained_model(self, broken: Any) -> None:
        work = broken()
        self.spoil_record(work, outputs0=lambda values: values[:, ::-1] + 0.5)
        assert "output 'dense' of the file differs by 0.5" in self.refusal(work)

    def test_float_inputs_where_integers_are_promised(self, broken: Any, tmp_path: Path) -> None:
        work = broken()
        assert "input 'image' is int8, not float32" in self.refusal(work, io="float")

    def test_a_float_file(self, broken: Any) -> None:
        from edgekit.frameworks.keras import concrete_function, load_model
        from edgekit.frameworks.tflite_converter import convert

        work = broken()
        work.output.write_bytes(convert(*concrete_function(load_model(work.source.path), 1)))
        message = self.refusal(work)
        assert "ops of quantized layers stay float: CONV_2D '" in message
        message = self.refusal(work, allow_float=True)
        assert "input 'image' is float32, not int8" in message
        assert work.noted("left in float")

    def test_another_number_of_outputs(self, broken: Any, monkeypatch: Any) -> None:
        from dataclasses import replace

        work, describe = broken(), FakeWork.describe

        def without_outputs(self: FakeWork, given: Any) -> Any:
            found = describe(self, given)
            if given.format == "keras":
                return found
            return replace(found, signature=replace(found.signature, outputs=()))

        monkeypatch.setattr(FakeWork, "describe", without_outputs)
        assert "the file has 0 outputs, and the model 1" in self.refusal(work)

    def test_weights_that_did_not_get_smaller(self, broken: Any, monkeypatch: Any) -> None:
        from dataclasses import replace

        work, describe = broken(), FakeWork.describe

        def tiny(self: FakeWork, given: Any) -> Any:
            return replace(describe(self, given), parameters=10)

        monkeypatch.setattr(FakeWork, "describe", tiny)
        assert "the weights did not get smaller: 40 -> " in self.refusal(work)


class TestLayers:
    """Nets with what has no 8-bit form, or another way to it."""

    def net(self, middle: Callable[[Any, Any], Any]) -> Any:
        from edgekit.frameworks.keras import import_keras

        keras = import_keras()
        keras.utils.set_random_seed(0)
        image = keras.Input((6, 6, 3), name="image")
        x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(image)
        x = middle(keras.layers, x)
        x = keras.layers.Dense(12, name="wide")(keras.layers.Flatten(name="flatten")(x))
        x = keras.layers.ReLU(name="wide_relu")(keras.layers.BatchNormalization(name="norm")(x))
        return keras.Model(image, keras.layers.Dense(4, activation="softmax", name="last")(x))

    def test_a_residual_net_is_all_integer(self, tmp_path: Path) -> None:
        def middle(layers: Any, x: Any) -> Any:
            y = layers.Conv2D(6, 3, padding="same", name="second")(x)
            y = layers.Add(name="add")([x, layers.BatchNormalization(name="n2")(y)])
            y = layers.Activation("relu", name="relu")(y)
            z = layers.Conv2D(4, 1, activation="tanh", name="third")(x)
            z = layers.Conv2D(4, 1, activation="silu", name="fourth")(z)
            return layers.AveragePooling2D(2, name="a")(layers.Concatenate(name="cat")([y, z]))

        work = saved(self.net(middle), tmp_path)
        proven(work, trained(work, io="float"))
        assert [note.item for note in work.noted("folded")] == ["Dense 'wide'"]
        (note,) = work.noted("all integer")
        assert note.reason.endswith("QUANTIZE and DEQUANTIZE at the edges aside")

    def test_skipped_layers_are_float_in_the_file(self, tmp_path: Path) -> None:
        def middle(layers: Any, x: Any) -> Any:
            x = layers.Conv2D(6, 3, use_bias=False, name="second")(x)
            x = layers.BatchNormalization(name="second_norm")(x)
            return layers.LayerNormalization(name="odd")(layers.ReLU(name="relu")(x))

        work = saved(self.net(middle), tmp_path)
        with pytest.raises(UsageError) as caught:
            trained(work, skip=("second",))
        assert caught.value.message == (
            "quantize-aware-train cannot quantize LayerNormalization 'odd': there is no 8-bit form "
            "of a LayerNormalization layer"
        )
        proven(work, trained(work, skip=("second",), allow_float=True))
        assert [note.item for note in work.noted("skipped")] == [
            "Conv2D 'second'",
            "BatchNormalization 'second_norm'",
        ]
        assert [note.item for note in work.noted("left in float")] == ["LayerNormalization 'odd'"]
        ops = work.describe(artifact(work.output)).ops
        convs = [any("float" in d for d in op.dtypes) for op in ops if op.kind == "CONV_2D"]
        assert convs == [False, True]


def dense_net(*, norm: bool) -> Any:
    """A clustered Dense layer in front of a BatchNormalization, or not."""
    from edgekit.frameworks.keras import import_keras

    keras = import_keras()
    keras.utils.set_random_seed(5)
    layers = keras.layers
    image = keras.Input((6, 6, 3), name="image")
    x = layers.Dense(8, name="wide")(layers.Flatten(name="flatten")(image))
    if norm:
        x = layers.BatchNormalization(name="norm")(x)
    made = layers.Dense(4, activation="softmax", name="last")(layers.ReLU(name="relu")(x))
    model = keras.Model(image, made)
    kernel = model.get_layer("wide").kernel
    kernel.assign(np.where(kernel.numpy() < 0, -0.125, 0.25))
    if norm:
        model.get_layer("norm").gamma.assign(np.linspace(0.5, 2, 8))
    return model


class TestFolding:
    def test_clusters_that_a_normalization_ends_are_noted_and_not_claimed(
        self, tmp_path: Path
    ) -> None:
        work = saved(dense_net(norm=True), tmp_path)
        proven(work, trained(work))
        (note,) = work.noted("clusters lost")
        assert note.item == "Dense 'wide'"
        assert note.reason == (
            "the BatchNormalization behind it is folded into it, which made 16 different weights "
            "of 2: put fold-batchnorm before cluster"
        )
        assert not work.noted("kept (CQAT)")
        assert not work.noted("trained by CQAT")
        assert [note.item for note in work.noted("trained by QAT")] == ["wide, last"]

    def test_clusters_without_a_normalization_stay(self, tmp_path: Path) -> None:
        work = saved(dense_net(norm=False), tmp_path)
        proven(work, trained(work))
        assert not work.noted("clusters lost")
        assert [note.item for note in work.noted("kept (CQAT)")] == ["Dense 'wide'"]


def test_interrupted_and_resumed_is_the_same(
    tmp_path: Path, interrupted: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be converted is compared, ranges included: the converter takes seconds."""
    from edgekit.techniques.quantize_aware_train import keras as technique

    def weights(parameters: Any, model: Any, signature: Any) -> bytes:
        return b"".join(value.tobytes() for value in model.get_weights())

    monkeypatch.setattr(technique, "_converted", weights)
    monkeypatch.setattr(technique, "parse", lambda *_, **__: None)
    monkeypatch.setattr(technique, "refuse_float", lambda *_: None)
    model = dense_net(norm=False)
    whole, cut = (saved(model, tmp_path / name) for name in ("whole", "cut"))
    trained(whole, epochs=2)
    interrupted(cut, lambda: trained(cut, epochs=2), epochs=1)
    trained(cut, epochs=2)
    (note,) = cut.noted("resumed")
    assert note.item == "quantize-aware-train: after epoch 1"
    assert cut.output.read_bytes() == whole.output.read_bytes()


class TestBeforeTraining:
    """What the converter cannot do is said before the first epoch."""

    @pytest.fixture
    def work(self, tmp_path: Path, monkeypatch: Any) -> FakeWork:
        from edgekit.frameworks import training

        def never(*args: Any, **options: Any) -> None:
            raise AssertionError("it is training")

        monkeypatch.setattr(training, "train_in", never)
        return saved(dense_net(norm=False), tmp_path)

    def test_a_converter_that_fails(self, work: FakeWork, monkeypatch: Any) -> None:
        from edgekit.techniques.quantize_aware_train import keras as technique

        def convert(function: Any, module: Any, *, trained: str) -> bytes:
            raise PromiseError("TFLiteConverter failed: because")

        monkeypatch.setattr(technique, "convert", convert)
        with pytest.raises(PromiseError, match="because"):
            trained(work)

    def test_ops_that_stay_float(self, work: FakeWork, monkeypatch: Any) -> None:
        from edgekit.frameworks.keras import concrete_function, load_model
        from edgekit.frameworks.tflite_converter import convert
        from edgekit.techniques.quantize_aware_train import keras as technique

        made = convert(*concrete_function(load_model(work.source.path), 1))
        monkeypatch.setattr(technique, "convert", lambda *given, trained: made)
        with pytest.raises(PromiseError) as caught:
            trained(work)
        assert "ops of quantized layers stay float: " in caught.value.message
        assert "FULLY_CONNECTED '" in caught.value.message

    @pytest.mark.usefixtures("carried_wrongly")
    def test_another_model_than_the_source(self, tmp_path: Path) -> None:
        with pytest.raises(PromiseError, match="the model that was carried over differs by"):
            trained(saved(dense_net(norm=False), tmp_path))


class TestRefusals:
    @pytest.fixture
    def work(self, tmp_path: Path) -> FakeWork:
        return saved(small_net(), tmp_path)

    def refusal(self, work: FakeWork, **options: Any) -> tuple[str, str]:
        with pytest.raises(UsageError) as caught:
            trained(work, **options)
        return caught.value.message, caught.value.hint

    def test_a_skip_that_matches_nothing(self, work: FakeWork) -> None:
        message, hint = self.refusal(work, skip=("dens",))
        assert message == "skip: no layer matches 'dens'"
        assert "'dense'" in hint

    def test_nothing_left_to_quantize(self, work: FakeWork) -> None:
        message, _ = self.refusal(work, skip=("*",))
        assert message == "quantize-aware-train finds no layer to quantize"

    def test_an_open_input(self, tmp_path: Path) -> None:
        from edgekit.frameworks.keras import import_keras

        keras = import_keras()
        image = keras.Input((None, None, 3), name="image")
        work = saved(keras.Model(image, keras.layers.Conv2D(2, 1, name="conv")(image)), tmp_path)
        message, _ = self.refusal(work)
        assert message.startswith("input 'image' of the model is float32 of the shape (None, None")
