"""Options, and where centroids begin: no TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.schema import build
from edgekit.errors import UsageError
from edgekit.techniques.cluster import Initialisation, Parameters
from edgekit.techniques.cluster._centroids import centroids, kmeans

INITS: tuple[Initialisation, ...] = ("kmeans++", "linear", "density", "random")


class TestParameters:
    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"clusters": 1}, "clusters must be from 2 to 256, not 1"),
            ({"clusters": 257}, "clusters must be from 2 to 256, not 257"),
            ({"layer_clusters": {"a": 1}}, "layer_clusters of 'a' must be 2 to 256, not 1"),
            ({"epochs": 0}, "epochs must be at least 1, not 0"),
            ({"min_weights": 0}, "min_weights must be at least 1, not 0"),
            ({"skip": [""]}, "skip and layer_clusters must not have an empty name"),
            (
                {"precision": "mixed-bfloat16"},
                "precision mixed-bfloat16 is not for cluster: its engine, "
                "tensorflow-model-optimization, trains in float32",
            ),
        ],
    )
    def test_out_of_range(self, table: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError) as caught:
            build(Parameters, table, where="recipe.toml: cluster")
        assert caught.value.message == f"recipe.toml: cluster: {message}"

    def test_numbers_of_layers_are_whole(self) -> None:
        with pytest.raises(UsageError, match="must be a whole number"):
            build(Parameters, {"layer-clusters": {"a": 2.5}}, where="here")
        made = build(Parameters, {"layer-clusters": {"a": 4}}, where="here")
        assert made.layer_clusters == {"a": 4}


class TestCentroids:
    @pytest.mark.parametrize("init", INITS)
    @given(count=st.integers(2, 20), size=st.integers(1, 80), keep_zero=st.booleans())
    def test_as_many_as_asked_and_within_the_weights(
        self, init: Initialisation, count: int, size: int, keep_zero: bool
    ) -> None:
        values = np.random.default_rng(size).normal(size=size).astype(np.float32)
        values[: size // 3] = 0
        found = centroids(values, count, init=init, keep_zero=keep_zero, seed=5)
        assert (found.shape, found.dtype) == ((count,), np.float32)
        assert (np.diff(found) >= 0).all()
        assert min(values.min(), 0) - 1e-6 <= found[0] <= found[-1] <= max(values.max(), 0) + 1e-6
        assert not keep_zero or (found == 0).any()

    @pytest.mark.parametrize("init", INITS)
    def test_few_different_values_are_their_own_centroids(self, init: Initialisation) -> None:
        values = np.array([[0, 0, 1.5], [-2, 1.5, 0]], np.float32)
        found = centroids(values, 6, init=init, keep_zero=True, seed=0)
        assert set(found.tolist()) == {-2, 0, 1.5}

    def test_zeros_alone(self) -> None:
        found = centroids(np.zeros((3, 3)), 4, init="kmeans++", keep_zero=True, seed=0)
        assert found.tolist() == [0, 0, 0, 0]

    @pytest.mark.parametrize("init", INITS)
    def test_the_seed_decides(self, init: Initialisation) -> None:
        values = np.random.default_rng(0).normal(size=500)

        def made(seed: int) -> list[float]:
            return centroids(values, 8, init=init, keep_zero=False, seed=seed).tolist()

        assert made(1) == made(1)
        assert (made(1) == made(2)) == (init in ("linear", "density"))

    def test_kmeans_separates_what_is_separate(self) -> None:
        values = np.concatenate([np.full(50, m) + np.linspace(-0.1, 0.1, 50) for m in (-3, 1, 7)])
        found = centroids(values, 3, init="kmeans++", keep_zero=False, seed=0)
        assert found == pytest.approx([-3, 1, 7], abs=1e-5)

    @given(st.lists(st.floats(-5, 5), min_size=2, max_size=60), st.integers(1, 6))
    def test_no_round_of_kmeans_makes_it_worse(self, values: list[float], count: int) -> None:
        flat = np.sort(np.array(values))
        start = np.linspace(flat[0], flat[-1], count)
        assert _error(flat, kmeans(flat, start)) <= _error(flat, start) + 1e-9


def _error(flat: Any, held: Any) -> float:
    return float(np.square(flat[:, None] - held).min(axis=1).sum())
