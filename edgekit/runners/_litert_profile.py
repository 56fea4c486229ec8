"""What LiteRT's own profiler says of each op, read through the C API of `libLiteRt.so`.

No Python class of ai-edge-litert has the profiler. The library has it, without headers: the calls
and the layout of an event below are those of the one version that is named, and nothing is called
in another one. A wrong guess would crash the process, so `bench` profiles in one of its own.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.runner import PLAIN_CPU, OpTime
from edgekit.errors import UnmeasuredError
from edgekit.lazy import version
from edgekit.runners._litert import Kernels

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["KNOWN_VERSIONS", "Event", "Names", "op_names", "record", "summed"]

KNOWN_VERSIONS = frozenset({"2.3.0"})

Names = Mapping[int, tuple[str, str]]
"""Of the model's ops by their number: the kind, and the name."""
_XNNPACK = "XNNPACK"
_CPU_ACCELERATOR = 1
_WRITE = 1
_OP, _DELEGATED_OP = 2, 8
"""The types of event that are an op of the model, and one that a delegate made of some."""


class Event(ctypes.Structure):
    """One thing that the profiler saw, as the library lays it out."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int32),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * 6),
        ("number", ctypes.c_uint64),
        ("more", ctypes.c_uint64),
        ("source", ctypes.c_int32),
    )


class _TensorType(ctypes.Structure):
    """The low seven bits of `rank` are the rank; an open dimension is -1."""

    _fields_ = (
        ("element", ctypes.c_int),
        ("rank", ctypes.c_uint32),
        ("sizes", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


def record(
    path: Path, *, kernels: Kernels, threads: int, inputs: Mapping[str, Array], runs: int
) -> list[list[tuple[str, int, int, int]]]:
    """Runs a model under the profiler: for each run (tag, type, number, microseconds) of its ops.

    `inputs` are by the tensors' own names. A first run does not count.

    Raises:
        UnmeasuredError: another version, kernels that it does not have, or a call that failed.
    """
    found = version("ai-edge-litert")
    if found not in KNOWN_VERSIONS:
        raise UnmeasuredError(
            f"the profiler of ai-edge-litert {found} is not known to edgekit (that of "
            f"{', '.join(sorted(KNOWN_VERSIONS))} is)"
        )
    if kernels == "reference":
        raise UnmeasuredError(
            "LiteRT's profiler runs the built-in kernels in place of the reference ones"
        )
    with ExitStack() as stack:
        model = _Model(_library(), stack, path, _options(kernels, threads))
        model.fill(inputs)
        model.run()
        return [model.profiled() for _ in range(runs)]


def summed(runs: Sequence[Sequence[tuple[str, int, int, int]]], names: Names) -> tuple[OpTime, ...]:
    """The ops by their time, the longest first. Every run has the same ops in the same order.

    The faster half of the runs counts: in the others, the machine did something else as well.

    Raises:
        UnmeasuredError: the profiler saw no op, or other ops in each run.
    """
    shapes = {tuple(event[:3] for event in run) for run in runs}
    if len(shapes) != 1 or not runs[0]:
        what = "other ops in each run" if len(shapes) > 1 else "no op at all"
        raise UnmeasuredError(f"LiteRT's profiler saw {what}")
    calm = sorted(runs, key=lambda run: sum(event[3] for event in run))[: (len(runs) + 1) // 2]
    times, kernels = [], 0
    for same in zip(*calm, strict=True):
        tag, kind, number, _ = same[0]
        if kind == _DELEGATED_OP:  # What XNNPACK made of some ops; which ones, it does not say.
            name, where, kernels = f"kernel {kernels}", _XNNPACK, kernels + 1
        else:
            known, own = names.get(number, ("", ""))
            name, where = own if known == tag else f"op {number}", PLAIN_CPU
        total_ns = 1000 * sum(event[3] for event in same)
        times.append(OpTime(name, tag, where, len(calm), total_ns))
    return tuple(sorted(times, key=lambda time: -time.total_ns))


def op_names(interpreter: Any) -> Names:
    """The model's ops by number; an op is called what it writes first."""
    details = {d["index"]: d["name"] for d in interpreter.get_tensor_details()}
    return {
        row["index"]: (row["op_name"], details.get(int(row["outputs"][0]), ""))
        for row in interpreter._get_ops_details()
        if len(row["outputs"])
    }


class _Model:
    """A compiled model with its buffers, freed by the stack that was passed in."""

    def __init__(
        self, library: ctypes.CDLL, stack: ExitStack, path: Path, options: Mapping[str, str]
    ) -> None:
        self._library, self._stack = library, stack
        none = ctypes.c_void_p()
        self._environment = self._make("Environment", "CreateEnvironment", 0, none)
        source = str(path).encode()
        model = self._make("Model", "CreateModelFromFile", self._environment, source)
        chosen = self._make("Options", "CreateOptions")
        self._call("SetOptionsHardwareAccelerators", chosen, _CPU_ACCELERATOR)
        for identifier, text in options.items():
            self._add(chosen, identifier, text)
        self._compiled = self._make(
            "CompiledModel", "CreateCompiledModel", self._environment, model, chosen
        )
        self._profiler = self._get("CompiledModelGetProfiler", self._compiled)
        self._signature = self._get("GetModelSignature", model, ctypes.c_size_t(0))
        self._inputs, self._outputs = self._buffers("Input"), self._buffers("Output")

    def fill(self, inputs: Mapping[str, Array]) -> None:
        """Copies the inputs in; one that is not there, or of another size, is refused."""
        for name, buffer in self._inputs.items():
            size = self._size(buffer)
            array = inputs.get(name)
            if array is None or array.nbytes != size:
                given = "is not there" if array is None else f"has {array.nbytes} bytes"
                raise UnmeasuredError(
                    f"LiteRT's profiler takes {size} bytes for the input '{name}', which {given}; "
                    "convert the model with inputs of a fixed shape"
                )
            place = ctypes.c_void_p()
            self._call("LockTensorBuffer", buffer, ctypes.byref(place), _WRITE)
            ctypes.memmove(place, array.tobytes(), size)
            self._call("UnlockTensorBuffer", buffer)

    def run(self) -> None:
        sides = []
        for buffers in (self._inputs, self._outputs):
            handles = [buffer.value for buffer in buffers.values()]
            sides += [ctypes.c_size_t(len(handles)), (ctypes.c_void_p * len(handles))(*handles)]
        self._call("RunCompiledModel", self._compiled, ctypes.c_size_t(0), *sides)

    def profiled(self) -> list[tuple[str, int, int, int]]:
        """One more run, with the profiler on."""
        self._call("ResetProfiler", self._profiler)
        self._call("StartProfiler", self._profiler)
        self.run()
        self._call("StopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("GetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (Event * count.value)()
        self._call("GetProfilerEvents", self._profiler, count, events)
        return [
            ((event.tag or b"").decode("utf-8", "replace"), event.type, event.number, int(time))
            for event in events
            for time in (event.elapsed_us,)
            if event.type in (_OP, _DELEGATED_OP)
        ]

    def _buffers(self, side: str) -> dict[str, ctypes.c_void_p]:
        count = ctypes.c_size_t()
        self._call(f"GetNumSignature{side}s", self._signature, ctypes.byref(count))
        found: dict[str, ctypes.c_void_p] = {}
        for place in range(count.value):
            index = ctypes.c_size_t(place)
            tensor = self._get(f"GetSignature{side}TensorByIndex", self._signature, index)
            name = ctypes.c_char_p()
            self._call("GetTensorName", tensor, ctypes.byref(name))
            found[(name.value or b"").decode("utf-8", "replace")] = self._buffer(
                side, index, tensor
            )
        return found

    def _buffer(self, side: str, index: ctypes.c_size_t, tensor: ctypes.c_void_p) -> Any:
        kind = _TensorType()
        self._call("GetRankedTensorType", tensor, ctypes.byref(kind))
        for axis in range(kind.rank & 127):  # An open dimension is one sample.
            kind.sizes[axis] = max(1, kind.sizes[axis])
        wanted = self._get(
            f"GetCompiledModel{side}BufferRequirements", self._compiled, ctypes.c_size_t(0), index
        )
        return self._make(
            "TensorBuffer",
            "CreateManagedTensorBufferFromRequirements",
            self._environment,
            ctypes.byref(kind),
            wanted,
        )

    def _size(self, buffer: ctypes.c_void_p) -> int:
        size = ctypes.c_size_t()
        self._call("GetTensorBufferSize", buffer, ctypes.byref(size))
        return size.value

    def _add(self, options: ctypes.c_void_p, identifier: str, text: str) -> None:
        """Options are TOML, in memory that the library frees."""
        libc = ctypes.CDLL(None)
        libc.strdup.restype = ctypes.c_void_p
        copied = ctypes.c_void_p(libc.strdup(text.encode()))
        free = ctypes.cast(libc.free, ctypes.c_void_p)
        made = self._get("CreateOpaqueOptions", identifier.encode(), copied, free)
        self._call("AddOpaqueOptions", options, made)

    def _make(self, kind: str, name: str, *arguments: Any) -> ctypes.c_void_p:
        handle = self._get(name, *arguments)
        destroy: Callable[..., object] = getattr(self._library, f"LiteRtDestroy{kind}")
        self._stack.callback(destroy, handle)
        return handle

    def _get(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self._call(name, *arguments, ctypes.byref(handle))
        if not handle.value:
            raise UnmeasuredError(f"LiteRt{name} gave nothing")
        return handle

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, f"LiteRt{name}")(*arguments)
        if status:
            raise UnmeasuredError(f"LiteRt{name} failed with status {status}")


def _library() -> ctypes.CDLL:
    found = importlib.util.find_spec("ai_edge_litert")
    assert found is not None, "its version is known"
    assert found.origin is not None, "it is a regular package"
    return ctypes.CDLL(str(Path(found.origin).parent / "libLiteRt.so"))


def _options(kernels: Kernels, threads: int) -> dict[str, str]:
    """What is set, by the identifier under which the library looks for it."""
    cpu = f'kernel_mode = "{kernels}"\nnum_threads = {threads}\n'
    return {"runtime_options_string": "enable_profiling = true\n", "xnnpack": cpu}
