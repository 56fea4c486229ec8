"""Options, the ramp in steps, and zeros distributed over kernels: no TensorFlow."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.schema import build
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.sparsity import Kernel, zero_blocks, zero_share
from edgekit.techniques.prune import Parameters
from edgekit.techniques.prune._allocate import Scan, allocate, convex
from edgekit.techniques.prune._engine import ramp_over
from edgekit.techniques.prune._plan import Goal
from edgekit.techniques.prune._promises import _measure
from edgekit.techniques.prune._sensitivity import levels, magnitude_pruned

_RISES = st.lists(st.floats(-0.1, 5), min_size=4, max_size=4)


class TestParameters:
    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"sparsity": 1.0}, "sparsity must be between 0 and 1, not 1.0"),
            ({"sparsity": 0.0}, "sparsity must be between 0 and 1, not 0.0"),
            ({"sparsity": -0.5}, "sparsity must be between 0 and 1, not -0.5"),
            ({"epochs": 0}, "epochs must be at least 1, not 0"),
            ({"begin": 0.6}, "begin and end must rise within 0 to 1, not 0.6 and 0.5"),
            ({"end": 1.1}, "begin and end must rise within 0 to 1, not 0.0 and 1.1"),
            (
                {"layer_sparsity": {"a": 1.0}},
                "layer_sparsity of 'a' must be 0 to below 1, not 1.0",
            ),
            ({"min_weights": 0}, "min_weights must be at least 1, not 0"),
            ({"scan_samples": 0}, "scan_samples must be at least 1, not 0"),
            ({"skip": [""]}, "skip and layer_sparsity must not have an empty name"),
            ({"block": [4]}, "block must be two sizes, one of them above 1, not (4,)"),
            ({"block": [1, 1]}, "block must be two sizes, one of them above 1, not (1, 1)"),
            (
                {"structure": "2:4", "sparsity": 0.8},
                "structure 2:4 makes half of each kernel zero: leave sparsity out",
            ),
            (
                {"structure": "2:4", "allocation": "sensitivity"},
                "structure 2:4 is alike in all layers: leave allocation out",
            ),
            (
                {"precision": "mixed-float16"},
                "precision mixed-float16 is not for prune: its engine, "
                "tensorflow-model-optimization, trains in float32",
            ),
        ],
    )
    def test_out_of_range(self, table: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError) as caught:
            build(Parameters, table, where="recipe.toml: prune")
        assert caught.value.message == f"recipe.toml: prune: {message}"

    def test_a_table_gives_layers_their_own_share(self) -> None:
        table = {"layer-sparsity": {"conv*": 0.3, "out": 0}, "structure": "block", "block": [2, 4]}
        made = build(Parameters, table, where="here")
        assert (made.layer_sparsity, made.block) == ({"conv*": 0.3, "out": 0.0}, (2, 4))


class TestRamp:
    @given(st.integers(1, 5000), st.floats(0, 1), st.floats(0, 1))
    def test_end_is_hit_within_the_training(self, steps: int, a: float, b: float) -> None:
        ramp = ramp_over(Parameters(begin=min(a, b), end=max(a, b)), steps)
        assert 1 <= ramp.begin <= ramp.end <= steps
        assert (ramp.end - ramp.begin) % ramp.every == 0
        assert (ramp.end - ramp.begin) // ramp.every <= 32

    def test_short_training_renews_masks_at_every_step(self) -> None:
        ramp = ramp_over(Parameters(), 20)
        assert (ramp.begin, ramp.end, ramp.every) == (1, 10, 1)

    @pytest.mark.parametrize(("end", "first"), [(1, 1), (10, 1), (11, 2), (20, 2)])
    def test_first_epoch_that_is_wholly_sparse(self, end: int, first: int) -> None:
        ramp = ramp_over(Parameters(end=end / 20), 20)
        assert (ramp.end, ramp.first_full_epoch(10)) == (end, first)

    def test_groups_of_four_are_pruned_at_once(self) -> None:
        ramp = ramp_over(Parameters(structure="2:4"), 500)
        assert (ramp.begin, ramp.end) == (1, 1)


class TestAllocate:
    def test_zeros_go_where_the_loss_rises_least(self) -> None:
        scans = {
            "cheap": Scan(100, ((0.5, 0.0), (0.9, 0.1))),
            "dear": Scan(100, ((0.5, 1.0), (0.9, 4.0))),
        }
        assert allocate(scans, 0.45) == pytest.approx({"cheap": 0.9, "dear": 0.0})
        assert allocate(scans, 0.55) == pytest.approx({"cheap": 0.9, "dear": 0.2})

    def test_large_kernels_count_by_their_weights(self) -> None:
        scans = {"large": Scan(1000, ((0.9, 1.0),)), "small": Scan(10, ((0.9, 0.1),))}
        assert allocate(scans, 0.5)["large"] == pytest.approx(505 / 1000)

    def test_more_than_the_scans_reach_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"the scans end before a sparsity of 0\.95"):
            allocate({"a": Scan(100, ((0.9, 1.0),))}, 0.95)

    @given(_RISES, _RISES, st.floats(0.1, 0.9))
    def test_no_other_pair_of_shares_is_better(
        self, first: list[float], second: list[float], sparsity: float
    ) -> None:
        shares = (0.3, 0.6, 0.8, 0.95)
        scans = {
            "a": Scan(300, tuple(zip(shares, first, strict=True))),
            "b": Scan(100, tuple(zip(shares, second, strict=True))),
        }
        found = allocate(scans, sparsity)
        assert 300 * found["a"] + 100 * found["b"] == pytest.approx(400 * sparsity)
        best = _rise(scans["a"], found["a"]) + _rise(scans["b"], found["b"])
        for share in np.linspace(0, 0.95, 39):
            other = (400 * sparsity - 300 * share) / 100
            if 0 <= other <= 0.95:
                assert best <= _rise(scans["a"], share) + _rise(scans["b"], other) + 1e-6

    @given(_RISES)
    def test_hull_lies_below_and_never_falls(self, rises: list[float]) -> None:
        points = tuple(zip((0.2, 0.5, 0.7, 0.9), rises, strict=True))
        hull = convex(points)
        assert all(b[1] >= a[1] for a, b in itertools.pairwise(hull))
        for share, rise in points:
            assert _rise(Scan(1, points), share) <= max(rise, 0) + 1e-9


def _rise(scan: Scan, share: float) -> float:
    hull = convex(scan.points)
    return float(np.interp(share, [x for x, _ in hull], [y for _, y in hull]))


class TestScan:
    @pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9, 0.99])
    def test_levels_rise_above_the_target(self, sparsity: float) -> None:
        found = levels(sparsity)
        assert list(found) == sorted(set(found))
        assert sparsity < found[-1] < 1

    @given(st.integers(1, 60), st.floats(0, 1))
    def test_smallest_weights_go(self, size: int, share: float) -> None:
        values = np.random.default_rng(size).normal(size=size)
        made = magnitude_pruned(Parameters(), values, share)
        assert zero_share(made) == pytest.approx(round(share * size) / size)
        kept, gone = np.abs(values[made != 0]), np.abs(values[made == 0])
        assert not kept.size or not gone.size or kept.min() >= gone.max()

    def test_whole_blocks_go(self) -> None:
        values = np.arange(1.0, 25.0).reshape(4, 6)
        made = magnitude_pruned(Parameters(structure="block", block=(2, 4)), values, 0.5)
        assert zero_blocks(made, (2, 4)) == (2, 4)
        assert (made != 0).sum() == 12


def test_half_a_weight_is_rounded_either_way() -> None:
    """30 % of 175 weights are 52.5, and the engine makes 53 of them zero."""
    values = np.ones(175, np.float32)
    values[:53] = 0
    goal, kernel = Goal(wanted=0.3, present=0.0), Kernel("conv1", "Conv2D", "kernel", values)
    assert _measure(Parameters(sparsity=0.3), kernel, goal).startswith(
        "30.3 % of 175 weights are 0"
    )
    values[:54] = 0
    with pytest.raises(PromiseError, match="has 30.9 % zeros after training"):
        _measure(Parameters(sparsity=0.3), kernel, goal)
