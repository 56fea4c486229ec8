"""The runner that only runs in its target's environment, and the target itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgekit.core.artifact import Signature
from edgekit.core.target import load_target
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.runners import tflm


def test_it_opens_nothing_in_this_process(tiny_float: Path) -> None:
    with pytest.raises(UnmeasuredError, match="runs on its target's own device only") as refused:
        tflm.open(tiny_float, Signature((), ()), tflm.Options())
    assert refused.value.hint == "leave --on out"
    assert (tflm.unavailable(), dict(tflm.versions())) == ("", {})


def test_the_target_pins_all_that_tflm_imports_and_gives_no_timing() -> None:
    target = load_target("mcu-tflm")
    assert target.device is not None
    options = target.device.options
    assert {pin.partition("==")[0] for pin in options.packages} == {
        *("tflite-micro", "numpy", "flatbuffers", "pyyaml")
    }
    assert "no timing of a microcontroller" in options.untimed
    assert target.runtimes == ("tflite_micro",)
    assert dataclasses.asdict(target.options) == {"threads": 1, "arena": None}


def test_more_threads_than_one_are_refused() -> None:
    with pytest.raises(UsageError, match="threads must be 1, not 2"):
        load_target("mcu-tflm", overrides={"threads": 2})


@pytest.mark.parametrize(
    ("arena", "sentence"),
    [
        ('"24 kB"', ""),
        ('"0 B"', "arena must be from 1 byte to 1 GB, not 0 bytes"),
        ('"2 GB"', "arena must be from 1 byte to 1 GB"),
        ("24000", "arena: 24000 has no unit"),
    ],
)
def test_an_arena_is_bytes_with_a_unit(tmp_path: Path, arena: str, sentence: str) -> None:
    own = tmp_path / "own.toml"
    own.write_text(f'summary = "x"\ninherit = "mcu-tflm"\n[options]\narena = {arena}\n')
    if not sentence:
        assert load_target(str(own)).options.arena == 24_000
        return
    with pytest.raises(UsageError, match=sentence):
        load_target(str(own))
