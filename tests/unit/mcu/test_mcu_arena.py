"""The arena planner: no two tensors in use at the same time overlap."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from edgekit.mcu._arena import ALIGNMENT, Lifetime, plan

lifetimes = st.lists(
    st.tuples(st.integers(1, 400), st.integers(0, 12), st.integers(0, 12)).map(
        lambda t: Lifetime(t[0], min(t[1:]), max(t[1:]))
    ),
    max_size=16,
)


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


@given(lifetimes)
def test_no_two_tensors_in_use_overlap(items: list[Lifetime]) -> None:
    offsets, total = plan(items)
    placed = list(zip(items, offsets, strict=True))
    for (a, a_offset), (b, b_offset) in combinations(placed, 2):
        if a.overlaps(b):
            assert a_offset + a.size <= b_offset or b_offset + b.size <= a_offset
    for item, offset in placed:
        assert offset % ALIGNMENT == 0
        assert 0 <= offset <= total - item.size


@given(lifetimes)
def test_it_takes_no_more_than_all_and_no_less_than_the_most_in_use(items: list[Lifetime]) -> None:
    _, total = plan(items)
    assert total <= sum(aligned(item.size) for item in items)
    for step in range(13):
        assert total >= sum(item.size for item in items if item.first <= step <= item.last)


def test_a_chain_needs_two_neighbours_at_a_time() -> None:
    offsets, total = plan([Lifetime(100, 0, 1), Lifetime(40, 1, 2), Lifetime(60, 2, 3)])
    assert (offsets, total) == ((0, 100, 0), 140)


def test_a_small_tensor_goes_into_the_lowest_gap() -> None:
    items = [Lifetime(8, 0, 0), Lifetime(100, 1, 1), Lifetime(50, 0, 1), Lifetime(4, 0, 1)]
    assert plan(items) == ((0, 0, 100, 150 + 2), 156)


def test_nothing_needs_nothing() -> None:
    assert plan([]) == ((), 0)
