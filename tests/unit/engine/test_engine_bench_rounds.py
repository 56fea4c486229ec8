"""Rounds: interleaved, in turns, and nothing is left open."""

from __future__ import annotations

import pytest

from edgekit.engine import bench_rounds

LOG: list[str] = []


class Model:
    """Takes `ns` for a run, the first ones longer; writes down what happens to it."""

    def __init__(self, name: str, ns: int, fails_at: int = -1) -> None:
        self.name, self.ns, self.fails_at, self.blocks = name, ns, fails_at, 0

    def open(self) -> Model:
        LOG.append(f"open {self.name}")
        return self

    def block(self, runs: int) -> list[int]:
        self.blocks += 1
        if self.blocks == self.fails_at:
            raise RuntimeError("gone")
        LOG.append(self.name)
        return [self.ns * (3 if self.blocks == 1 else 1)] * runs

    def close(self) -> None:
        LOG.append(f"close {self.name}")


@pytest.fixture(autouse=True)
def empty() -> None:
    LOG.clear()


def test_warm_up_ends_when_three_medians_agree() -> None:
    model = Model("a", 1000)
    assert bench_rounds._warm_up(model, 10**12) == 1000
    assert model.blocks == 4


def test_a_round_runs_the_first_the_second_the_second_the_first() -> None:
    found = bench_rounds.rounds(
        [Model("a", 1_000_000), Model("b", 500_000)], seconds=1e-9, count=1, turn=0, keep=9
    )
    assert LOG[:2] == ["open a", "open b"]
    assert LOG[-6:] == ["a", "b", "b", "a", "close a", "close b"]
    assert found[0]["median_ns"] == [1_000_000, 500_000]
    assert found[0]["runs"] == [2, 2]
    assert [len(kept) for kept in found[0]["samples_ns"]] == [2, 2]


def test_the_next_turn_opens_them_the_other_way_round() -> None:
    bench_rounds.rounds([Model("a", 9), Model("b", 9)], seconds=1e-9, count=1, turn=1, keep=1)
    assert LOG[:2] == ["open b", "open a"]


def test_after_an_error_nothing_is_left_open() -> None:
    with pytest.raises(RuntimeError, match="gone"):
        bench_rounds.rounds(
            [Model("a", 9), Model("b", 9, fails_at=2)], seconds=1e-9, count=1, turn=0, keep=1
        )
    assert LOG[-2:] == ["close a", "close b"]


def test_the_ratio_is_paired_block_by_block() -> None:
    """The machine slows down by half in the middle: both models see it, the ratio does not."""

    class Drifting(Model):
        def block(self, runs: int) -> list[int]:
            LOG.append(self.name)
            return [self.ns * (1 if len(LOG) < 40 else 2)] * runs

    found = bench_rounds.rounds(
        [Drifting("a", 1000), Drifting("b", 1100)], seconds=0.02, count=3, turn=0, keep=9
    )
    assert [item["ratio"] for item in found] == pytest.approx([1.1] * len(found))
    alone = bench_rounds.rounds([Model("a", 9)], seconds=1e-9, count=1, turn=0, keep=1)
    assert alone[0]["ratio"] is None


def test_each_round_opens_fresh_instances_but_of_a_slow_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(range(0, 10**15, 50_000))
    monkeypatch.setattr(bench_rounds.time, "perf_counter_ns", lambda: next(clock))
    quick = bench_rounds.rounds(
        [Model("a", 10**6), Model("b", 10**6)], seconds=0.01, count=4, turn=0, keep=1
    )
    assert [item["opening"] for item in quick] == [1, 2, 3, 4]
    clock = iter(range(0, 10**15, 5_000_000))
    slow = bench_rounds.rounds(
        [Model("a", 10**6), Model("b", 10**6)], seconds=0.01, count=4, turn=0, keep=1
    )
    assert {item["opening"] for item in slow} == {1}


@pytest.mark.parametrize(
    ("pace_ns", "runs"), [(0, 20_000), (1_000, 500), (300_000, 3), (900_000, 2), (10**9, 1)]
)
def test_a_block_is_short_and_holds_three_runs_where_it_can(pace_ns: int, runs: int) -> None:
    assert bench_rounds._runs(pace_ns) == runs
