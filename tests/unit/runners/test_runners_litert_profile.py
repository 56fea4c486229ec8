"""LiteRT's own profiler through the C API, and the arena that the addresses show."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tflite_builder import Graph, Node, Tensor, build, relu

from edgekit.core.artifact import Signature
from edgekit.core.runner import OpTime
from edgekit.errors import UnmeasuredError
from edgekit.runners import _litert_arena, _litert_profile, litert
from edgekit.runners._litert_arena import activation_arena, least_bytes
from edgekit.runners._litert_profile import Event, summed
from edgekit.runners.litert import Options

NONE = Signature((), ())
CHILD = """
import sys, json, dataclasses
from pathlib import Path
import numpy as np
from edgekit.core.artifact import Signature
from edgekit.runners import litert
session = litert.open(Path(sys.argv[1]), Signature((), ()), litert.Options(kernels=sys.argv[2]))
session.run(tuple(np.ones([n or 1 for n in i.shape], i.dtype) for i in session.signature.inputs))
print(json.dumps([dataclasses.asdict(op) for op in session.profile(8)]))
"""
ADD = build(
    Graph(
        [
            *(Tensor(name, (1, 1024)) for name in "ae"),
            *(Tensor(name, (1, 512)) for name in "bcs"),
        ],
        [Node("ADD", ["b", "c"], ["s"]), Node("SOFTMAX", ["a"], ["e"])],
        ["c", "a", "b"],
        ["s", "e"],
    )
)


def profile(path: Path, kernels: str) -> list[dict[str, Any]]:
    """In a process of its own, as `bench` does: the library also prints."""
    import json

    words = [sys.executable, "-c", CHILD, str(path), kernels]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def stored(folder: Path, content: bytes) -> Path:
    path = folder / "m.tflite"
    path.write_bytes(content)
    return path


def test_plain_kernels_are_named_after_what_they_write(tmp_path: Path) -> None:
    found = profile(stored(tmp_path, ADD), "builtin")
    assert {(op["kind"], op["name"], op["where"], op["calls"]) for op in found} == {
        ("ADD", "s", "CPU", 4),
        ("SOFTMAX", "e", "CPU", 4),
    }
    assert [op["total_ns"] for op in found] == sorted((o["total_ns"] for o in found), reverse=True)


def test_what_xnnpack_made_is_numbered(tmp_path: Path) -> None:
    found = profile(stored(tmp_path, ADD), "xnnpack")
    assert {op["where"] for op in found} == {"XNNPACK"}
    assert {"kernel 0", "kernel 1"} <= {op["name"] for op in found}
    assert any(op["kind"].startswith("Add (ND)") for op in found)


def test_an_event_has_the_size_that_the_library_writes() -> None:
    assert ctypes.sizeof(Event) == 104
    assert (Event.elapsed_us.offset, Event.number.offset) == (24, 80)


def error_of(folder: Path, content: bytes = relu(), **options: Any) -> str:
    session = litert.open(stored(folder, content), NONE, Options(**options))
    with pytest.raises(UnmeasuredError) as caught:
        session.profile(2)
    return caught.value.message


def test_an_unknown_version_is_refused_before_any_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_litert_profile, "version", lambda _: "9.9")
    monkeypatch.setattr(_litert_profile, "_library", lambda: pytest.fail("it was opened"))
    assert error_of(tmp_path) == (
        "the profiler of ai-edge-litert 9.9 is not known to edgekit (that of 2.3.0 is)"
    )


def test_reference_kernels_have_no_profile(tmp_path: Path) -> None:
    said = "LiteRT's profiler runs the built-in kernels in place of the reference ones"
    assert error_of(tmp_path, kernels="reference") == said


def test_a_call_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        status = 7

        def __getattr__(self, name: str) -> Any:
            return lambda *_: 0 if "Destroy" in name else self.status

    library = Library()
    monkeypatch.setattr(_litert_profile, "_library", lambda: library)
    assert error_of(tmp_path) == "LiteRtCreateEnvironment failed with status 7"
    library.status = 0
    assert error_of(tmp_path) == "LiteRtCreateEnvironment gave nothing"


def test_inputs_that_do_not_fit_are_refused() -> None:
    model = _litert_profile._Model.__new__(_litert_profile._Model)
    model._inputs = {"x": ctypes.c_void_p(1)}
    model._size = lambda _: 8  # type: ignore[method-assign]
    for inputs, said in (
        ({"x": np.zeros(3, np.float32)}, "'x', which has 12 bytes; convert the model"),
        ({"y": np.zeros(2, np.float32)}, "'x', which is not there; convert the model"),
    ):
        with pytest.raises(UnmeasuredError, match=said):
            model.fill(inputs)


def test_the_faster_half_of_the_runs_counts() -> None:
    def run(add_us: int) -> list[tuple[str, int, int, int]]:
        return [("Add (ND)", 8, 0, 2), ("ADD", 2, 5, add_us), ("MUL", 2, 6, 0)]

    runs = [run(900), run(3), run(5)]
    assert summed(runs, {5: ("ADD", "sum"), 6: ("SUB", "other")}) == (
        OpTime("sum", "ADD", "CPU", 2, 8000),
        OpTime("kernel 0", "Add (ND)", "XNNPACK", 2, 4000),
        OpTime("op 6", "MUL", "CPU", 2, 0),
    )


@pytest.mark.parametrize(
    ("runs", "said"),
    [([[], []], "saw no op at all"), ([[("ADD", 2, 0, 1)], []], "saw other ops in each run")],
)
def test_events_that_make_no_sense_are_refused(runs: list[Any], said: str) -> None:
    with pytest.raises(UnmeasuredError, match=said):
        summed(runs, {})


@pytest.mark.parametrize("kernels", ["builtin", "reference"])
def test_the_arena_holds_what_lives_at_one_time(tmp_path: Path, kernels: Any) -> None:
    span, least = activation_arena(stored(tmp_path, ADD), kernels=kernels)
    assert span >= least >= 4 * (1024 + 512 + 512)
    session = litert.open(tmp_path / "m.tflite", NONE, Options(kernels=kernels))
    assert session.arena() == (span, least)


def row(inputs: list[int], outputs: list[int], op_name: str = "ADD") -> dict[str, Any]:
    return {"op_name": op_name, "inputs": inputs, "outputs": outputs}


def test_the_least_is_the_fullest_moment() -> None:
    rows = [row([0], [1]), row([1], [2]), row([2], [3])]
    assert least_bytes(rows, {0: 1, 1: 10, 2: 100, 3: 1000}, [0], [3]) == 1 + 100 + 1000
    assert least_bytes(rows, {0: 1, 1: 10, 2: 100, 3: 1000}, [0], [1, 3]) == 1111
    assert least_bytes([], {0: 4}, [0], [0]) == 4


@given(st.lists(st.integers(1, 100), min_size=2, max_size=12))
def test_the_least_of_a_chain_is_between_two_ops_and_all(sizes: list[int]) -> None:
    rows = [row([i], [i + 1]) for i in range(len(sizes) - 1)]
    least = least_bytes(rows, dict(enumerate(sizes)), [0], [len(sizes) - 1])
    assert max(a + b for a, b in pairwise(sizes)) <= least <= sum(sizes)


def test_tensors_in_several_blocks_are_no_arena() -> None:
    assert _litert_arena._span([(0, 8), (64, 8)], [(70, 100), (9999, 5)]) == 170
    with pytest.raises(UnmeasuredError, match="not in one block of memory"):
        _litert_arena._span([(0, 8), (9999, 8)], [])
    with pytest.raises(UnmeasuredError, match="no address of any activation"):
        _litert_arena._span([], [(0, 8)])


def test_shapes_that_are_computed_do_not_count() -> None:
    rows = [row([0], [1], "SHAPE"), row([1], [2], "PACK"), row([0, 2], [3], "RESHAPE")]
    assert _litert_arena._changing(rows, [0]) == {0, 3}
