"""A link over any program that runs a shell command on a device and joins its pipes (ssh, adb)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.devices import _pipe_agent
from edgekit.devices._pipe_errors import refused, stopped
from edgekit.devices._pipe_process import Child
from edgekit.errors import EdgekitError, UnmeasuredError, UsageError
from edgekit.text import clean

__all__ = ["PipeLink", "Way", "printable_word", "shell_word"]

_CHUNK = 1 << 18
_ANSWER_SECONDS = 30
_SLOWEST_BYTES_PER_SECOND = 20_000
_CLOSE_SECONDS = 5.0
_LONGEST_LINE = 1 << 16
_FOLDER = re.compile(r"/([^\x00-\x1f\x7f]*/)?run-[a-z0-9_]{8}")

# Python 2 must be able to read it, to say that it is too old. Not from the folder that it starts
# in: a `json.py` lying there would be imported.
_BOOT = (
    "import sys;"
    'sys.version_info<(3,8) and sys.exit("edgekit: python %d.%d"%sys.version_info[:2]);'
    "sys.path=[p for p in sys.path if p];"
    "s=sys.stdin.buffer;g={};exec(s.read(int(s.readline())),g);"
    'g["main"](s,sys.stdout.buffer,sys.argv[1])'
)


@dataclass(frozen=True)
class Way:
    """A program that reaches a device.

    `first` and `more` make its command line from the device's: `first` for the connection that
    stays open until the end, `more` for others beside it. `explain` knows the program's own
    failures from its exit code, stderr and when it was ('while files were copied to it'); None
    where it was not the program that failed. `finish` is called when everything has ended.
    """

    label: str
    python: str
    folder: str
    first: Callable[[str], list[str]]
    more: Callable[[str], list[str]]
    explain: Callable[[int, str, str], EdgekitError | None]
    hello_seconds: float
    finish: Callable[[], None] = lambda: None


def printable_word(noun: str, word: str) -> None:
    """Refuses a word that a program would take for an option, or that a terminal would obey.

    Raises:
        ValueError: says which word, and why.
    """
    if word.startswith("-"):
        raise ValueError(f"{noun} '{clean(word)}' begins with '-'")
    if not word.isprintable():
        raise ValueError(f"{noun} '{clean(word)}' has control characters in it")


def shell_word(path: str) -> str:
    """A path as one word of the device's shell; `~/` stays its home folder."""
    if path.startswith("~/"):
        return f'"$HOME"/{shlex.quote(path[2:])}'
    return shlex.quote(path)


class PipeLink:
    """An open way to a device; `edgekit.core.device.Link` says what it does."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._folder = ""
        self._others: list[subprocess.Popen[bytes]] = []
        self._agent = self._start_agent()
        try:
            self._folder = self._greet()
        except BaseException:
            self.close()
            raise

    def put(self, files: Mapping[str, Path]) -> None:
        """Sends files; they are in place only when all came whole, as `sha256` says."""
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(_opened(path)) for path in files.values()]
            listed: list[tuple[str, int, str]] = [
                (name, os.fstat(file.fileno()).st_size, _digest(file))
                for name, file in zip(files, opened, strict=True)
            ]
            seconds = _ANSWER_SECONDS + sum(row[1] for row in listed) / _SLOWEST_BYTES_PER_SECOND

            def send() -> None:
                self._agent.write(json.dumps({"put": listed}).encode("ascii") + b"\n")
                for file, (_, size, _) in zip(opened, listed, strict=True):
                    self._send(file, size)

            reply = self._ask(send, during="while files were copied to it", seconds=seconds)
        if not reply.get("ok"):
            raise refused(self._way.label, reply)

    def start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Starts the device's Python in the link's folder; the pipes are the caller's to close."""
        python, folder = shell_word(self._way.python), shlex.quote(self._folder)
        command = f"cd {folder} && exec {python} {shlex.join(words)}"
        process = _popen(self._way.more(command))
        self._others.append(process)
        return process

    def ended(self, code: int, stderr: str, *, during: str) -> EdgekitError:
        """The error for a started process that ended too early: the way's own, or Python's."""
        way = self._way
        return way.explain(code, stderr, during) or stopped(
            way.label, way.python, code, stderr, during
        )

    def close(self) -> None:
        """Ends what was started, then the agent, which removes the folder; takes some seconds
        at most, also where the device is gone."""
        for process in self._others:
            _end(process)
        self._others.clear()
        with contextlib.suppress(OSError, ValueError):  # gone, or closed before
            self._agent.write(b'{"end": true}\n')
        self._agent.end(_CLOSE_SECONDS)
        self._way.finish()

    def _start_agent(self) -> Child:
        way = self._way
        boot = ["-c", _BOOT, way.folder]
        command = f"exec {shell_word(way.python)} {shlex.join(boot)}"
        try:
            return Child(_popen(way.first(command)))
        except BaseException:
            way.finish()
            raise

    def _greet(self) -> str:
        source = Path(_pipe_agent.__file__).read_bytes()
        reply = self._ask(
            lambda: self._agent.write(b"%d\n%s" % (len(source), source)),
            during="before it answered",
            seconds=self._way.hello_seconds,
            before=_pipe_agent.MAGIC,
        )
        if "error" in reply:
            raise refused(self._way.label, reply)
        folder = reply.get("folder")
        if not isinstance(folder, str) or not _FOLDER.fullmatch(folder):
            raise UnmeasuredError(
                f"{self._way.label}: answers with what is no folder: {clean(repr(folder))}",
                hint="is it the Python that you meant? Its output was changed on the way",
            )
        return folder

    def _send(self, file: Any, size: int) -> None:
        file.seek(0)
        left = size
        while left:
            part = file.read(min(left, _CHUNK))
            if not part:
                raise UnmeasuredError(f"{file.name}: became shorter while it was copied")
            self._agent.write(part)
            left -= len(part)

    def _ask(
        self, write: Callable[[], None], *, during: str, seconds: float, before: str = ""
    ) -> dict[str, Any]:
        label = self._way.label
        with self._agent.limit(seconds) as late:
            # Where it has ended already, its answer or its stderr says why.
            with contextlib.suppress(BrokenPipeError):
                write()
            line = self._agent.read_line(_LONGEST_LINE)
        if line.endswith(b"\n"):
            return _reply(label, line, before)
        if late.is_set():
            raise UnmeasuredError(
                f"{label}: did not answer within {seconds:.0f} s",
                hint="look whether it is still running, and try again",
            )
        raise self.ended(*self._agent.outcome(), during=during)


def _reply(label: str, line: bytes, before: str) -> dict[str, Any]:
    text = line.decode("utf-8", "replace").strip()
    with contextlib.suppress(ValueError):
        reply = json.loads(text.removeprefix(before)) if text.startswith(before) else None
        if isinstance(reply, dict):
            return reply
    raise UnmeasuredError(
        f"{label}: printed '{clean(text)}' at log-in, where only the program's answer belongs",
        hint="the start-up file of its shell must print nothing when nobody sits at a terminal "
        "(in ~/.bashrc: [ -t 1 ] || return)",
    )


def _popen(command: list[str]) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C reaches edgekit alone, which then closes in order."""
    pipe = subprocess.PIPE
    # Nobody is asked for a password, by a window neither (an ssh that ssh starts might).
    environment = {**os.environ, "SSH_ASKPASS_REQUIRE": "never"}
    try:
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
        )
    except OSError as error:
        raise UsageError(f"{command[0]} did not start: {error.strerror or error}") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its stdin ends, which ends the program on the device; then the one here."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None


def _digest(file: Any) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()
