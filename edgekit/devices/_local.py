"""A folder on this machine and processes with pipes: what every device made here is."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.errors import UnmeasuredError, UsageError

__all__ = ["ISOLATED", "LocalLink"]

ISOLATED = ("-I", "-B", "-X", "utf8")
"""Python's own packages only, no .pyc files, and text in UTF-8 whatever the locale."""

_NAME = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


class LocalLink:
    """Implements `core.device.Link`.

    `python` is the command before a script's name; `environment` are all variables that it sees,
    beside TMPDIR. Files and temporary files lie in two folders, which `close` removes.

    Raises:
        UnmeasuredError: there is no room for a folder.
    """

    def __init__(
        self, python: Sequence[str], environment: Mapping[str, str], *, device: str
    ) -> None:
        self._python, self._device = tuple(python), device
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            self._root = Path(tempfile.mkdtemp(prefix="edgekit-device-"))
        except OSError as error:
            raise self._no_room(error) from None
        self._files, temporary = self._root / "files", self._root / "tmp"
        self._environment = {**environment, "TMPDIR": str(temporary)}
        try:
            self._files.mkdir()
            temporary.mkdir()
        except OSError as error:
            self.close()
            raise self._no_room(error) from None

    def put(self, files: Mapping[str, Path]) -> None:
        """Copies files; a name is relative, and stays in the folder.

        Raises:
            UsageError: a name leads out of the folder.
            UnmeasuredError: a file cannot be read, or there is no room.
        """
        for name, source in files.items():
            if not _NAME.fullmatch(name) or {".", ".."} & set(name.split("/")):
                raise UsageError(
                    f"file {name!r}: not a name that a file may have on {self._device}",
                    hint="letters, digits, '.', '_' and '-', in folders below the bundle's own",
                )
            target = self._files / name
            try:
                self._files.stat()  # A link that is closed makes no new folder.
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            except OSError as error:
                raise self._no_room(error, name) from None

    def start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Starts Python in a process group of its own, which Ctrl-C here does not reach.

        Raises:
            UnmeasuredError: it does not start.
        """
        try:
            process = subprocess.Popen(
                [*self._python, *words],
                cwd=self._files,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise UnmeasuredError(
                f"{self._device}: {self._python[0]} does not start: {error.strerror or error}",
                hint="`edgekit doctor` says what is missing",
            ) from None
        self._processes.append(process)
        return process

    def close(self) -> None:
        """Kills what still runs, with all that it started, and removes the folder."""
        processes, self._processes = self._processes, []
        for process in processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
        for process in processes:
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                # What was not written yet has no reader any more.
                with contextlib.suppress(OSError, ValueError):
                    if pipe is not None:
                        pipe.close()
        shutil.rmtree(self._root, ignore_errors=True)

    def _no_room(self, error: OSError, name: str = "") -> UnmeasuredError:
        what = (
            f"'{name}' cannot be copied to its folder" if name else "no folder can be made for it"
        )
        return UnmeasuredError(
            f"{self._device}: {what}: {error.strerror or error}",
            hint=f"make room, or name another folder for temporary files with TMPDIR "
            f"(now {tempfile.gettempdir()})",
        )
