"""quantize-aware-train: its options, what it sees in a kernel, and how it finds one in a file."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgekit.core.schema import build
from edgekit.errors import UsageError
from edgekit.techniques.quantize_aware_train import Parameters
from edgekit.techniques.quantize_aware_train._file import by_channel, find_kernel, flaw
from edgekit.techniques.quantize_aware_train._kernels import Kept, groups, kept_in
from edgekit.techniques.quantize_aware_train._model import TrainedKernel
from edgekit.techniques.quantize_aware_train._plan import LayerPlan

SHAPES = {
    "Conv1D": (3, 4, 5),
    "Conv2D": (3, 2, 4, 5),
    "Conv2DTranspose": (3, 2, 5, 4),
    "Dense": (4, 5),
    "DepthwiseConv2D": (3, 2, 5, 1),
}


def trained(kind: str, values: Any, *, scales: Any = "channel", kept: Any = None) -> TrainedKernel:
    plan = LayerPlan("layer", kind, "kernel", scales)
    return TrainedKernel(plan, kept or Kept(zeros=True, clusters=True), values)


def file_with(values: Any) -> Any:
    """A parsed file with one int8 constant."""
    tensor = SimpleNamespace(dtype="int8", size_bytes=values.size, buffer=0)
    data = np.ascontiguousarray(values, np.int8).tobytes()
    graph = SimpleNamespace(tensors=(tensor,))
    return SimpleNamespace(subgraphs=(graph,), buffer=lambda index: memoryview(data))


class TestParameters:
    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"calibration_samples": 0}, "calibration_samples must be at least 1, not 0"),
            ({"skip": ["a", ""]}, "skip has an empty pattern"),
            ({"epochs": 0}, "epochs must be at least 1, not 0"),
            (
                {"precision": "mixed-float16"},
                "precision must be float32, not mixed-float16: fake quantization has no other",
            ),
        ],
    )
    def test_what_is_out_of_range_is_named(self, table: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError) as caught:
            build(Parameters, table, where="qat")
        assert caught.value.message == f"qat: {message}"

    def test_the_result_is_integers(self) -> None:
        assert Parameters().makes == {"integers"}


class TestKept:
    @pytest.mark.parametrize(
        ("values", "scheme"),
        [
            (np.arange(1, 201), "QAT"),
            (np.append(np.arange(1, 200), 0), "QAT"),
            (np.append(np.arange(1, 199), [0, 0]), "PQAT"),
            (np.arange(1, 201) % 7 + 1, "CQAT"),
            (np.arange(200) % 7, "PCQAT"),
            (np.zeros(20), "PQAT"),
        ],
    )
    def test_the_scheme_follows_from_the_values(self, values: Any, scheme: str) -> None:
        assert kept_in(values.astype(np.float32)).scheme == scheme

    def test_nothing_to_keep_has_no_groups(self) -> None:
        assert groups(np.arange(6.0), Kept(zeros=False, clusters=False)) is None

    @given(
        arrays(np.float32, array_shapes(max_dims=4, max_side=5), elements=st.integers(-2, 2)),
        st.booleans(),
    )
    def test_groups_join_equal_weights_and_only_these(self, values: Any, zeros: bool) -> None:
        found = groups(values, Kept(zeros=zeros, clusters=True))
        assert found is not None
        flat, index = values.reshape(-1), found.reshape(-1)
        assert ((flat[:, None] == flat) == (index[:, None] == index)).all()
        assert ((index == 0) == ((flat == 0) & zeros)).all()

    def test_without_clusters_each_weight_is_on_its_own(self) -> None:
        found = groups(np.array([0.0, 3.0, 3.0, 0.0]), Kept(zeros=True, clusters=False))
        assert found is not None
        assert found[0] == found[3] == 0
        assert len({*found}) == 3


class TestFind:
    @pytest.mark.parametrize("kind", SHAPES)
    @pytest.mark.parametrize("turned", [False, True])
    def test_a_kernel_is_found_in_the_order_of_the_file(self, kind: str, turned: bool) -> None:
        rng = np.random.default_rng(0)
        values = rng.uniform(-127, 127, SHAPES[kind])
        rows = np.round(by_channel(kind, values))
        assert rows.shape[0] == 5
        signs = np.array([1, -1, 1, 1, -1])[:, None] if turned else 1
        held = (rows * signs).astype(np.int8)
        stored = held.T if kind == "DepthwiseConv2D" else held
        found = find_kernel(file_with(stored), trained(kind, values))
        assert found is not None
        assert (found == rows).all()

    def test_another_kernel_of_that_size_is_not_it(self) -> None:
        values = np.full((4, 5), 3.0)
        assert find_kernel(file_with(np.full((5, 4), 4)), trained("Dense", values)) is None
        assert find_kernel(file_with(np.full((5, 5), 3)), trained("Dense", values)) is None


class TestFlaw:
    def test_a_lost_zero(self) -> None:
        before, made = np.array([[0.0, 1.0, 0.0]]), np.array([[0, 3, 1]], np.int8)
        kernel = trained("Dense", before.T)
        assert flaw(kernel, before, made) == "1 of 2 zeros are no longer zero"
        loose = trained("Dense", before.T, kept=Kept(zeros=False, clusters=False))
        assert flaw(loose, before, made) == ""

    def test_a_cluster_too_many_in_a_channel(self) -> None:
        before = np.array([[1.0, 2.0, 2.0], [1.0, 1.0, 1.0]])
        made = np.array([[5, 9, 9], [7, 7, 6]], np.int8)
        found = flaw(trained("Conv2D", before), before, made)
        assert found == "1 different weights became 2 different integers in channel 1"

    def test_one_scale_allows_no_more_in_the_whole(self) -> None:
        before = np.array([[1.0, 2.0], [1.0, 2.0]])
        made = np.array([[5, 9], [5, 8]], np.int8)
        found = flaw(trained("Conv2D", before, scales="equal"), before, made)
        assert found == "2 different weights became 3 different integers"
        assert flaw(trained("Conv2D", before), before, made) == ""
