"""Finds a Python of a wanted version on this machine, for an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit.child import said_by
from edgekit.errors import UsageError

__all__ = ["VARIABLE", "Python", "find_python", "own_variables"]

VARIABLE = "EDGEKIT_ISOLATED_PYTHON"
"""The environment variable that names the interpreter to take; several are written as in PATH."""

_LIMIT_SECONDS = 20
_QUESTION = """
import importlib.util, json, sys, sysconfig
print(json.dumps({
    "version": "%d.%d.%d" % sys.version_info[:3],
    "path": sys.executable,
    "usual": sys.implementation.name == "cpython" and sys.maxsize > 2**32
        and not sysconfig.get_config_var("Py_GIL_DISABLED"),
    "venv": all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
}))
"""


@dataclass(frozen=True)
class Python:
    """An interpreter that was asked: its version ('3.12.1'), and whether it can make a venv."""

    path: Path
    version: str
    is_usual: bool
    has_venv: bool

    @property
    def minor(self) -> str:
        """The version that packages are built for: '3.12'."""
        return ".".join(self.version.split(".")[:2])


def find_python(versions: tuple[str, ...], *, needed_for: str) -> Python:
    """The interpreter that the user names, else this one, else the first found of `versions`.

    Raises:
        UsageError: there is none, or the named one is of no use.
    """
    wanted = " or ".join(versions)
    named = os.environ.get(VARIABLE)
    if named:
        return _named(named, versions)
    bare = None
    for path in _candidates(versions):
        python = _ask(path)
        if python is None:
            continue
        if not _unfit(python, versions):
            return python
        if python.minor in versions and python.is_usual:
            bare = bare or python
    if bare is not None:
        raise UsageError(
            f"{needed_for} needs an environment of its own, and {bare.path} has no module 'venv'",
            hint=f"on Debian and Ubuntu: apt install python{bare.minor}-venv",
        )
    raise UsageError(
        f"{needed_for} needs Python {wanted}, and none is found on this machine",
        hint=f"install one (`uv python install {versions[0]}`, pyenv, or the system's packages), "
        f"or name it with {VARIABLE}",
    )


def _named(named: str, versions: tuple[str, ...]) -> Python:
    """The first of the user's own that fits.

    Raises:
        UsageError: none does.
    """
    refused = []
    for word in named.split(os.pathsep):
        python = _ask(Path(shutil.which(word) or word).expanduser())
        reason = _unfit(python, versions)
        if python is not None and not reason:
            return python
        refused.append(f"'{word}' {reason}")
    raise UsageError(
        f"{VARIABLE} {', '.join(refused)}",
        hint=f"name a Python {' or '.join(versions)} (64 bits, CPython); several are separated by "
        f"'{os.pathsep}'",
    )


def _unfit(python: Python | None, versions: tuple[str, ...]) -> str:
    """Why an interpreter cannot be taken; '' where it can."""
    if python is None:
        return "is no Python that starts"
    if python.minor not in versions:
        return f"is Python {python.version}"
    if not python.is_usual:
        return "is not CPython with 64 bits and a global lock, which the packages are built for"
    return "" if python.has_venv else "has no module 'venv' (or 'ensurepip')"


def _candidates(versions: tuple[str, ...]) -> Iterator[Path]:
    """Where a Python may be: this one, PATH, pyenv, uv, the py launcher."""
    yield Path(sys.executable)
    for version in versions:
        found = shutil.which(f"python{version}")
        if found:
            yield Path(found)
    for root in _roots():
        for version in versions:
            yield from sorted(root.glob(f"*{version}*/bin/python{version}"), reverse=True)
            yield from sorted(root.glob(f"*{version}*/python.exe"), reverse=True)
    launcher = shutil.which("py")
    for version in versions if launcher else ():
        found = _output([str(launcher), f"-{version}", "-c", "import sys; print(sys.executable)"])
        if found.strip():
            yield Path(found.strip())


def _roots() -> tuple[Path, ...]:
    """The folders in which pyenv and uv keep a folder for each version."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    pyenv = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv") / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or f"{data}/uv/python")
    return pyenv.expanduser(), uv.expanduser()


def _ask(path: Path) -> Python | None:
    """What an interpreter says of itself; None where it does not start (a shim of pyenv's)."""
    try:
        answer = json.loads(_output([str(path), "-I", "-c", _QUESTION]))
        # A virtual environment's Python makes environments too: what they hold is their own.
        found = Path(answer["path"]) if answer["path"] else path
        return Python(found, answer["version"], answer["usual"], answer["venv"])
    except (ValueError, KeyError, TypeError):
        return None


def _output(command: list[str]) -> str:
    return said_by(command, limit_seconds=_LIMIT_SECONDS, environment=own_variables())


def own_variables() -> dict[str, str]:
    """The environment variables without those that would lead another Python to our packages."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "__PYVENV"))
    }
