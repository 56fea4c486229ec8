"""The null runner: invented outputs that are the same every time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.artifact import Quantization, Signature, TensorSpec
from edgekit.core.runner import Placement
from edgekit.core.schema import parse_options
from edgekit.runners import null
from edgekit.runners.null import Options

SIGNATURE = Signature(
    (TensorSpec("x", (None, 3), "float32"),),
    (
        TensorSpec("p", (None, 2), "float32"),
        TensorSpec("q", (None, None, 4), "int8", Quantization(0.5, 1)),
        TensorSpec("r", (None,), "bool"),
    ),
)


def run(x: Any) -> tuple[Any, ...]:
    return null.open(Path("nothing"), SIGNATURE, Options()).run((x,))


def test_outputs_have_the_shapes_and_dtypes_of_the_signature() -> None:
    p, q, r = run(np.zeros((5, 3), np.float32))
    assert [(a.shape, a.dtype.name) for a in (p, q, r)] == [
        ((5, 2), "float32"),
        ((5, 1, 4), "int8"),
        ((5,), "bool"),
    ]


def test_equal_samples_give_equal_outputs_and_others_do_not() -> None:
    x = np.array([[1, 2, 3], [4, 5, 6], [1, 2, 3]], np.float32)
    p, q, _ = run(x)
    assert np.array_equal(p[0], p[2])
    assert np.array_equal(q[0], q[2])
    assert not np.array_equal(p[0], p[1])
    assert np.array_equal(p, run(x)[0])


def test_latency_is_what_was_asked_for() -> None:
    options = parse_options(Options, "latency=3 ms", where="t")
    session = null.open(Path("nothing"), SIGNATURE, options)
    start = time.perf_counter_ns()
    session.invoke()
    assert time.perf_counter_ns() - start >= 3_000_000


def test_it_says_that_nothing_runs() -> None:
    session = null.open(Path("nothing"), SIGNATURE, Options())
    assert session.placement() == Placement((), "the null runner runs nothing")
    session.close()
    assert null.unavailable() == ""
    assert null.versions() == {}
