"""Times two Keras models against each other in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from edgekit.frameworks.keras import LoadedModel, concrete_function, import_tensorflow
from edgekit.statistics import paired_ratio

__all__ = ["latency_ratio"]

_ROUNDS = 31
_BLOCK_NS = 2_000_000
"""How long a block of runs should take, so that the clock and a short disturbance count little."""

Run = Callable[[], object]


def latency_ratio(
    first: LoadedModel, second: LoadedModel, inputs: tuple[Any, ...], *, seed: int
) -> tuple[float, tuple[float, float]]:
    """The time of `second` over that of `first`, batch 1: median and its 95 % interval.

    Interleaved A B B A, so that what else the machine does falls on both.
    """
    runs = [_run(model, inputs) for model in (first, second)]
    counts = [_calls(run) for run in runs]
    ratios = []
    for _ in range(_ROUNDS):
        a1, b1, b2, a2 = (_block(runs[i], counts[i]) for i in (0, 1, 1, 0))
        ratios.append((b1 + b2) / (a1 + a2))
    return paired_ratio(ratios, seed=seed)


def _run(model: LoadedModel, inputs: tuple[Any, ...]) -> Run:
    tf = import_tensorflow()
    function, held = concrete_function(model, 1)
    specs = model.signature.inputs
    tensors = [
        tf.constant(array[:1], spec.dtype) for array, spec in zip(inputs, specs, strict=True)
    ]

    def run(held: Any = held) -> object:
        """Needs the module, which holds the variables."""
        return [output.numpy() for output in function(*tensors).values()]

    return run


def _calls(run: Run) -> int:
    """How many runs fill a block, once it is warm."""
    _block(run, 3)
    once = statistics.median(_block(run, 1) for _ in range(5))
    return max(1, round(_BLOCK_NS / max(once, 1)))


def _block(run: Run, count: int) -> float:
    """Nanoseconds a run."""
    start = time.perf_counter_ns()
    for _ in range(count):
        run()
    return (time.perf_counter_ns() - start) / count
