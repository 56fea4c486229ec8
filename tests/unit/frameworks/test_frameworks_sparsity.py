"""Zeros, distinct values and groups of arrays; which layers of a model have a kernel to treat."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import UsageError
from edgekit.frameworks.sparsity import (
    check_patterns,
    distinct_values,
    groups_of_four,
    kernels,
    layers_in,
    lost_zeros,
    matching,
    pruned,
    set_kernel,
    untreated,
    zero_blocks,
    zero_share,
)


class TestArrays:
    def test_zero_share_counts_exact_zeros_of_both_signs(self) -> None:
        assert zero_share(np.array([0.0, -0.0, 1e-30, 2.0])) == 0.5

    def test_empty_has_none(self) -> None:
        assert zero_share(np.zeros((0, 3))) == 0.0

    def test_zero_and_minus_zero_are_one_value(self) -> None:
        assert distinct_values(np.array([[0.0, -0.0], [1.0, 1.0]])) == 2

    @given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4))
    def test_blocks_agree_with_slicing(
        self, rows: int, columns: int, height: int, width: int
    ) -> None:
        array = np.random.default_rng(rows * 10 + columns).integers(0, 2, (rows, columns))
        blocks = list(_blocks(array, height, width))
        assert zero_blocks(array, (height, width)) == (
            sum(not block.any() for block in blocks),
            len(blocks),
        )

    def test_groups_run_along_the_input_channels(self) -> None:
        kernel = np.zeros((1, 1, 6, 2))
        kernel[0, 0, :3, 0] = 1
        kernel[0, 0, 4:, 1] = 1
        assert groups_of_four(kernel).reshape(2, 2).tolist() == [[3, 0], [0, 2]]


def _blocks(array: Any, height: int, width: int) -> Iterator[Any]:
    for row in range(0, array.shape[0], height):
        for column in range(0, array.shape[1], width):
            yield array[row : row + height, column : column + width]


class TestPatterns:
    def test_first_match(self) -> None:
        assert matching("conv_1", ("dense*", "conv*", "*")) == "conv*"
        assert matching("conv_1", ("dense*",)) is None

    def test_pattern_without_a_layer_names_the_nearest(self) -> None:
        with pytest.raises(UsageError) as caught:
            check_patterns("skip", ("conv_2",), ("conv_1", "dense"))
        assert caught.value.message == "skip: no layer matches 'conv_2'"
        assert "'conv_1'" in caught.value.hint

    def test_pattern_with_a_layer_is_fine(self) -> None:
        check_patterns("skip", ("conv*", "?ense"), ("conv_1", "dense"))


class TestLayers:
    """On stand-ins: a layer is its class name, its name and its weights."""

    def test_nested_models_are_looked_into(self) -> None:
        inner = SimpleNamespace(layers=["b", "c"], inputs=[])
        assert list(layers_in(SimpleNamespace(layers=["a", inner]))) == ["a", "b", "c"]


@pytest.fixture(scope="module")
def model() -> Any:
    from edgekit.frameworks.keras import import_keras

    layers = import_keras().layers
    inputs = layers.Input((6, 6, 2))
    x = layers.Conv2D(3, 3, name="conv")(inputs)
    x = layers.DepthwiseConv2D(3, name="dw")(x)
    x = layers.SeparableConv2D(4, 1, name="separable")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Reshape((4, 4))(x)
    x = layers.LSTM(3, name="lstm")(x)
    return import_keras().Model(inputs, layers.Dense(2, name="out")(x))


@pytest.mark.tensorflow
class TestModel:
    def test_kernels_in_the_order_of_the_model(self, model: Any) -> None:
        found = kernels(model)
        assert [(k.item, k.weight, k.values.shape) for k in found] == [
            ("Conv2D 'conv'", "kernel", (3, 3, 2, 3)),
            ("SeparableConv2D 'separable'", "pointwise_kernel", (1, 1, 3, 4)),
            ("Dense 'out'", "kernel", (3, 2)),
        ]
        assert [k.size for k in found] == [54, 12, 6]

    @pytest.mark.parametrize(("zeros", "count"), [(0, 0), (1, 0), (2, 1), (53, 1), (54, 0)])
    def test_two_zeros_are_a_pruned_kernel_and_all_are_an_untrained_one(
        self, zeros: int, count: int
    ) -> None:
        from edgekit.frameworks.keras import import_keras

        layers = import_keras().layers
        inputs = layers.Input((9,))
        net = import_keras().Model(inputs, layers.Dense(6, name="dense")(inputs))
        values = np.where(np.arange(54) < zeros, 0, 1).reshape(9, 6)
        net.get_layer("dense").kernel.assign(values)
        assert [(k.layer, k.zeros) for k in pruned(net)] == [("dense", zeros)] * count

    def test_zeros_of_a_layer_that_is_gone_are_lost(self, model: Any) -> None:
        from edgekit.frameworks.keras import import_keras

        inputs = import_keras().layers.Input((2,))
        other = import_keras().Model(inputs, import_keras().layers.Dense(2, name="x")(inputs))
        said = lost_zeros(kernels(model), other)
        assert said == "Conv2D 'conv' is not in the result as it was"

    def test_others_with_a_kernel_have_a_reason(self, model: Any) -> None:
        assert [layer.item for layer in untreated(model)] == [
            "DepthwiseConv2D 'dw'",
            "LSTM 'lstm'",
        ]
        assert all(layer.reason for layer in untreated(model))

    def test_unknown_kinds_are_named(self) -> None:
        from edgekit.frameworks.keras import import_keras

        layers = import_keras().layers
        inputs = layers.Input((4, 4))
        outputs = layers.EinsumDense("abc,cd->abd", (None, 3), name="e")(inputs)
        (layer,) = untreated(import_keras().Model(inputs, outputs))
        assert layer.reason == "tensorflow-model-optimization has no rule for an EinsumDense layer"

    def test_set_kernel_changes_that_one(self, model: Any) -> None:
        before = kernels(model)
        set_kernel(model, before[2], np.ones((3, 2), np.float32))
        after = kernels(model)
        assert (after[2].values == 1).all()
        assert not (before[2].values == 1).any()
        assert (after[0].values == before[0].values).all()
