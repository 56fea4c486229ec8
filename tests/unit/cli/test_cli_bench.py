"""What `edgekit bench` says besides time: counts, arena, energy, ops, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import edgekit

from edgekit.cli import bench as command
from edgekit.core.measurement import Figure, Latency, Measurements, Memory
from edgekit.core.runner import OpTime, Placement
from edgekit.engine import singles
from edgekit.engine.arena import Arena
from edgekit.engine.count import Count
from edgekit.engine.energy import Energy
from edgekit.engine.singles import Benchmark, Extras, Profile

OPS = tuple(OpTime(f"op{n}", "ADD", "CPU", 10, 1000 * (10 - n)) for n in range(7))
GONE = Arena("unmeasured", "hidden"), Energy("unmeasured", "no counter")


def lines(**extras: Any) -> list[str]:
    given = {"arena": GONE[0], "energy": GONE[1], **extras}
    return [line.strip() for line in command._extras(Extras(**given))]


def found(extras: Extras, **more: Any) -> Benchmark:
    kinds = Latency("measured", median_ns=10), Memory("measured", peak_bytes=1)
    return Benchmark(Measurements("0" * 64, 1, 1, None, *kinds, Placement(())), extras, (), **more)


def test_every_figure_has_a_line() -> None:
    said = lines(
        arena=Arena("measured", arena_bytes=2048, least_bytes=1024, how="by addresses"),
        energy=Energy("measured", "", 2e-3, 5e-7, 4.0, 100, 2.0, "RAPL"),
        instructions=Count("measured", "", 1234567, (1234567, 1234567)),
        profile=Profile(OPS, 0.85),
    )
    assert said[0] == "arena       2.05 kB of activations, 1.02 kB at least; by addresses"
    assert said[1] == (
        "energy      2 mJ an inference, 500 nJ above idle (4.00 W); 100 inferences in "
        "2.0 s, by RAPL"
    )
    assert said[2] == (
        "counted     1,234,567 instructions an inference, 1 thread, the same in 2 processes; "
        "valgrind hides AVX-512: a regression metric, not a latency"
    )
    assert said[3].startswith("profile      20.4 %   1.00 us  ADD 'op0' (CPU)")
    assert said[-2:] == [
        "(+2 more: --json has all)",
        "all ops: 85 % of the latency (the profiler counts whole microseconds)",
    ]


def test_what_is_not_measured_says_why() -> None:
    assert lines(
        instructions=Count("unmeasured", "no valgrind"), profile=Profile(reason="no profiler")
    ) == [
        "arena       unmeasured: hidden",
        "energy      unmeasured: no counter",
        "counted     unmeasured: no valgrind",
        "profile     unmeasured: no profiler",
    ]
    assert len(lines()) == 2


def test_counts_that_differ_are_all_shown() -> None:
    (said,) = lines(instructions=Count("measured", "", 1000, (1010, 1000)))[2:]
    assert "1,000 instructions an inference" in said
    assert "1 % apart in 2 processes (1,010, 1,000); valgrind" in said


@pytest.mark.parametrize(
    ("joules", "text"), [(2.5, "2.5 J"), (0.0123, "12.3 mJ"), (4.56e-6, "4.56 uJ"), (0.0, "0 nJ")]
)
def test_joules_have_a_unit_that_fits(joules: float, text: str) -> None:
    assert command._joules(joules) == text


@pytest.mark.parametrize(
    ("extras", "more", "code"),
    [
        (Extras(*GONE), {}, 0),
        (Extras(*GONE), {"energy_required": True}, 3),
        (Extras(*GONE, Count("unmeasured", "no valgrind")), {}, 3),
        (Extras(*GONE, Count("measured", "", 1, (1, 1)), Profile(OPS, 1.0)), {}, 0),
        (Extras(*GONE, None, Profile(reason="no profiler")), {}, 3),
    ],
)
def test_only_what_was_asked_for_makes_the_exit_code(
    extras: Extras, more: dict[str, Any], code: int
) -> None:
    assert found(extras, **more).exit_code == code


def test_the_whole_of_it(tiny_float: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Count("unmeasured", "valgrind is not installed (apt-get install valgrind)")
    monkeypatch.setattr(singles, "count_instructions", lambda *_, **__: counted)
    done = edgekit("bench", tiny_float, "--count", "--profile", "--json")
    assert done.code == 3, done
    said = json.loads(done.out)
    assert said["latency"]["kind"] == "measured"
    assert said["arena"]["arena_bytes"] == 4608
    assert said["instructions"]["reason"] == counted.reason
    assert said["profile"][0]["where"] in ("XNNPACK", "CPU")
    assert said["profile_explained"] >= 0
    assert said["energy"]["kind"] in ("measured", "unmeasured")


def test_a_command_that_is_none_is_refused_before_any_work(tiny_float: Path) -> None:
    done = edgekit("bench", tiny_float, "--energy-command", '"')
    assert (done.code, done.out) == (2, "")
    assert "--energy-command '\"': No closing quotation" in done.err


def test_a_runner_that_invents_measures_nothing() -> None:
    wanted = singles._Wanted(profile=True, count=True, energy_command=())
    extras = singles._no_extras(wanted, "invented")
    assert found(extras).exit_code == 3
    assert extras.profile == Profile(reason="invented")


def test_what_a_target_tells_is_named_as_that() -> None:
    told = Measurements(
        "0" * 64,
        1,
        1,
        None,
        Latency("estimated", "a compiler, 500 MHz", median_ns=37_600),
        Memory("estimated", peak_bytes=1_280, process="a compiler, 500 MHz"),
        Placement((), "nobody knows"),
        (Figure("NPU cycles", 18_801, "cycles", "estimated", "a compiler"),),
    )
    said = [line.strip() for line in command._lines("m.tflite", told)]
    assert "latency     37.6 us estimated: a compiler, 500 MHz" in said
    assert "memory      1.28 kB estimated: a compiler, 500 MHz" in said
    assert "NPU cycles  18,801 estimated: a compiler" in said


def test_an_arena_that_the_target_tells_of_is_not_unmeasured() -> None:
    own = (Figure("arena", 1_280, "bytes", "measured"),)
    said = command._extras(Extras(*GONE), own)
    assert not any("arena" in line for line in said)
    assert any("arena" in line for line in command._extras(Extras(*GONE)))
