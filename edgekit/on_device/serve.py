#!/usr/bin/env python3
"""Answers requests on stdin, one after another: the protocol edgekit-serve/1, beside run.py.

A message is a line of JSON, and behind it the bytes of the arrays that its `arrays` lists
(dtype, shape; little-endian). The server says `hello` first: its schema and what it knows of the
machine. Then each request has an `op`, and its answer `ok`, or `error` with `hint` and `exit`:

    open       model, format, runtimes, threads, options, delegates, strict -> id, inputs, outputs
    run        id, arrays -> arrays, first_ns         placement  id -> ops, reason
    time       id, runs -> samples_ns                 figures    id -> figures
    peak       -> peak_bytes, before_bytes            selftest   bundle ... -> result
    close      id

A figure is {name, value, unit, kind, reason}: what a compiler estimates, or an arena takes.
It needs Python 3.8 and numpy, as run.py does.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading

if __package__:
    from edgekit.on_device import run
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import run  # type: ignore[import-not-found, no-redef]

    del sys.path[0]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

__all__ = ["PROTOCOL", "Server"]

PROTOCOL = "edgekit-serve/1"
_OPENED = ("runtime", "version", "inputs", "outputs", "attempts", "load_ns")


class Server:
    """Serves stdin until it ends; `opener` opens a model as `run.open_model` does."""

    def __init__(self, opener: Callable[..., run.Session] = run.open_model) -> None:
        self._opener = opener
        self._in: Any = sys.stdin.buffer
        self._out = os.fdopen(os.dup(1), "wb")
        self._open: list[run.Session | None] = []
        self._before = 0
        os.dup2(2, 1)  # What a runtime prints must not get between the answers.
        poll = select.poll()
        poll.register(0, getattr(select, "POLLRDHUP", 0))  # The end of stdin ends it at once.
        threading.Thread(target=lambda: (poll.poll(), os._exit(0)), daemon=True).start()
        self._send({"schema": PROTOCOL, **run.about()})

    def run(self) -> None:
        """Answers until there are no more requests."""
        for line in self._in:
            try:
                ask = dict(json.loads(line))
                arrays = [self._array(spec) for spec in ask.pop("arrays", ())]
                reply, *found = self._answer(ask.pop("op", None), ask, arrays)
                self._send({"ok": True, **reply}, *found)
            except Exception as error:
                why = run.as_fault(error)
                self._send({"ok": False, "error": str(why), "hint": why.hint, "exit": why.code})

    def _array(self, spec: Mapping[str, Any]) -> Any:
        array = run.load("numpy").empty(spec["shape"], spec["dtype"])
        self._in.readinto(array.reshape(-1).view("u1"))
        return array

    def _send(self, reply: Mapping[str, Any], *arrays: Any) -> None:
        listed = [{"dtype": array.dtype.name, "shape": array.shape} for array in arrays]
        line = json.dumps({**reply, "arrays": listed}) + "\n"
        self._out.write(b"".join([line.encode(), *(array.tobytes() for array in arrays)]))
        self._out.flush()

    def _answer(self, op: str, ask: dict[str, Any], arrays: Sequence[Any]) -> Sequence[Any]:
        if op == "open":
            return [self._opens(ask)]
        if op == "peak":
            return [{"peak_bytes": run.memory("VmHWM"), "before_bytes": self._before}]
        if op == "selftest":
            own = run.beside("run", folder=ask["bundle"], name="run_of_the_bundle")
            return [{"result": own.selftest(ask.pop("bundle"), **ask)}]
        number = ask.get("id")
        session = dict(enumerate(self._open)).get(number) if isinstance(number, int) else None
        answers: Mapping[str, Callable[..., Sequence[Any]]] = {
            "run": _run,
            "time": lambda s, *_: [{"samples_ns": run.block(s.repeat(), ask["runs"])}],
            "placement": _placement,
            "figures": lambda s, *_: [{"figures": s.figures() if hasattr(s, "figures") else []}],
            "close": lambda *_: self._close(ask["id"]),
        }
        if op not in answers or session is None:
            raise run.Fault(f"op '{op}', id {number}: is not known, or no model is open there")
        return answers[op](session, arrays)

    def _opens(self, ask: dict[str, Any]) -> dict[str, Any]:
        self._before = self._before or run.memory("VmHWM")
        session = self._opener(**ask)
        self._open.append(session)
        return {"id": len(self._open) - 1, **{key: getattr(session, key) for key in _OPENED}}

    def _close(self, number: int) -> list[dict[str, Any]]:
        self._open[number] = None
        return [{}]


def _placement(session: Any, arrays: Sequence[Any]) -> Sequence[Any]:
    ops, reason = session.placement()
    return [{"ops": ops, "reason": reason}]


def _run(session: run.Session, arrays: Sequence[Any]) -> Sequence[Any]:
    outputs = session.run(arrays)
    return [{"first_ns": session.first_ns}, *outputs]


if __name__ == "__main__":
    Server().run()
