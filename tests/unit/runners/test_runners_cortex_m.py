"""The runner of microcontrollers opens nothing in this process, and says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mcu_sources import sources, wanted

from edgekit.core.artifact import Signature
from edgekit.core.schema import build
from edgekit.core.target import load_target
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.mcu import generate
from edgekit.runners import cortex_m


def test_it_runs_on_its_device_only() -> None:
    with pytest.raises(UnmeasuredError, match=r"^m.tflite: .* target's own device only") as caught:
        cortex_m.open(Path("m.tflite"), Signature((), ()), cortex_m.Options())
    assert caught.value.hint == "leave --on out"
    assert cortex_m.unavailable() == ""
    assert cortex_m.versions() == {}


def test_it_has_one_thread() -> None:
    with pytest.raises(UsageError, match="threads must be 1, not 2"):
        build(cortex_m.Options, {"threads": 2}, where="test")


@pytest.mark.parametrize(
    ("name", "cpu", "flash", "ram"),
    [
        ("mcu-cortex-m3", "cortex-m3", 512 << 10, 96 << 10),
        ("mcu-cortex-m4", "cortex-m4", 1 << 20, 256 << 10),
        ("mcu-cortex-m7", "cortex-m7", 2 << 20, 512 << 10),
    ],
)
def test_a_target_has_the_memory_that_its_summary_says(
    name: str, cpu: str, flash: int, ram: int
) -> None:
    target = load_target(name)
    assert target.device is not None
    options = target.device.options
    assert (options.cpu, options.flash, options.ram) == (cpu, flash, ram)
    assert f"{ram >> 10} KiB of RAM" in target.summary
    assert target.limits.limits.max_size == flash


def test_a_bundle_gets_the_sources_in_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "generate", lambda path: sources())
    x = np.ones((2, 4), np.int8)
    files = cortex_m.products(
        cortex_m.Options(), Path("cat.tflite"), inputs=(x,), outputs=(wanted(x),), ask=None
    )
    assert {"c/ek_model.c", "c/ek_model.h", "c/Makefile", "c/golden_data.c"} < set(files)
    assert all(name.startswith("c/") for name in files)
    assert files["c/README.md"].startswith(b"# cat as C for a microcontroller")
