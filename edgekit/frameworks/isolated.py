"""Virtual environments of their own, for engines whose packages cannot live beside ours.

An environment is made on first use in the user's cache folder, at its final place (a virtual
environment cannot be moved), under a lock; a file in it that is written last says that it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edgekit.errors import UsageError
from edgekit.frameworks._isolated_python import VARIABLE, Python, find_python, own_variables
from edgekit.frameworks._isolated_run import RunError, run_lines
from edgekit.frameworks.files import cache_root
from edgekit.frameworks.isolated_folder import locked, making, read_marker, write_marker

__all__ = [
    "Environment",
    "Requirements",
    "RunError",
    "Status",
    "ensure",
    "lost_network",
    "own_variables",
    "present",
    "run_lines",
    "status",
]

Progress = Callable[[str, int], AbstractContextManager[Any]]

_PIP_SECONDS = 3600
_VENV_SECONDS = 600
_UNREACHABLE = (
    "Temporary failure in name resolution",
    "Temporary failure resolving",
    "Could not resolve",
    "Name or service not known",
    "Network is unreachable",
    "Connection refused",
    "connection refused",
    "Could not connect",
    "Connection timed out",
    "ConnectTimeoutError",
    "ProxyError",
)


@dataclass(frozen=True)
class Requirements:
    """What an environment holds: every package of it with its version, and nothing is resolved.

    `pythons` are the versions that the packages are built for, the best first; `module` is what
    must be importable in the end; `needed_for` begins the sentences about it.
    """

    name: str
    pins: tuple[str, ...]
    pythons: tuple[str, ...]
    module: str
    download_mb: int
    needed_for: str

    def folder(self, root: Path, minor: str) -> Path:
        """Where the environment for one version of Python is."""
        text = json.dumps([sorted(self.pins), minor])
        return root / "environments" / f"{self.name}-{_digest(text)}"


@dataclass(frozen=True)
class Status:
    """Whether an environment is there; `problem` is '' unless it is not and cannot be made, and
    `hint` says what to do then."""

    name: str
    is_present: bool
    summary: str
    problem: str = ""
    hint: str = ""
    size_mb: int | None = None


@dataclass(frozen=True)
class Environment:
    """One that is whole."""

    folder: Path
    python: Path

    def run(
        self, script: Path, request: Mapping[str, Any], *, folder: Path, limit_seconds: float
    ) -> dict[str, Any]:
        """Runs a script with the path of a JSON file; returns what it wrote as JSON beside it.

        The script's current folder and its temporary files are in `folder`; what it prints is lost,
        except where it fails.

        Raises:
            RunError: it failed, or left no answer.
        """
        asked, answer, temporary = (folder / name for name in ("ask.json", "answer.json", "tmp"))
        temporary.mkdir(parents=True, exist_ok=True)
        asked.write_text(json.dumps({**request, "answer": str(answer)}), encoding="utf-8")
        # -P: the folder of the script is ours, and nothing of it may be imported.
        lines = run_lines(
            [str(self.python), "-s", "-P", str(script), str(asked)],
            cwd=folder,
            environment={
                **own_variables(),
                "PATH": os.pathsep.join((str(self.python.parent), os.environ.get("PATH", ""))),
                "TMPDIR": str(temporary),
                "PYTHONUTF8": "1",
            },
            limit_seconds=limit_seconds,
        )
        try:
            found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise RunError("ended without an answer", lines) from None
        return found


def status(requirements: Requirements, root: Path | None = None) -> Status:
    """Says whether the environment is there, what would make it, or why nothing can."""
    name = requirements.name
    there = present(requirements, root)
    if there is not None:
        known = read_marker(there.folder)
        made = f"{known['size_mb']} MB, made with Python {known['python']}, in {there.folder}"
        return Status(name, True, made, size_mb=known["size_mb"])
    try:
        python = find_python(requirements.pythons, needed_for=requirements.needed_for)
    except UsageError as error:
        return Status(name, False, "", error.message, error.hint)
    return Status(
        name,
        False,
        f"made on first use with {python.path} (Python {python.version}; a download of about "
        f"{requirements.download_mb} MB)",
    )


def ensure(requirements: Requirements, progress: Progress, root: Path | None = None) -> Environment:
    """The environment, made now where it is not there yet; a second process waits for the first.

    Raises:
        UsageError: no Python for it, no network, or no room; one sentence with the cause.
    """
    home = root or cache_root()
    there = present(requirements, home)
    if there is not None:
        return there
    python = find_python(requirements.pythons, needed_for=requirements.needed_for)
    folder = requirements.folder(home, python.minor)
    try:
        with locked(folder, requirements.name, progress) as lock:
            there = present(requirements, home)
            return there or _make(requirements, python, folder, progress, lock)
    except OSError as error:
        raise UsageError(
            f"EDGEKIT_CACHE '{home}': the environment for {requirements.name} cannot be made "
            f"there: {error.strerror or error}",
            hint="make room, or name another folder with EDGEKIT_CACHE",
        ) from None


def present(requirements: Requirements, root: Path | None = None) -> Environment | None:
    """The first whole environment, of whatever Python; none where its Python is gone."""
    for minor in requirements.pythons:
        folder = requirements.folder(root or cache_root(), minor)
        python = folder / "bin" / "python"
        if read_marker(folder) and python.exists():
            return Environment(folder, python)
    return None


def _make(
    requirements: Requirements, python: Python, folder: Path, progress: Progress, lock: IO[str]
) -> Environment:
    own = folder / "bin" / "python"
    count = len(requirements.pins)
    text = f"install {requirements.name} (once, about {requirements.download_mb} MB)"
    with making(folder), progress(text, count + 2) as bar:
        _run([str(python.path), "-m", "venv", str(folder)], folder, requirements, lock)
        bar.advance(1)
        _install(requirements, own, folder, bar, lock)
        check = [str(own), "-I", "-c", f"import {requirements.module}"]
        _run(check, folder, requirements, lock)
        write_marker(folder, {"python": python.version, "pins": requirements.pins})
        bar.advance(1)
    return Environment(folder, own)


def _install(
    requirements: Requirements, python: Path, folder: Path, bar: Any, lock: IO[str]
) -> None:
    """Installs exactly the pins, from wheels: nothing is resolved, built, or run while at it."""
    listed = folder / "requirements.txt"
    listed.write_text("\n".join(requirements.pins) + "\n", encoding="utf-8")
    wanted = {pin.partition("==")[0].lower() for pin in requirements.pins}

    def heard(line: str) -> None:
        words = line.split()
        if len(words) > 1 and words[0] == "Collecting" and _plain(words[1]) in wanted:
            bar.advance(1, _plain(words[1]))
        elif words[:1] == ["Processing"]:  # a wheel from a folder
            bar.advance(1)

    command = [str(python), "-m", "pip", "install", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-input", "--disable-pip-version-check", "--retries", "2", "--progress-bar"]
    _run([*command, "off", "-r", str(listed)], folder, requirements, lock, heard)


def _plain(requirement: str) -> str:
    return requirement.partition("==")[0].lower()


def _run(
    command: list[str],
    folder: Path,
    requirements: Requirements,
    lock: IO[str],
    heard: Callable[[str], None] = lambda line: None,
) -> None:
    """Runs one command of the making; it holds the lock, in case that we are killed before it.

    Raises:
        UsageError: it failed; its first useful line is in the sentence.
    """
    pip = "pip" in command
    try:
        run_lines(
            command,
            cwd=folder.parent,
            environment=own_variables(),
            limit_seconds=_PIP_SECONDS if pip else _VENV_SECONDS,
            heard=heard,
            held=(lock.fileno(),),
        )
    except RunError as error:
        cause, hint = _explain(error, requirements)
        raise UsageError(
            f"{requirements.needed_for} needs an environment of its own, which could not be made: "
            f"{'pip' if pip else Path(command[0]).name} {cause}",
            hint=hint,
        ) from None


def _explain(error: RunError, requirements: Requirements) -> tuple[str, str]:
    """The cause in a few words, and what to do about it."""
    if lost := lost_network(error.lines):
        return (
            f"cannot reach the package index ({lost})",
            "go online once and try again: the environment is kept; pip's own settings (index, "
            "proxy) count",
        )
    useful = [line for line in error.lines if line.startswith("ERROR:")] or error.lines[-1:]
    said = f": {useful[0].removeprefix('ERROR:').strip()[:300]}" if useful else ""
    return (
        f"{error.how}{said}",
        f"try it by hand: `python -m venv v && v/bin/pip install {requirements.name}`; another "
        f"Python ({' or '.join(requirements.pythons)}) is named with {VARIABLE}",
    )


def lost_network(lines: list[str]) -> str:
    """The words by which pip or apt says that it cannot reach its server; '' where it can."""
    text = "\n".join(lines)
    return next((words for words in _UNREACHABLE if words in text), "")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
