"""Options of channel pruning, and which channels it chooses; no framework."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.schema import build
from edgekit.errors import UsageError
from edgekit.frameworks.channels import Group, Groups
from edgekit.techniques.prune_channels import Parameters
from edgekit.techniques.prune_channels._choice import Plan, measure
from edgekit.techniques.prune_channels._refusals import refuse


def groups_of(*sizes: int) -> Groups:
    """Groups `a`, `b`, ... of channels of layers without any weights."""
    starts = np.cumsum([0, *sizes])
    free = tuple(
        Group(chr(97 + i), (chr(97 + i),), np.arange(starts[i], starts[i] + size))
        for i, size in enumerate(sizes)
    )
    return Groups({}, free, (), sum(sizes))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"ratio": 0}, "ratio must be above 0 and below 1, not 0.0"),
        ({"ratio": 1.0}, "ratio must be above 0 and below 1, not 1.0"),
        ({"ratio": 0.5, "round-to": 0}, "round_to must be at least 1, not 0"),
        ({"ratio": 0.5, "min-channels": 0}, "min_channels must be at least 1, not 0"),
        ({"ratio": 0.5, "rounds": 0}, "rounds must be at least 1, not 0"),
        ({"ratio": 0.5, "taylor-batches": 0}, "taylor_batches must be at least 1, not 0"),
        ({"ratio": 0.5, "epochs": 2}, "rounds = 3 needs as many epochs, and epochs is 2"),
        ({"ratio": 0.5, "epochs": 0}, "epochs must be at least 1, not 0"),
        ({"ratio": 0.5, "skip": [""]}, "skip has an empty pattern"),
        ({"ratio": 0.5, "layer-ratios": {"": 0.5}}, "layer_ratios has an empty pattern"),
        (
            {"ratio": 0.5, "layer-ratios": {"a": 1.0}},
            "layer_ratios 'a' must be from 0 to below 1, not 1.0",
        ),
        ({"ratio": 0.5, "of": "mac"}, "of: unknown value 'mac'"),
    ],
)
def test_options_out_of_range_are_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(Parameters, table, where="recipe.toml")
    assert caught.value.message == f"recipe.toml: {message}"


def test_the_least_important_go_first_over_all_groups() -> None:
    groups = groups_of(4, 4)
    scores = {"a": np.array([1.0, 9, 2, 8]), "b": np.array([7.0, 6, 5, 0])}
    plan = Plan.of(Parameters(ratio=0.375, of="channels", round_to=1), groups)
    assert plan.choose(groups, scores, 1.0) == {"a": [1, 3], "b": [0, 1, 2]}


def test_a_group_shrinks_by_whole_multiples_and_what_is_too_much_comes_back() -> None:
    groups = groups_of(16, 5)
    scores = {"a": np.arange(16.0), "b": np.arange(5.0) + 7.5}
    plan = Plan.of(Parameters(ratio=0.05, of="channels"), groups)
    # The threshold takes 8 of `a` before the first two of `b`: two of 21 would have been enough.
    assert plan.choose(groups, scores, 1.0) == {"a": [*range(8, 16)], "b": [*range(5)]}
    lower = {"a": np.arange(16.0) + 1, "b": np.zeros(5)}
    assert plan.choose(groups, lower, 1.0) == {"a": [*range(16)], "b": [2, 3, 4]}


def test_cuts_that_a_later_one_makes_needless_are_given_back() -> None:
    groups = groups_of(3, 16)
    scores = {"a": np.array([0.0, 5, 5]), "b": np.arange(16.0) / 8}
    plan = Plan.of(Parameters(ratio=0.4, of="channels"), groups)
    assert plan.choose(groups, scores, 1.0) == {"a": [0, 1, 2], "b": [*range(8, 16)]}


def test_a_layers_own_ratio_is_the_nearest_size() -> None:
    groups = groups_of(20, 20, 20)
    options = Parameters(ratio=0.5, of="channels", layer_ratios={"a": 0.2, "b": 0.0})
    plan = Plan.of(options, groups)
    scores = {name: np.arange(20.0) for name in "abc"}
    chosen = plan.choose(groups, scores, 1.0)
    assert [len(chosen[name]) for name in "abc"] == [16, 20, 8]
    assert plan.size_given("a", 0.5) == 20


def test_rounds_go_the_same_way() -> None:
    groups = groups_of(40)
    plan = Plan.of(Parameters(ratio=0.8, of="channels"), groups)
    sizes = [
        len(plan.choose(groups, {"a": np.arange(40.0)}, share)["a"]) for share in (0.25, 0.5, 1.0)
    ]
    assert sizes == [32, 24, 8]


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.floats(0.05, 0.95),
    st.integers(1, 8),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_the_ratio_is_reached_or_refused(
    sizes: list[int], ratio: float, round_to: int, least: int, seed: int
) -> None:
    groups, rng = groups_of(*sizes), np.random.default_rng(seed)
    options = Parameters(ratio=ratio, of="channels", round_to=round_to, min_channels=least)
    try:
        refuse(options, groups)
    except UsageError as error:
        assert "cannot be reached" in error.message
        return
    scores = {group.name: rng.uniform(size=len(group)) for group in groups.free}
    kept = Plan.of(options, groups).choose(groups, scores, 1.0)
    assert measure(groups, "channels", kept) <= sum(sizes) * (1 - ratio)
    for group in groups.free:
        found, values = kept[group.name], scores[group.name]
        gone = sorted(set(range(len(group))) - set(found))
        assert len(found) >= min(least, len(group))
        assert not gone or len(group) < round_to or len(found) % round_to == 0
        assert not gone or values[gone].max() < values[found].min()


def test_nothing_that_may_go() -> None:
    blocked = Group("a", ("a",), np.arange(4), "it is an output of the model")
    with pytest.raises(UsageError) as caught:
        refuse(Parameters(ratio=0.5), Groups({}, (), (blocked,), 4))
    assert caught.value.message == (
        "prune-channels: the model has no channels that may go ('a': it is an output of the model)"
    )
    assert caught.value.hint.startswith("use prune")


def test_macs_that_are_not_known() -> None:
    with pytest.raises(UsageError, match="of = 'macs': the model's macs are not known"):
        refuse(Parameters(ratio=0.5), groups_of(8))


def test_a_ratio_out_of_reach_says_how_far_it_goes() -> None:
    with pytest.raises(UsageError) as caught:
        refuse(Parameters(ratio=0.6, of="channels"), groups_of(16))
    assert caught.value.message.startswith(
        "ratio = 0.6 of the channels cannot be reached: at most 50.0 % can go with round_to = 8"
    )
