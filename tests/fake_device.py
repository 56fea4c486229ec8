"""A device for tests: this machine, and a server that a test can make misbehave."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgekit.core import catalog
from edgekit.core.device import DeviceSpec

__all__ = ["SERVE", "FakeDevice", "fake_device"]

SERVE = """
import json, sys, time
import numpy as np
out, into = sys.stdout.buffer, sys.stdin.buffer
def say(answer, arrays=()):
    answer["arrays"] = [{"dtype": a.dtype.name, "shape": list(a.shape)} for a in arrays]
    out.write((json.dumps(answer) + "\\n").encode())
    for a in arrays:
        out.write(a.tobytes())
    out.flush()
def spec(name):
    return {"name": name, "shape": [1, 2], "dtype": "float32", "scale": None, "zero_point": None}
say({"schema": "edgekit-serve/1", "machine": "toaster"})
for line in into:
    asked = json.loads(line)
    arrays = [np.frombuffer(into.read(int(np.prod(a["shape"])) * 4), a["dtype"]).reshape(a["shape"])
              for a in asked["arrays"]]
    op = asked["op"]
    if op == "open":
        say({"ok": True, "id": 0, "load_ns": 5, "inputs": [spec("b"), spec("a")],
             "outputs": [spec("y")], "asked": asked})
    elif op == "run":
        say({"ok": True, "first_ns": 7}, [arrays[0] - arrays[1]])
    elif op == "time":
        say({"ok": True, "samples_ns": [1000] * asked["runs"]})
    elif op == "peak":
        say({"ok": True, "peak_bytes": 30, "before_bytes": 10})
    elif op == "placement":
        say({"ok": True, "ops": [[0, "SUB", "NPU", "float32", ""]], "reason": ""})
"""
"""Speaks the protocol: its model has the inputs b and a, and gives b - a."""


@dataclass(frozen=True)
class _Options:
    code: str = SERVE


class _Link:
    def __init__(self, code: str, log: list[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="edgekit-fake-device-"))
        self._code, self._log = code, log

    def put(self, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            shutil.copyfile(path, self.folder / name)
        (self.folder / "serve.py").write_text(self._code)

    def start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen([sys.executable, *words], cwd=self.folder, **pipes)

    def close(self) -> None:
        self._log.append("closed")
        shutil.rmtree(self.folder)


class FakeDevice(ModuleType):
    """Implements `core.device.Device`; `log` says what was closed."""

    Options = _Options

    def __init__(self, untimed: str = "") -> None:
        super().__init__("fake_device")
        self._untimed = untimed
        self.log: list[str] = []

    def untimed(self, options: _Options) -> str:
        return self._untimed

    def unavailable(self, options: _Options) -> str:
        return ""

    def connect(self, options: _Options) -> _Link:
        return _Link(options.code, self.log)

    def describe(self, options: _Options) -> str:
        return "a toaster"


def fake_device(
    monkeypatch: pytest.MonkeyPatch, code: str = SERVE, *, untimed: str = ""
) -> tuple[DeviceSpec, FakeDevice]:
    """A device whose serve.py is `code`, under the name 'fake' of the family."""
    device, load = FakeDevice(untimed), catalog.load

    def find(family: str, name: str) -> ModuleType:
        return device if (family, name) == ("devices", "fake") else load(family, name)

    monkeypatch.setattr(catalog, "load", find)
    return DeviceSpec("fake", _Options(code), "toaster"), device
