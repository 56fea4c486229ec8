"""Models made again with changed layers: graphs, weights, names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.frameworks.keras import import_keras
from edgekit.frameworks.rebuild import rebuild

pytestmark = pytest.mark.tensorflow

X = np.random.default_rng(0).normal(size=(2, 6, 6, 2)).astype(np.float32)


def two_inputs() -> Any:
    """Dict inputs and outputs, a shared layer, a nested model whose names are taken, bare ops."""
    keras = import_keras()
    layers = keras.layers
    a, b = keras.Input((6, 6, 2), name="a"), keras.Input((6, 6, 2), name="b")
    shared = layers.Conv2D(3, 3, name="conv")
    inner = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(3, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
        ],
        name="base",
    )
    added = layers.Add(name="sum")([shared(a), shared(b)])
    y = added * 2.0 + inner(a, training=False)
    return keras.Model({"a": a, "b": b}, {"y": y, "z": added}, name="two")


def call(model: Any) -> dict[str, Any]:
    return {key: np.asarray(v) for key, v in model({"a": X, "b": X[::-1]}).items()}


class TestRebuild:
    def test_same_outputs_names_and_structure(self) -> None:
        model = two_inputs()
        made = rebuild(model, {})
        before, after = call(model), call(made)
        assert set(before) == set(after)
        assert all(np.array_equal(before[key], after[key]) for key in before)
        names = [layer.name for layer in made.layers if layer.weights]
        assert sorted(names) == ["base_conv", "conv", "norm"]
        assert made.name == "two"

    def test_the_given_model_is_left_alone(self) -> None:
        model = two_inputs()
        made = rebuild(model, {})
        made.get_layer("conv").set_weights([w * 0 for w in made.get_layer("conv").get_weights()])
        assert np.any(model.get_layer("conv").get_weights()[0])

    def test_frozen_layers_stay_frozen(self) -> None:
        model = two_inputs()
        model.get_layer("base").trainable = False
        made = rebuild(model, {})
        frozen = {layer.name for layer in made.layers if layer.weights and not layer.trainable}
        assert frozen == {"base_conv", "norm"}

    def test_none_drops_a_layer(self) -> None:
        made = rebuild(two_inputs(), {"norm": None})
        assert "norm" not in {layer.name for layer in made.layers}

    def test_changed_config_and_fresh_weights(self) -> None:
        keras = import_keras()
        model = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(3, name="one"),
                keras.layers.Dense(2, name="two"),
            ]
        )
        config = {**model.get_layer("two").get_config(), "units": 5}
        made = rebuild(model, {"two": config})
        assert made.output.shape == (None, 5)
        assert np.array_equal(*(m.get_layer("one").get_weights()[0] for m in (model, made)))

    def test_normalization_keeps_what_it_learned(self) -> None:
        keras = import_keras()
        norm = keras.layers.Normalization()
        norm.adapt(np.arange(12, dtype=np.float32).reshape(4, 3))
        model = keras.Sequential([keras.Input((3,)), norm])
        x = np.ones((2, 3), np.float32)
        assert np.array_equal(model(x), rebuild(model, {})(x))

    def test_input_layers_take_another_shape(self) -> None:
        keras = import_keras()
        model = keras.Sequential([keras.Input((4,), name="in"), keras.layers.ReLU()])
        assert rebuild(model, {"in": {"batch_shape": (1, 4)}}).input.shape == (1, 4)


class TestErrors:
    def test_unknown_layer(self) -> None:
        with pytest.raises(ValueError, match="the model has no layer nowhere"):
            rebuild(two_inputs(), {"nowhere": None})

    def test_dropping_a_layer_with_several_inputs(self) -> None:
        with pytest.raises(ValueError, match="'sum' cannot be dropped: it has several inputs"):
            rebuild(two_inputs(), {"sum": None})

    def test_a_model_without_a_graph(self) -> None:
        keras = import_keras()
        with pytest.raises(ValueError, match="has no graph: it is subclassed, or not built"):
            rebuild(keras.Sequential([keras.layers.Dense(2)], name="open"), {})
