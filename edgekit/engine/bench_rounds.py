"""How models are timed against each other: rounds of blocks, interleaved and in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

__all__ = ["Model", "Opened", "rounds"]

_BLOCK_NS, _LONG_BLOCK_NS = 500_000, 2_000_000
"""How long a block of runs should take: long enough for a model of microseconds to fall into step,
short enough that the machine is the same for the block after it. A shared machine changes its speed
within 10 ms; a block may be long only where fewer than `_LEAST_RUNS` would fit."""
_MOST_RUNS, _LEAST_RUNS = 20_000, 3
_LEAST_ROUNDS = 3
_STEADY = 0.03


class Opened(Protocol):
    """An opened model that ran once, here or on a device."""

    def block(self, runs: int) -> list[int]:
        """Runs it again `runs` times; the time of each run in ns."""

    def close(self) -> None:
        """Gives back what it holds."""


class Model(Protocol):
    """A model that can be opened again and again."""

    def open(self) -> Opened:
        """Opens it and runs it once."""


def rounds(
    models: Sequence[Model], *, seconds: float, count: int, turn: int, keep: int
) -> list[dict[str, Any]]:
    """Times one model, or two of them interleaved, for about `seconds`, in `count` rounds.

    Each round has for each model the median (ns), the number of runs, and at most `keep` of their
    times, evenly taken; of two models also the ratio of the second to the first, and which opening
    it belongs to. `turn` alternates which model is opened first.

    Two instances of one model differ by 1 % for where they happen to lie in memory. So each round
    opens fresh instances, in alternating order, unless that takes much longer than the round even
    at its quickest (a single slow opening is no reason: another process may have been in the way).
    """
    span = int(seconds * 1e9)
    round_ns = span // count
    opened: list[Opened] = []
    found: list[dict[str, Any]] = []
    pace = [0] * len(models)
    begin, openings_ns = time.perf_counter_ns(), list[int]()
    try:
        for number in range(count):
            order = _order(len(models), number + turn)
            if not opened or min(openings_ns) <= 4 * round_ns:
                start = time.perf_counter_ns()
                _close(opened, order)  # The order was the other way round when they were opened.
                opened = _open(models, order)
                for index in order:
                    pace[index] = _warm_up(opened[index], round_ns // 8)
                openings_ns.append(time.perf_counter_ns() - start)
            measured = _round(opened, order, pace, round_ns, keep)
            found.append({**measured, "opening": len(openings_ns)})
            late = time.perf_counter_ns() - begin > 3 * span
            if late and len(found) >= _LEAST_ROUNDS:
                break
    finally:
        _close(opened, range(len(opened)))
    return found


def _order(count: int, number: int) -> list[int]:
    order = list(range(count))
    return order if number % 2 == 0 else order[::-1]


def _open(models: Sequence[Model], order: Sequence[int]) -> list[Opened]:
    opened = {index: models[index].open() for index in order}
    return [opened[index] for index in range(len(models))]


def _close(opened: list[Opened], order: Iterable[int]) -> None:
    """Last opened, first closed: the memory that is free first then goes to the other model."""
    if opened:
        for index in order:
            opened[index].close()
        opened.clear()


def _warm_up(model: Opened, limit_ns: int) -> int:
    """Runs until three medians in a row agree within 3 %; returns the time of one run."""
    begin, runs, medians = time.perf_counter_ns(), 1, list[int]()
    while True:
        medians.append(statistics.median_low(model.block(runs)))
        runs = _runs(medians[-1])
        last = medians[-3:]
        if len(last) == 3 and max(last) <= (1 + _STEADY) * min(last):
            return medians[-1]
        if time.perf_counter_ns() - begin > limit_ns:
            return medians[-1]


def _runs(pace_ns: int) -> int:
    pace_ns = max(pace_ns, 1)
    few = min(_LEAST_RUNS, _LONG_BLOCK_NS // pace_ns)
    return max(1, few, min(_MOST_RUNS, _BLOCK_NS // pace_ns))


def _round(
    opened: Sequence[Opened], order: list[int], pace: Sequence[int], round_ns: int, keep: int
) -> dict[str, Any]:
    """Blocks in the order first, second, second, first, again and again until the time is up."""
    samples: list[list[int]] = [[] for _ in opened]
    ratios: list[float] = []
    begin = time.perf_counter_ns()
    while True:
        medians = [0.0] * len(opened)
        for index in (*order, *order[::-1]):
            block = opened[index].block(_runs(pace[index]))
            samples[index] += block
            medians[index] += statistics.median(block)
        ratios.append(max(medians[-1], 1) / max(medians[0], 1))
        if time.perf_counter_ns() - begin > round_ns:
            break
    return {
        "median_ns": [round(statistics.median(runs)) for runs in samples],
        "ratio": statistics.median(ratios) if len(opened) == 2 else None,
        "runs": [len(runs) for runs in samples],
        "samples_ns": [runs[:: -(-len(runs) // keep)] for runs in samples],
    }
