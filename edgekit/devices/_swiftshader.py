"""SwiftShader, Google's Vulkan driver that computes on the CPU: found, or taken from Debian.

Debian's package chromium-common holds it, with a Vulkan loader beside it. Two files are taken out
of the package; nothing is installed. An installed Chromium or Chrome has the same two files.
"""

from __future__ import annotations

import ctypes
import json
import platform
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edgekit.child import said_by
from edgekit.devices import _sysroot_debian
from edgekit.devices._sysroot_run import Runner, runner
from edgekit.errors import UsageError
from edgekit.frameworks.files import cache_root
from edgekit.frameworks.isolated_folder import locked, making, read_marker, write_marker

__all__ = ["DOWNLOAD_MB", "LOADER", "SwiftShader", "find", "has_loader", "make", "problem"]

Progress = Callable[[str, int], AbstractContextManager[Any]]

DOWNLOAD_MB = 42
LOADER = "libvulkan.so.1"

_PACKAGE = "chromium-common"
_DRIVER, _ICD = "libvk_swiftshader.so", "vk_swiftshader_icd.json"
_SUITE = "bookworm"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_BROWSERS = (
    "/usr/lib/chromium",
    "/usr/lib/chromium-browser",
    "/usr/lib64/chromium-browser",
    "/opt/google/chrome",
)
_WHAT = "the software GPU SwiftShader"
_LIMIT_SECONDS = 20
_STEPS = 4


@dataclass(frozen=True)
class SwiftShader:
    """A driver that is there: the file that tells a loader of it, and a folder with a loader."""

    icd: Path
    loader: Path | None
    title: str


def find() -> SwiftShader | None:
    """The one in the cache folder, else that of an installed browser; None where there is none."""
    folder = _folder()
    if found := read_marker(folder):
        return SwiftShader(folder / _ICD, folder, f"SwiftShader of {found['package']}")
    for browser in map(Path, _BROWSERS):
        if all((browser / name).is_file() for name in (_DRIVER, _ICD)):
            loader = browser if (browser / LOADER).is_file() else None
            if loader or has_loader():
                return SwiftShader(browser / _ICD, loader, f"SwiftShader of {_owner(browser)}")
    return None


def has_loader() -> bool:
    """Whether programs of this system find a Vulkan loader by themselves."""
    try:
        ctypes.CDLL(LOADER)
    except OSError:
        return False
    return True


def problem() -> str:
    """Why it cannot be made here; '' where it can."""
    if not sys.platform.startswith("linux"):
        return f"{_WHAT} is taken out of a package of Debian, which works on Linux only"
    if platform.machine() not in _ARCHITECTURES:
        known = " and ".join(_ARCHITECTURES)
        return f"{_WHAT} is there for {known}, and this machine is {platform.machine()}"
    missing = _sysroot_debian.problem()
    return f"{_WHAT} cannot be taken from Debian: {missing}" if missing else ""


def make(progress: Progress) -> None:
    """Makes it where it is not there; a second process waits for the first.

    Raises:
        UsageError: no network, no room, or a system that is too old; one sentence with the cause.
    """
    folder = _folder()
    try:
        with locked(folder, "SwiftShader", progress) as lock:
            if not read_marker(folder):
                text = f"install SwiftShader (once, about {DOWNLOAD_MB} MB)"
                with making(folder), progress(text, _STEPS) as bar:
                    _make(folder, bar, lock)
    except OSError as error:
        raise UsageError(
            f"EDGEKIT_CACHE '{cache_root()}': {_WHAT} cannot be put there: "
            f"{error.strerror or error}",
            hint="make room, or name another folder with EDGEKIT_CACHE",
        ) from None


def _folder() -> Path:
    return cache_root() / "swiftshader" / platform.machine()


def _make(folder: Path, bar: Any, lock: IO[str]) -> None:
    work = folder / "work"
    work.mkdir(parents=True)
    run = runner(_WHAT, folder=work, held=(lock.fileno(),))
    package = _download(work, run)
    bar.advance(2, "its files")
    _sysroot_debian.extract(package, work / "root", run)
    _take(work / "root", folder)
    bar.advance(1, "a look whether it loads")
    version = run(["dpkg-deb", "--field", str(package), "Version"])[-1].strip()
    for name in (LOADER, _DRIVER):
        load = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
        run([sys.executable, "-I", "-c", load, str(folder / name)])
    shutil.rmtree(work)
    known = {"package": f"{_PACKAGE} {version}", "python": platform.python_version()}
    write_marker(folder, known)
    bar.advance(1)


def _download(work: Path, run: Runner) -> Path:
    """The one package without what it needs: a browser is not to be run."""
    suite = _sysroot_debian.Suite(_SUITE, _ARCHITECTURES[platform.machine()])
    found = _sysroot_debian.download_alone(suite, _PACKAGE, work, run)
    if not found:
        raise UsageError(f"{_WHAT} could not be made: apt-get downloaded no {_PACKAGE}")
    return found[0]


def _take(root: Path, folder: Path) -> None:
    """Moves the two libraries, and writes the file by which a loader finds the driver.

    Raises:
        UsageError: the package has no such files any more.
    """
    for name in (_DRIVER, LOADER):
        source = next((path for path in root.rglob(name) if path.is_file()), None)
        if source is None or source.is_symlink():
            raise UsageError(
                f"{_WHAT} could not be made: Debian's {_PACKAGE} has no {name}",
                hint="install Chromium or Chrome, whose SwiftShader is used as well",
            )
        shutil.move(source, folder / name)
    icd = {"library_path": str(folder / _DRIVER), "api_version": "1.0.5"}
    text = json.dumps({"file_format_version": "1.0.0", "ICD": icd})
    (folder / _ICD).write_text(text, encoding="utf-8")


def _owner(browser: Path) -> str:
    """The package that a browser's driver belongs to with its version, else the folder."""
    owner = _say(["dpkg-query", "--search", str(browser / _DRIVER)]).partition(":")[0]
    known = _say(["dpkg-query", "--show", "--showformat", "${Package} ${Version}", owner])
    return known if owner and known else str(browser)


def _say(command: list[str]) -> str:
    return said_by(command, limit_seconds=_LIMIT_SECONDS).strip()
