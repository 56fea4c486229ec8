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
from edgekit.techniques.quantize_aware_train._outputs import compare
from edgekit.techniques.quantize_aware_train._plan import LayerPlan
from edgekit.techniques.quantize_aware_train._ranges import match_ranges

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


def activations(*quantized: tuple[float, int]) -> Any:
    """A parsed file with int8 activations of these scales and zero points, and a constant."""
    tensors = [
        SimpleNamespace(
            name=f"net/layer{index}/out",
            dtype="int8",
            is_constant=index == len(quantized),
            quantization=SimpleNamespace(scales=(scale,), zero_points=(zero,)),
        )
        for index, (scale, zero) in enumerate((*quantized, (9.0, 9)))
    ]
    return SimpleNamespace(subgraphs=(SimpleNamespace(tensors=tensors),))


class TestRanges:
    TRAINED = np.array([[0.0, 2.55], [-1.28, 1.27], [0.5, 5.1]])

    def strange(self, *quantized: tuple[float, int], floats: tuple[str, ...] = ()) -> Any:
        found, met = match_ranges(activations(*quantized), self.TRAINED, frozenset(floats))
        return [tensor.name for tensor in found], met

    def test_trained_and_prescribed_ones_are_known(self) -> None:
        assert self.strange((0.01, -128), (0.01, 0), (0.02, -128)) == ([], 3)
        assert self.strange((0.01, -128), (0.01, -128), (1 / 256, -128), (1 / 128, 0)) == ([], 1)

    @pytest.mark.parametrize("other", [(0.010002, -128), (0.01, -100), (1 / 256, 0), (0.03, -128)])
    def test_another_scale_or_zero_point_is_strange(self, other: tuple[float, int]) -> None:
        assert self.strange((0.01, 0), other) == (["net/layer1/out"], 1)

    def test_what_the_converter_makes_of_a_float_layer_is_its_own(self) -> None:
        assert self.strange((0.01, 0), (0.5, 0), floats=("layer1",)) == ([], 1)


class TestOutputs:
    """The check of outputs can fail for any number of classes."""

    STEP = 1 / 256

    def sure(self, classes: int, *, turned: int = 0) -> Any:
        """Outputs of a sure classifier, for 32 probes."""
        made = np.full((32, classes), 0.1 / (classes - 1))
        made[np.arange(32), (np.arange(32) + turned) % classes] = 0.9
        return made

    def flaw(self, wanted: Any, values: Any, *, classes: bool = True) -> str:
        return compare(wanted, values, step=self.STEP, classes=classes).flaw

    @pytest.mark.parametrize("classes", [2, 10, 20, 100, 1000])
    def test_outputs_that_ignore_the_input_fail(self, classes: int) -> None:
        wanted = self.sure(classes)
        for values in (wanted.mean(axis=0), np.zeros(classes), np.eye(classes)[0]):
            given = np.broadcast_to(values, wanted.shape)
            assert "differs by" in self.flaw(wanted, given, classes=False)
        assert "differs by" in self.flaw(wanted, self.sure(classes, turned=1), classes=False)

    @pytest.mark.parametrize("classes", [2, 10, 20, 100, 1000])
    def test_rounding_passes(self, classes: int) -> None:
        wanted = self.sure(classes)
        noise = np.random.default_rng(0).integers(-2, 3, wanted.shape) * self.STEP
        found = compare(wanted, wanted + noise, step=self.STEP, classes=True)
        assert found.flaw == ""
        assert (found.clear, found.clear_same, found.beyond) == (32, 1.0, 0.0)

    def test_other_classes_fail_however_near_the_values_are(self) -> None:
        wanted = np.full((32, 4), 0.0)
        wanted[:, 3] = np.linspace(-100, 100, 32)
        wanted[:, 0] = wanted[:, 3] + 5 * self.STEP
        wanted[:, 1] = 101.0 * (np.arange(32) % 3 == 0)
        values = wanted.copy()
        values[:, 3] += 7 * self.STEP
        assert self.flaw(wanted, values, classes=False) == ""
        assert self.flaw(wanted, values).startswith("has the class of the trained model on ")
        few = slice(0, 10)
        assert self.flaw(wanted[few], values[few]) == ""

    def test_classes_that_are_a_matter_of_rounding_do_not_count(self) -> None:
        wanted = np.full((32, 4), 0.25)
        wanted[:, 0] += self.STEP
        found = compare(wanted, wanted[:, ::-1], step=self.STEP, classes=True)
        assert (found.flaw, found.same, found.clear) == ("", 0.0, 0)

    def test_nan_is_no_likeness(self) -> None:
        assert "differs by nan" in self.flaw(self.sure(4), self.sure(4) * np.nan)

    def test_a_float_output_takes_its_step_from_the_span(self) -> None:
        wanted = self.sure(10)
        found = compare(wanted, wanted + 1.9 * np.ptp(wanted) / 255, step=0.0, classes=False)
        assert found.beyond == 0
