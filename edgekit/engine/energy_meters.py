"""The energy counters of a machine: RAPL, power monitors of the kernel, or a user's command."""

from __future__ import annotations

import contextlib
import math
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from edgekit.errors import UnmeasuredError

__all__ = ["CommandMeter", "Meter", "PowerMeter", "RaplMeter", "Reading", "find_meter"]

_RAPL, _HWMON = "class/powercap", "class/hwmon"
_SAMPLE_SECONDS = 0.02
_COMMAND_SECONDS = 10.0
_MOST_TEXT = 4096
_PACKAGE = re.compile(r"package-\d+")
_TOTAL = re.compile(r"(?:^|_)V?IN\b|TOTAL", re.IGNORECASE)
"""The rail that feeds the others (VDD_IN on a Jetson): those would be counted twice with it."""


@dataclass
class Reading:
    """What a meter saw; filled in when the block it was opened for ends."""

    joules: float = 0.0
    seconds: float = 0.0


class Meter(Protocol):
    """A counter of energy."""

    @property
    def name(self) -> str:
        """What it counts, for a reader."""

    def measuring(self) -> AbstractContextManager[Reading]:
        """The energy of what is done inside."""


def find_meter(root: Path, command: Sequence[str] = ()) -> Meter:
    """The user's command, else the first counter under `root` (/sys) that can be read.

    Raises:
        UnmeasuredError: there is none; says where was looked and what was found there.
    """
    if command:
        return CommandMeter(tuple(command))
    tried = []
    for place, find in ((_RAPL, _rapl), (_HWMON, _monitors)):
        found = find(root / place)
        if not isinstance(found, str):
            return found
        tried.append(f"{root / place}: {found}")
    raise UnmeasuredError(
        f"this machine has no energy counter that can be read (looked for {'; '.join(tried)})"
    )


@dataclass(frozen=True)
class RaplMeter:
    """Counters of microjoules that start again at their range: those of whole processors."""

    name: str
    zones: tuple[Path, ...]

    @contextlib.contextmanager
    def measuring(self) -> Iterator[Reading]:
        reading, start = Reading(), time.perf_counter()
        before = [_number(zone / "energy_uj") for zone in self.zones]
        yield reading
        after = [_number(zone / "energy_uj") for zone in self.zones]
        reading.seconds = time.perf_counter() - start
        for zone, first, last in zip(self.zones, before, after, strict=True):
            passed = last - first
            if passed < 0:
                passed += _number(zone / "max_energy_range_uj")
            reading.joules += passed / 1e6


@dataclass(frozen=True)
class PowerMeter:
    """Watts of now, read many times while something runs, and summed up over the time."""

    name: str
    watts: Callable[[], float]

    @contextlib.contextmanager
    def measuring(self) -> Iterator[Reading]:
        reading, done = Reading(), threading.Event()
        samples: list[tuple[float, float]] = []
        problems: list[Exception] = []

        def sample() -> None:
            samples.append((time.perf_counter(), self.watts()))

        def follow() -> None:
            try:
                while not done.wait(_SAMPLE_SECONDS):
                    sample()
            except UnmeasuredError as error:
                problems.append(error)

        sample()
        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield reading
        finally:
            done.set()
            thread.join()
        if problems:
            raise problems[0]
        sample()
        reading.seconds = samples[-1][0] - samples[0][0]
        reading.joules = sum(
            (late - early) * (one + two) / 2 for (early, one), (late, two) in pairwise(samples)
        )


@dataclass(frozen=True)
class CommandMeter:
    """A command that prints the joules so far, as one number; it is run without a shell."""

    words: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"the command '{self.words[0]}'"

    @contextlib.contextmanager
    def measuring(self) -> Iterator[Reading]:
        reading, before = Reading(), self._joules()
        start = time.perf_counter()
        yield reading
        reading.joules = self._joules() - before
        reading.seconds = time.perf_counter() - start  # From one end of the command to the next.
        if reading.joules < 0:
            raise UnmeasuredError(f"{self.name} printed fewer joules than before")

    def _joules(self) -> float:
        try:
            done = subprocess.run(
                self.words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise UnmeasuredError(f"{self.name} took over {_COMMAND_SECONDS:g} s") from None
        except OSError as error:
            raise UnmeasuredError(
                f"{self.name} does not start: {error.strerror or error}"
            ) from None
        if done.returncode:
            raise UnmeasuredError(f"{self.name} ended with exit code {done.returncode}")
        said = done.stdout[:_MOST_TEXT].decode("utf-8", "replace").strip()
        joules = _float(said)
        if joules is None:
            raise UnmeasuredError(f"{self.name} printed {said[:40]!r}, not a number of joules")
        return joules


def _rapl(folder: Path) -> Meter | str:
    """The processors and their memory: cores and graphics are parts of a processor."""
    zones = [zone for zone in folder.glob("intel-rapl:*") if (zone / "energy_uj").exists()]
    named = [(zone, _text(zone / "name")) for zone in sorted(zones)]
    wanted = [(zone, name) for zone, name in named if _PACKAGE.fullmatch(name) or name == "dram"]
    if not wanted:
        return "no RAPL counter of a processor"
    for zone, _ in wanted:
        problem = _problem(zone / "energy_uj")
        if problem:
            return problem
    names = ", ".join(name for _, name in wanted)
    return RaplMeter(f"RAPL ({names}), the whole of it", tuple(zone for zone, _ in wanted))


def _monitors(folder: Path) -> Meter | str:
    """The power monitor of a board (INA219, INA226, INA3221 ...), before that of some part."""
    devices = [(_text(device / "name"), device) for device in sorted(folder.glob("hwmon*"))]
    devices.sort(key=lambda item: not item[0].startswith("ina"))
    problem = "no file power*_input, and no pair of in*_input and curr*_input of an INA monitor"
    for name, device in devices:
        rails = _rails(device, with_pairs=name.startswith("ina"))
        total = {label: files for label, files in rails.items() if _TOTAL.search(label)}
        chosen = dict(list(total.items())[:1]) or rails
        unread = next(filter(None, (_problem(f) for files in chosen.values() for f in files)), "")
        if chosen and not unread:
            return PowerMeter(f"{name} ({', '.join(chosen)})", _Watts(tuple(chosen.values())))
        problem = unread or problem
    return problem


@dataclass(frozen=True)
class _Watts:
    """The sum over rails: of a file in microwatts, or of one in millivolts and one in mA."""

    rails: tuple[tuple[Path, ...], ...]

    def __call__(self) -> float:
        return sum(math.prod(map(_number, files)) / 1e6 for files in self.rails)


def _rails(device: Path, *, with_pairs: bool) -> dict[str, tuple[Path, ...]]:
    """What can be read of each rail, by its label."""
    found: dict[str, tuple[Path, ...]] = {
        _text(file.with_name(file.name.replace("_input", "_label"))) or file.name: (file,)
        for file in sorted(device.glob("power*_input"))
    }
    if found or not with_pairs:
        return found
    for current in sorted(device.glob("curr*_input")):
        number = current.name.removeprefix("curr").removesuffix("_input")
        voltage = device / f"in{number}_input"
        if voltage.exists():
            label = _text(device / f"in{number}_label") or voltage.name
            found[label] = (voltage, current)
    return found


def _problem(file: Path) -> str:
    try:
        _number(file)
    except UnmeasuredError as error:
        return str(error)
    return ""


def _number(file: Path) -> float:
    try:
        said = file.read_bytes()[:_MOST_TEXT].decode("ascii", "replace").strip()
    except OSError as error:
        raise UnmeasuredError(f"{file} cannot be read: {error.strerror or error}") from None
    found = _float(said)
    if found is None:
        raise UnmeasuredError(f"{file} holds {said[:40]!r}, which is no number")
    return found


def _float(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def _text(file: Path) -> str:
    """The text of a small file; '' where there is none."""
    try:
        return file.read_bytes()[:_MOST_TEXT].decode("utf-8", "replace").strip()
    except OSError:
        return ""
