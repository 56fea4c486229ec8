"""A small Debian for another processor in the user's cache folder: Python and the runtimes.

One folder serves all processors of a machine. What a processor says of itself (/proc/cpuinfo) lies
in a folder of its own for each, in which everything else is a link: runs as two processors at once
do not disturb each other.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edgekit.devices import _qemu, _sysroot_debian, _sysroot_wheels
from edgekit.devices._qemu_cpus import CPUS, CpuName, Machine
from edgekit.devices._sysroot_run import runner
from edgekit.errors import UsageError
from edgekit.frameworks.files import cache_root
from edgekit.frameworks.isolated_folder import locked, making, read_marker, write_marker

__all__ = ["RELEASES", "Release", "Sysroot"]

Progress = Callable[[str, int], AbstractContextManager[Any]]

_RECIPE = 1
"""Part of the key: another number where the same packages are put together in another way."""

_ARCHITECTURES: dict[Machine, str] = {"aarch64": "arm64", "armv7l": "armhf"}
_PYTHON_DEBS = ("python{0}-minimal", "libpython{0}-stdlib", "libstdc++6")
_STEPS = 6


@dataclass(frozen=True)
class Release:
    """A release of Debian: its suite, its number, and its glibc (2.x)."""

    suite: str
    number: int
    glibc: int


RELEASES = {"3.11": Release("bookworm", 12, 36)}
"""The release that has a version of Python."""


@dataclass(frozen=True)
class Sysroot:
    """What it holds; `module` is what must be importable in the end."""

    machine: Machine
    python: str
    packages: tuple[str, ...]
    debs: tuple[str, ...]
    module: str

    @property
    def title(self) -> str:
        """What it is, for people."""
        return f"Debian {self.release.number} {_ARCHITECTURES[self.machine]}"

    @property
    def release(self) -> Release:
        """The release of Debian that has its Python."""
        return RELEASES[self.python]

    def folder(self, root: Path | None = None) -> Path:
        """Where it is: a function of all that it holds."""
        own = [cpu.files for cpu in CPUS.values() if cpu.machine == self.machine]
        content = [_RECIPE, self.python, sorted(self.packages), sorted(self.debs), own]
        key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        return (root or cache_root()) / "sysroots" / f"{self.machine}-{key}"

    def made_with(self) -> dict[str, Any]:
        """What is known of it ('python', 'size_mb'); {} where it is not made, or not whole."""
        return read_marker(self.folder())

    def python_command(self, cpu: CpuName) -> list[str]:
        """The words that start its Python on one of the machine's processors."""
        return self._command(self.folder(), cpu)

    def make(self, progress: Progress, *, download_mb: int) -> None:
        """Makes it where it is not there; a second process waits for the first.

        Raises:
            UsageError: no network, no room, or no such package; one sentence with the cause.
        """
        folder = self.folder()
        what = f"the {self.title} system that qemu-user runs"
        try:
            with locked(folder, self.title, progress) as lock:
                if not read_marker(folder):
                    text = f"install {self.title} (once, about {download_mb} MB)"
                    with making(folder), progress(text, _STEPS) as bar:
                        self._make(folder, what, bar, lock)
        except OSError as error:
            raise UsageError(
                f"EDGEKIT_CACHE '{cache_root()}': {what} cannot be made there: "
                f"{error.strerror or error}",
                hint="make room, or name another folder with EDGEKIT_CACHE",
            ) from None

    def _make(self, folder: Path, what: str, bar: Any, lock: IO[str]) -> None:
        root, work = folder / "root", folder / "work"
        root.mkdir(parents=True)
        work.mkdir()
        run = runner(what, folder=work, held=(lock.fileno(),))
        suite = _sysroot_debian.Suite(self.release.suite, _ARCHITECTURES[self.machine])
        names = tuple(name.format(self.python) for name in _PYTHON_DEBS)
        debs = _sysroot_debian.download(suite, (*names, *self.debs), work / "apt", run)
        bar.advance(2, "Debian's packages")
        for deb in debs:
            _sysroot_debian.extract(deb, root, run)
        _link_alternatives(root)
        bar.advance(1, "wheels")
        kind = {"machine": self.machine, "python": self.python}
        site = root / "usr/local/lib" / f"python{self.python}" / "dist-packages"
        wheels = _sysroot_wheels.download(
            self.packages, work / "wheels", run, **kind, glibc=self.release.glibc
        )
        bar.advance(1)
        for wheel in wheels:
            _sysroot_wheels.unpack(wheel, site)
        for name, cpu in CPUS.items():
            if cpu.machine == self.machine:
                _overlay(root, folder / name, cpu.files)
        bar.advance(1, self.module)
        version = self._check(folder, run)
        shutil.rmtree(work)
        write_marker(folder, {"python": version, "pins": self.packages})
        bar.advance(1)

    def _check(self, folder: Path, run: Callable[[list[str]], list[str]]) -> str:
        """Imports what runs need, so that its bytecode is kept: it is read from then on."""
        cpu = next(name for name, cpu in CPUS.items() if cpu.machine == self.machine)
        code = f"import json, platform, threading, {self.module}; print(platform.python_version())"
        return run([*self._command(folder, cpu), "-I", "-X", "utf8", "-c", code])[-1]

    def _command(self, folder: Path, cpu: CpuName) -> list[str]:
        return _qemu.command(self.machine, cpu, folder / cpu, f"usr/bin/python{self.python}")


def _overlay(root: Path, folder: Path, files: dict[str, str]) -> None:
    """A folder like `root`, with files of its own beside."""
    folder.mkdir()
    for path in root.iterdir():
        (folder / path.name).symlink_to(Path("..") / root.name / path.name)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def _link_alternatives(root: Path) -> None:
    """Puts BLAS and LAPACK where they are looked for, as Debian's install scripts would have."""
    for library in ("blas", "lapack"):
        for path in root.glob(f"usr/lib/*/{library}/lib{library}.so.*"):
            link = path.parent.parent / path.name
            if not link.exists():
                link.symlink_to(Path(library) / path.name)
