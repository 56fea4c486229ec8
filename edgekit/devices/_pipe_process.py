"""A process whose stdin and stdout are a conversation: none of its reads waits for ever."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from typing import IO

__all__ = ["Child"]

_MOST_STDERR = 1 << 16


class Child:
    """Owns a process and its three pipes; keeps the end of what it writes on stderr."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._stdin, self._stdout, self._stderr = (
            _there(pipe) for pipe in (process.stdin, process.stdout, process.stderr)
        )
        self._said = b""
        self._drain = threading.Thread(target=self._read_stderr, daemon=True)
        self._drain.start()

    def write(self, data: bytes) -> None:
        """Writes all of it.

        Raises:
            BrokenPipeError: the process reads no more.
        """
        self._stdin.write(data)
        self._stdin.flush()

    def read_line(self, most: int) -> bytes:
        """A line; without its end where the process ended, or the line is longer than `most`."""
        return self._stdout.readline(most)

    @contextlib.contextmanager
    def limit(self, seconds: float) -> Iterator[threading.Event]:
        """Kills the process when the block takes longer; the event says whether it did."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()

    def outcome(self) -> tuple[int, str]:
        """Exit code and stderr of a process that has closed its stdout."""
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
        code = self._process.wait()
        self._drain.join(2.0)
        return code, self._said.decode("utf-8", "replace")

    def end(self, seconds: float) -> None:
        """Closes its stdin, waits so long for it to end, then kills it."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._drain.join(2.0)
        for pipe in (self._stdout, self._stderr):
            with contextlib.suppress(OSError):
                pipe.close()

    def _read_stderr(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            while part := self._stderr.read1(4096):  # type: ignore[attr-defined]
                self._said = (self._said + part)[-_MOST_STDERR:]


def _there(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
