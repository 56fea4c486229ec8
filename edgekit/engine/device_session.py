"""A model on a device: the host's side of `serve.py`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast

from edgekit import on_device
from edgekit.core import catalog
from edgekit.core.artifact import Quantization, Signature, TensorSpec
from edgekit.core.device import Device, DeviceSpec, Link
from edgekit.core.measurement import Figure
from edgekit.core.runner import PLAIN_CPU, Attempt, OpPlacement, Placement
from edgekit.errors import EdgekitError, PromiseError, UnmeasuredError, UsageError
from edgekit.text import clean

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = [
    "DRIVERS",
    "RUN_PY",
    "DeviceSession",
    "Serving",
    "delegates_of",
    "device_module",
    "open_on_device",
]

RUN_PY = Path(on_device.__file__).with_name("run.py")
DRIVERS = {path.name: path for path in sorted(RUN_PY.parent.glob("drive_*.py"))}
"""What run.py needs beside it for some runtimes and delegates, by the name it has there."""
_SERVER = {name: RUN_PY.with_name(name) for name in ("run.py", "serve.py")}

_PROTOCOL = "edgekit-serve/1"
_LIMIT_SECONDS = 600.0
"""For one answer: a block of samples under an emulator takes a minute at most."""
_END_SECONDS = 5.0
_LINE_BYTES = 2**22
_ARRAYS_BYTES = 2**31
_DTYPES = frozenset({"bool", "float16", "float32", "float64"}) | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_LINES_KEPT, _PRINTED_BYTES = 100, 2000


def device_module(spec: DeviceSpec) -> Device:
    """The module that knows the way to a device."""
    return cast("Device", catalog.load("devices", spec.via))


def delegates_of(spec: DeviceSpec) -> list[dict[str, Any]]:
    """The delegates of a device as run.py takes them."""
    return [{"library": d.library, "options": dict(d.options)} for d in spec.delegates]


def open_on_device(
    spec: DeviceSpec,
    files: Mapping[str, Path],
    *,
    format: str,
    signature: Signature,
    options: Mapping[str, Any],
) -> DeviceSession:
    """Opens a model on a device; `files` are the model and what belongs to it, by name.

    Raises:
        UsageError: the runtime there cannot load the model; an unknown op is named.
        UnmeasuredError: the device cannot be reached, or lacks the runtime.
    """
    serving = Serving(spec, files)
    try:
        return DeviceSession(
            serving, model=next(iter(files)), format=format, signature=signature, options=options
        )
    except BaseException:
        serving.close()
        raise


class Serving:
    """`serve.py` on a device: one process there, and what it says about itself (`hello`).

    It is closed by whoever made it: the process and its files are gone afterwards.

    Raises:
        UnmeasuredError: the device cannot be reached, or does not answer as serve.py does.
    """

    hello: Mapping[str, Any]

    def __init__(self, spec: DeviceSpec, files: Mapping[str, Path]) -> None:
        self.spec = spec
        self._doing = "it started"
        self._late = threading.Event()
        self._errors = _Kept()
        self._link: Link | None = None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._link = device_module(spec).connect(spec.options)
            self._link.put({**DRIVERS, **files, **_SERVER})
            self._process = self._link.start(["serve.py"])
            assert self._process.stderr is not None, "a link gives pipes"
            self._errors.follow(self._process.stderr)
            self.hello, _ = self._receive()
            if self.hello.get("schema") != _PROTOCOL:
                self._fail(f"speaks {self.hello.get('schema')!r} instead of {_PROTOCOL}")
        except BaseException:
            self.close()
            raise

    def ask(
        self, op: str, arrays: Sequence[Array] = (), **request: Any
    ) -> tuple[dict[str, Any], tuple[Array, ...]]:
        """One request and its answer, both with arrays.

        Raises:
            UsageError: the device refuses the model or its inputs.
            PromiseError: what was promised is not kept there, such as that a delegate takes ops.
            UnmeasuredError: the runtime there lacks something, or the connection was lost.
        """
        import numpy as np

        self._doing = f"it did '{op}'"
        plain = [np.ascontiguousarray(array) for array in arrays]
        listed = [{"dtype": array.dtype.name, "shape": list(array.shape)} for array in plain]
        line = json.dumps({"op": op, **request, "arrays": listed}) + "\n"
        self._send([line.encode(), *(array.tobytes() for array in plain)])
        answer, found = self._receive()
        if answer.get("ok") is not True:
            error, hint = (str(answer.get(key) or "") for key in ("error", "hint"))
            known: dict[Any, type[EdgekitError]] = {
                kind.exit_code: kind for kind in (PromiseError, UsageError, UnmeasuredError)
            }
            kind = known.get(answer.get("exit"), UnmeasuredError)
            raise kind(f"{self.spec.label}: {error}", hint=hint)
        return answer, found

    def close(self) -> None:
        """Ends the process on the device and removes what was put there."""
        process, link = self._process, self._link
        self._process = self._link = None
        try:
            if process is not None:
                _end(process)
        finally:
            if link is not None:
                link.close()

    def _send(self, parts: Sequence[bytes]) -> None:
        assert self._process is not None, "the session is closed"
        assert self._process.stdin is not None, "a link gives pipes"
        try:
            for part in parts:
                self._process.stdin.write(part)
            self._process.stdin.flush()
        except (OSError, ValueError):
            self._lost()

    def _receive(self) -> tuple[dict[str, Any], tuple[Array, ...]]:
        import numpy as np

        with self._within(_LIMIT_SECONDS) as stream:
            head = stream.readline(_LINE_BYTES)
            if not head.endswith(b"\n"):
                self._lost()
            try:
                answer = dict(json.loads(head))
                specs = [_array_spec(table) for table in answer.pop("arrays", ())]
            except (ValueError, TypeError, KeyError):
                self._fail(f"gave an answer that is not serve.py's: {bytes(head[:60])!r}")
            if sum(size for _, _, size in specs) > _ARRAYS_BYTES:
                self._fail("announces an answer of over 2 GB")
            found: list[Array] = []
            for dtype, shape, size in specs:
                content = stream.read(size)
                if len(content) < size:
                    self._lost()
                found.append(np.frombuffer(content, dtype).reshape(shape))
        return answer, tuple(found)

    @contextlib.contextmanager
    def _within(self, seconds: float) -> Iterator[IO[bytes]]:
        """The device's answers; it is ended when the time is up, which ends what it says too."""
        process = self._process
        assert process is not None, "the session is closed"
        assert process.stdout is not None, "a link gives pipes"

        def stop() -> None:
            self._late.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            yield process.stdout
        finally:
            timer.cancel()

    def _lost(self) -> NoReturn:
        if self._late.is_set():
            self._fail(f"gave no answer within {_LIMIT_SECONDS:g} s while {self._doing}")
        said, explain = self._errors.text(), getattr(self._link, "ended", None)
        if explain is not None and self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
            raise explain(self._process.poll(), said, during=f"while {self._doing}")
        said = next((clean(line) for line in reversed(said.splitlines()) if line.strip()), "")
        raise UnmeasuredError(
            f"{self.spec.label}: the connection was lost while {self._doing}"
            + (f": {said}" if said else ""),
            hint="nothing was measured; see whether the device is still up, and try again",
        )

    def _fail(self, what: str) -> NoReturn:
        raise UnmeasuredError(f"{self.spec.label}: {what}", hint="nothing was measured")


class DeviceSession:
    """Implements `core.runner.Session` on a device; `block` and `peak` measure there."""

    signature: Signature

    def __init__(
        self,
        serving: Serving,
        *,
        model: str,
        format: str,
        signature: Signature,
        options: Mapping[str, Any],
    ) -> None:
        spec = serving.spec
        self._serving = serving
        rest = {key: value for key, value in options.items() if key != "threads"}
        answer, _ = serving.ask(
            "open",
            model=model,
            format=format,
            runtimes=list(spec.runtimes),
            threads=options.get("threads", 1),
            options=rest,
            delegates=delegates_of(spec),
            strict=spec.strict,
        )
        self.facts: Mapping[str, Any] = answer
        self.load_ns = int(answer["load_ns"])
        self.first_ns = 0
        self._id = answer["id"]
        inputs, outputs = (_specs(answer[side]) for side in ("inputs", "outputs"))
        self._inputs = _order(inputs, signature.inputs)
        self._outputs = _order(outputs, signature.outputs)
        self.signature = Signature(
            tuple(inputs[i] for i in self._inputs), tuple(outputs[i] for i in self._outputs)
        )

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Runs N samples in the model's own dtypes.

        Raises:
            UsageError: an input does not fit the model.
            UnmeasuredError: the connection was lost.
        """
        sent = dict(zip(self._inputs, inputs, strict=True))
        arrays = [sent[position] for position in range(len(inputs))]
        answer, found = self._serving.ask("run", arrays, id=self._id)
        self.first_ns = self.first_ns or int(answer.get("first_ns", 0))
        return tuple(found[position] for position in self._outputs)

    def invoke(self) -> object:
        """Runs the last sample once more; the way there and back counts, so it is not timed."""
        return self.block(1)

    def block(self, runs: int) -> list[int]:
        """Runs the last sample again `runs` times; the device's own times in ns."""
        answer, _ = self._serving.ask("time", id=self._id, runs=runs)
        return [int(ns) for ns in answer["samples_ns"]]

    def peak(self) -> tuple[int, int]:
        """Peak resident memory of the process there, and its peak before the model was opened."""
        answer, _ = self._serving.ask("peak")
        return int(answer["peak_bytes"]), int(answer["before_bytes"])

    def placement(self) -> Placement:
        """Which op runs where, as the runtime there says."""
        answer, _ = self._serving.ask("placement", id=self._id)
        ops = (OpPlacement(int(op[0]), *map(str, op[1:])) for op in answer["ops"])
        if self._serving.spec.delegates:
            ops = (_off_xnnpack(op) for op in ops)
        tried = (
            Attempt(str(one["what"]), bool(one["ok"]), str(one["reason"]))
            for one in self.facts.get("attempts", ())
        )
        return Placement(tuple(ops), str(answer["reason"]), tuple(tried))

    def figures(self) -> tuple[Figure, ...]:
        """What only this target knows of the model: estimates, sizes, counts; often nothing."""
        answer, _ = self._serving.ask("figures", id=self._id)
        return tuple(
            Figure(
                str(one["name"]),
                int(one["value"]),
                str(one["unit"]),
                "estimated" if one["kind"] == "estimated" else "measured",
                str(one.get("reason", "")),
            )
            for one in answer["figures"]
        )

    def close(self) -> None:
        """Ends the process on the device."""
        self._serving.close()


def _off_xnnpack(op: OpPlacement) -> OpPlacement:
    """Where an accelerator was wanted, XNNPACK is the CPU that it fell back to."""
    if op.where != "XNNPACK":
        return op
    reason = "no accelerator took it: XNNPACK on the CPU"
    return dataclasses.replace(op, where=PLAIN_CPU, reason=reason)


class _Kept:
    """The last lines that a device prints to its stderr."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=_LINES_KEPT)
        self._thread: threading.Thread | None = None

    def follow(self, stream: IO[bytes]) -> None:
        """Reads on in a thread, because a full pipe would stop the device."""
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def text(self) -> str:
        """The last lines that were printed."""
        if self._thread is not None:
            self._thread.join(1.0)
        return b"".join(self._lines).decode("utf-8", "replace")

    def _read(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError):
            while line := stream.readline(_PRINTED_BYTES):
                self._lines.append(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The end of stdin ends run.py; what does not hear it is killed."""
    with contextlib.suppress(OSError, ValueError):
        if process.stdin is not None:
            process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        for stream in (process.stdout, process.stderr):
            with contextlib.suppress(OSError, ValueError):
                if stream is not None:
                    stream.close()


def _array_spec(table: Mapping[str, Any]) -> tuple[Any, tuple[int, ...], int]:
    import numpy as np

    name, shape = str(table["dtype"]), tuple(int(size) for size in table["shape"])
    if name not in _DTYPES or any(size < 0 for size in shape):
        raise ValueError(name)
    dtype = np.dtype(name).newbyteorder("<")
    return dtype, shape, math.prod(shape) * dtype.itemsize


def _specs(tables: Sequence[Mapping[str, Any]]) -> list[TensorSpec]:
    return [
        TensorSpec(
            str(table["name"]),
            tuple(None if size is None else int(size) for size in table["shape"]),
            str(table["dtype"]),
            Quantization(float(table["scale"]), int(table["zero_point"]))
            if table.get("scale")
            else None,
        )
        for table in tables
    ]


def _order(own: Sequence[TensorSpec], wanted: Sequence[TensorSpec]) -> list[int]:
    """The device's positions in the order of the signature, where it has the same names."""
    names = [spec.name for spec in own]
    if {spec.name for spec in wanted} != set(names) or len(set(names)) != len(names):
        return list(range(len(names)))
    return [names.index(spec.name) for spec in wanted]
