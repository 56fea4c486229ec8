"""The machine's fingerprint: facts, or the reason why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.engine.machine import fingerprint

KEYS = [
    *("cpu", "architecture", "cores", "memory_bytes", "os", "python", "governor"),
    *("temperature_celsius", "load_1min", "packages", "unknown"),
]


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_every_fact_of_this_machine_is_there_or_has_a_reason() -> None:
    found = fingerprint({"numpy": "2.4.6"})
    assert list(found) == KEYS
    for name, value in found.items():
        assert (value is None) == (name in found["unknown"])
    assert found["cores"] >= 1
    assert found["packages"] == {"numpy": "2.4.6"}


def test_reads_what_a_real_board_shows(tmp_path: Path) -> None:
    cores = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"
    root = machine(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 108\n\nModel\t\t: Raspberry Pi 4 B\n",
            "proc/meminfo": "MemTotal:        3884000 kB\nMemFree:  1 kB\n",
            "proc/loadavg": "0.52 0.58 0.59 1/467 1234\n",
            cores.format(0): "performance\n",
            cores.format(1): "ondemand\n",
            "sys/class/thermal/thermal_zone0/temp": "48312\n",
            "sys/class/thermal/thermal_zone1/temp": "not now\n",
        },
    )
    found = fingerprint(root=root)
    assert found["cpu"] == "Raspberry Pi 4 B"
    assert found["memory_bytes"] == 3884000 * 1024
    assert found["governor"] == "ondemand, performance"
    assert found["temperature_celsius"] == 48.312
    assert found["load_1min"] == 0.52
    assert found["unknown"] == {}


def test_the_device_tree_names_a_board_that_cpuinfo_does_not(tmp_path: Path) -> None:
    root = machine(
        tmp_path, {"proc/cpuinfo": "processor : 0\n", "proc/device-tree/model": "Jetson Nano\0"}
    )
    assert fingerprint(root=root)["cpu"] == "Jetson Nano"


def test_what_cannot_be_had_is_none_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "")
    found = fingerprint(root=machine(tmp_path, {"proc/meminfo": "Buffers: 1 kB\n"}))
    assert [name for name, value in found.items() if value is None] == list(found["unknown"])
    assert found["unknown"] == {
        "cpu": f"{tmp_path}/proc/cpuinfo: no such file or directory",
        "architecture": "the system does not say",
        "memory_bytes": "/proc/meminfo has no MemTotal",
        "governor": "the system shows no frequency governor (usual in virtual machines)",
        "temperature_celsius": "the system shows no thermal zone",
        "load_1min": f"{tmp_path}/proc/loadavg: no such file or directory",
    }
