"""The small program on a device while a link is open: takes files in, and removes them at the end.

`_pipe.py` sends this file over the pipe to the device's own Python (3.8 or later, nothing but the
standard library), so nothing must be installed there. It lives as long as its stdin: whatever ends
the connection, a kill here included, ends it too, and it removes its folder then.

A request is a line of JSON, an answer too: {"put": [[name, size, sha256], ...]} and the bytes of
all files; {"end": true}. Files come into place together, after the last of them was checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from typing import IO, Any

__all__ = ["MAGIC", "main"]

MAGIC = "edgekit-pipe/1 "

_CHUNK = 1 << 18
_NAME = re.compile(r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,3}$")
_RUN = re.compile(r"^run-[a-z0-9_]{8}$")
_OLD_SECONDS = 7 * 24 * 3600


class _RefusedError(Exception):
    """What goes back instead of an answer."""

    def __init__(self, **reply: Any) -> None:
        super().__init__()
        self.reply = reply


def main(source: IO[bytes], answers: IO[bytes], base: str) -> None:
    """Serves one link; `base` is the folder below which its own one is made."""
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda *_: sys.exit(1))
    folder = ""
    try:
        base, folder = _own_folder(base)
        hello = {"python": list(sys.version_info[:3]), "folder": folder}
        _answer(answers, hello, before=MAGIC)
        _serve(source, answers, folder)
    except _RefusedError as refused:
        _answer(answers, refused.reply, before="" if folder else MAGIC)
    except BrokenPipeError:
        pass  # nobody is there any more; the folder goes, as always
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _own_folder(base: str) -> tuple[str, str]:
    base = os.path.abspath(os.path.expanduser(base))
    try:
        os.makedirs(base, exist_ok=True)
        _remove_old(base)
        return base, tempfile.mkdtemp(prefix="run-", dir=base)
    except OSError as error:
        raise _RefusedError(error=error.strerror, code=error.errno, path=base) from None


def _remove_old(base: str) -> None:
    """A device that lost its power kept its folder; after a week nobody works in it."""
    for name in os.listdir(base):
        path = os.path.join(base, name)
        if _RUN.match(name) and os.lstat(path).st_mtime < time.time() - _OLD_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _serve(source: IO[bytes], answers: IO[bytes], folder: str) -> None:
    while True:
        line = source.readline()
        request = json.loads(line.decode("ascii")) if line.endswith(b"\n") else {}
        if "put" not in request:
            return
        try:
            _take(source, folder, request["put"])
        except OSError as error:
            where = {"path": folder, "free": _free(folder)}
            raise _RefusedError(error=error.strerror, code=error.errno, **where) from None
        _answer(answers, {"ok": True})


def _take(source: IO[bytes], folder: str, files: list[Any]) -> None:
    needed, free = sum(size for _, size, _ in files), _free(folder)
    if needed > free:
        raise _RefusedError(error="full", needed=needed, free=free, path=folder)
    incoming = os.path.join(folder, ".incoming")
    os.mkdir(incoming)
    for index, (name, size, digest) in enumerate(files):
        if not _NAME.match(name) or {".", ".."} & set(name.split("/")):
            raise _RefusedError(error="not a name for a file", path=name)
        if _receive(source, os.path.join(incoming, str(index)), size) != digest:
            raise _RefusedError(error="damaged", path=name)
    for index, (name, _, _) in enumerate(files):
        target = os.path.join(folder, *name.split("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(os.path.join(incoming, str(index)), target)
    os.rmdir(incoming)


def _receive(source: IO[bytes], path: str, size: int) -> str:
    digest, left = hashlib.sha256(), size
    with open(path, "wb") as file:
        while left:
            part = source.read(min(left, _CHUNK))
            if not part:
                sys.exit(1)  # the connection broke; the folder goes
            digest.update(part)
            file.write(part)
            left -= len(part)
    return digest.hexdigest()


def _free(folder: str) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _answer(answers: IO[bytes], reply: dict[str, Any], before: str = "") -> None:
    answers.write((before + json.dumps(reply) + "\n").encode("ascii"))
    answers.flush()
