"""Energy: counters under a fake /sys, a user's command, and every reason to have no figure."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.core.device import DeviceSpec
from edgekit.engine import energy, energy_meters
from edgekit.engine.bench_process import BenchModel
from edgekit.engine.energy import command_words, measure_energy
from edgekit.engine.energy_meters import find_meter
from edgekit.errors import UnmeasuredError, UsageError

X = (np.array([[-1.0, 2.0]], np.float32),)
SPECS = (TensorSpec("x", (1, 2), "float32"),), (TensorSpec("y", (1, 2), "float32"),)
MODEL = BenchModel(
    Path("none.tflite"), "tflite", Signature(*SPECS), "null", {"threads": 1, "latency": 1_000_000}
)


def sysfs(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        file = root / "class" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return root


def rapl(root: Path, *, name: str = "package-0", energy_uj: object = 5_000_000) -> Path:
    zone = "powercap/intel-rapl:0"
    files = {"name": name, "energy_uj": energy_uj, "max_energy_range_uj": 10_000_000}
    return sysfs(root, {f"{zone}/{key}": value for key, value in files.items()})


def reason(root: Path, command: tuple[str, ...] = ()) -> str:
    found = measure_energy(MODEL, inputs=X, root=root, command=command, seconds=0.05)
    assert (found.kind, found.joules) == ("unmeasured", None)
    return found.reason


def test_rapl_counts_processors_and_memory_and_not_their_parts_twice(tmp_path: Path) -> None:
    rapl(tmp_path)
    for number, name in (("0:0", "core"), ("0:1", "dram"), ("1", "psys")):
        part = f"powercap/intel-rapl:{number}"
        sysfs(tmp_path, {f"{part}/name": name, f"{part}/energy_uj": 1_000_000})
    meter = find_meter(tmp_path)
    assert meter.name == "RAPL (package-0, dram), the whole of it"
    with meter.measuring() as found:
        rapl(tmp_path, energy_uj=7_000_000)
        sysfs(tmp_path, {"powercap/intel-rapl:0:1/energy_uj": 1_500_000})
    assert found.joules == pytest.approx(2.5)
    assert found.seconds > 0


def test_a_rapl_counter_that_starts_again_is_followed(tmp_path: Path) -> None:
    meter = find_meter(rapl(tmp_path, energy_uj=9_000_000))
    with meter.measuring() as found:
        rapl(tmp_path, energy_uj=1_000_000)
    assert found.joules == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("files", "watts", "name"),
    [
        ({"name": "ina226", "power1_input": 2_500_000}, 2.5, "ina226 (power1_input)"),
        ({"name": "ina219", "in1_input": 5000, "curr1_input": 400}, 2.0, "ina219 (in1_input)"),
        (
            {"name": "ina3221", "in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": 1000}
            | {"in2_label": "VDD_CPU", "in2_input": 5000, "curr2_input": 300, "curr3_input": 7},
            5.0,
            "ina3221 (VDD_IN)",
        ),
        (
            {"name": "ina3221", "in1_label": "CPU", "in1_input": 5000, "curr1_input": 1000}
            | {"in2_label": "GPU", "in2_input": 5000, "curr2_input": 200},
            6.0,
            "ina3221 (CPU, GPU)",
        ),
    ],
)
def test_power_monitors_are_summed_up_over_the_time(
    tmp_path: Path, files: dict[str, object], watts: float, name: str
) -> None:
    part = {"hwmon/hwmon0/name": "nvme", "hwmon/hwmon0/power1_input": 1}
    root = sysfs(tmp_path, {**part, **{f"hwmon/hwmon1/{k}": v for k, v in files.items()}})
    meter = find_meter(root)
    assert meter.name == name
    with meter.measuring() as found:
        time.sleep(0.1)
    assert found.joules / found.seconds == pytest.approx(watts)
    assert found.seconds >= 0.1


def test_a_monitor_that_goes_away_is_an_error(tmp_path: Path) -> None:
    root = sysfs(tmp_path, {"hwmon/hwmon0/name": "ina226", "hwmon/hwmon0/power1_input": 1})
    meter = find_meter(root)
    gone = pytest.raises(UnmeasuredError, match="power1_input cannot be read: No such file")
    with gone, meter.measuring():
        (root / "class/hwmon/hwmon0/power1_input").unlink()
        time.sleep(0.1)


def test_a_real_block_of_inferences_is_divided_by_their_number() -> None:
    code = "import time; print(5 * time.monotonic())"
    found = measure_energy(MODEL, inputs=X, command=(sys.executable, "-c", code), seconds=0.5)
    assert (found.kind, found.reason) == ("measured", "")
    assert found.meter == f"the command '{sys.executable}'"
    assert found.inferences >= 10
    assert found.joules == pytest.approx(5 * found.seconds / found.inferences, rel=0.2)
    assert found.idle_watts == pytest.approx(5, rel=0.2)
    assert found.joules_above_idle is not None
    assert 0 <= found.joules_above_idle < found.joules


def test_a_machine_without_a_counter_says_where_was_looked(tmp_path: Path) -> None:
    assert reason(tmp_path) == (
        "this machine has no energy counter that can be read (looked for "
        f"{tmp_path}/class/powercap: no RAPL counter of a processor; {tmp_path}/class/hwmon: no "
        "file power*_input, and no pair of in*_input and curr*_input of an INA monitor)"
    )


def test_a_counter_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    root = rapl(tmp_path, energy_uj="what")
    file = root / "class/powercap/intel-rapl:0/energy_uj"
    assert f"{file} holds 'what', which is no number" in reason(root)
    file.unlink()
    file.mkdir()
    assert f"{file} cannot be read: Is a directory" in reason(root)
    sysfs(root, {"hwmon/hwmon0/name": "ina226", "hwmon/hwmon0/power1_input": -4})
    assert "power1_input holds '-4', which is no number" in reason(root)


def test_a_counter_that_stands_still_gives_no_figure(tmp_path: Path) -> None:
    said = reason(rapl(tmp_path))
    assert said.startswith("RAPL (package-0), the whole of it did not move within 0.")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print('much')", "printed 'much', not a number of joules"),
        ("print('nan')", "printed 'nan', not a number of joules"),
        ("raise SystemExit(4)", "ended with exit code 4"),
        ("import time; print(-time.monotonic())", "not a number of joules"),
        ("import time; print(1e9 - time.monotonic())", "printed fewer joules than before"),
        ("import time; time.sleep(9)", "took over 0.3 s"),
    ],
)
def test_a_command_that_says_no_joules_is_named(
    code: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy_meters, "_COMMAND_SECONDS", 0.3)
    meter = find_meter(Path("/none"), (sys.executable, "-S", "-c", code))
    with pytest.raises(UnmeasuredError) as caught, meter.measuring():
        pass
    assert caught.value.message.startswith(f"the command '{sys.executable}' ")
    assert said in caught.value.message


def test_a_command_that_is_not_there_is_a_reason(tmp_path: Path) -> None:
    program = str(tmp_path / "none")
    said = f"the command '{program}' does not start: No such file or directory"
    assert reason(tmp_path, (program,)) == said


def test_the_command_is_split_like_a_shell_does_and_never_given_to_one() -> None:
    words = ("read meter", "--port", "$HOME; ls")
    assert command_words(shlex.join(words)) == words
    with pytest.raises(UsageError, match="--energy-command 'a \"b': No closing quotation"):
        command_words('a "b')
    with pytest.raises(UsageError, match="--energy-command is empty"):
        command_words("  ")


def test_no_counter_is_read_of_a_device() -> None:
    model = BenchModel(**{**vars(MODEL), "device": DeviceSpec("ssh", None, "a board")})
    assert measure_energy(model, inputs=X).reason == "edgekit reads none on a device (a board)"


def test_a_model_that_cannot_run_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: Any, **__: Any) -> None:
        raise energy.WorkerError("the process that measures crashed with SIGSEGV")

    monkeypatch.setattr(energy, "ask_figure", ask)
    assert reason(Path("/none"), ("true",)) == "the process that measures crashed with SIGSEGV"
