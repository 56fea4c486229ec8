"""Wheels for another processor: downloaded by pip, unpacked by us, and nothing of them is run."""

from __future__ import annotations

import shutil
import stat
import sys
import zipfile
from pathlib import Path, PurePosixPath

from edgekit import lazy
from edgekit.devices._sysroot_run import Runner
from edgekit.errors import UsageError

__all__ = ["download", "problem", "unpack"]

_MOST_BYTES = 2_000_000_000
_MOST_FILES = 50_000
_OLDEST_GLIBC = 17
_LIBRARIES = ("purelib", "platlib")


def problem() -> str:
    """Why no wheels can be had here; '' where they can."""
    # Not by find_spec: setuptools listens there, and warns where distutils is imported already.
    if not lazy.version("pip"):
        return (
            "pip is not there for the Python that runs edgekit: `python -m ensurepip`, or "
            "`uv pip install pip`"
        )
    return ""


def download(
    pins: tuple[str, ...], folder: Path, run: Runner, *, machine: str, python: str, glibc: int
) -> list[Path]:
    """Downloads wheels that a system of that machine, Python and glibc (2.x) can load.

    Raises:
        UsageError: the index cannot be reached, or has no such wheel.
    """
    folder.mkdir()
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc, _OLDEST_GLIBC - 1, -1)]
    platforms = [
        word for tag in (*tags, f"manylinux2014_{machine}") for word in ("--platform", tag)
    ]
    abis = [f"cp{python.replace('.', '')}", "abi3", "none"]
    run(
        [
            *(sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"),
            *("--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--retries"),
            *("2", "--implementation", "cp", "--python-version", python, "-d", str(folder)),
            *(word for abi in abis for word in ("--abi", abi)),
            *(*platforms, *pins),
        ]
    )
    return sorted(folder.glob("*.whl"))


def unpack(wheel: Path, folder: Path) -> None:
    """Unpacks a wheel's libraries as `site-packages` has them.

    Raises:
        UsageError: it is damaged, too large, or holds a path that leads out of the folder.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = archive.infolist()
            if len(members) > _MOST_FILES or sum(m.file_size for m in members) > _MOST_BYTES:
                raise UsageError(f"{wheel.name}: a wheel with more files or bytes than any has")
            for member in members:
                path = _path(member, wheel)
                if path is not None:
                    _write(archive, member, folder / path)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise UsageError(f"{wheel.name}: a damaged wheel: {error}") from None


def _path(member: zipfile.ZipInfo, wheel: Path) -> PurePosixPath | None:
    """Where a file goes; None for folders, scripts and headers."""
    path = PurePosixPath(member.filename)
    mode = member.external_attr >> 16
    is_odd = path.is_absolute() or ".." in path.parts or "\\" in member.filename
    if is_odd or (stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)):
        raise UsageError(f"{wheel.name}: holds '{member.filename}', which no wheel may hold")
    if member.is_dir():
        return None
    first = path.parts[0]
    if not first.endswith(".data"):
        return path
    is_library = len(path.parts) > 2 and path.parts[1] in _LIBRARIES
    return PurePosixPath(*path.parts[2:]) if is_library else None


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """`ZipFile` stops where more comes out than the file's own size says, and checks the CRC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
