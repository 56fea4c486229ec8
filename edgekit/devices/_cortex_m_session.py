"""A model as C on a Cortex-M: generated, built, held against the chip's memory, and run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import TensorSpec
from edgekit.devices import _cortex_m_tools as tools
from edgekit.devices._cortex_m_build import Firmware, build, tensor_bytes
from edgekit.devices._cortex_m_cores import CORES, Core
from edgekit.devices._cortex_m_qemu import Answers, execute
from edgekit.errors import EdgekitError, UnmeasuredError, UsageError
from edgekit.on_device import run
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from edgekit.core.data import Array
    from edgekit.devices.cortex_m import Options
    from edgekit.mcu.generate import Sources

__all__ = ["CortexSession", "opener"]

_FIRST_SECONDS, _LEAST_SECONDS, _MOST_SECONDS, _SLOWER = 120.0, 60.0, 590.0, 10.0
_PROCESSES, _WORTH_A_PROCESS = 4, 8


def opener(options: Options) -> Callable[..., run.Session]:
    """What `serve.Server` opens models with, for one microcontroller."""

    def open_model(model: str, format: str = "tflite", **given: Any) -> run.Session:
        if given.get("delegates"):
            raise run.Fault("a microcontroller takes no delegate", "leave [[delegate]] out")
        if given.get("options"):
            names = ", ".join(given["options"])
            raise run.Fault(f"the options {names} are none of C for a microcontroller")
        if format != "tflite":
            raise run.Fault(f"C is generated from .tflite models, not from .{format}")
        try:
            return CortexSession(Path(model), options, given)
        except EdgekitError as error:
            raise fault(error) from None

    return open_model


def fault(error: EdgekitError) -> run.Fault:
    """The same sentence for the protocol: a model that cannot run there is no wrong request."""
    code = UnmeasuredError.exit_code if isinstance(error, UsageError) else error.exit_code
    return run.Fault(error.message, error.hint, code)


class CortexSession(run.Session):
    """Opens with one inference of zeros, so that what cannot run is known before samples are."""

    kernels = "reference"

    def __init__(self, path: Path, options: Options, how: Mapping[str, Any]) -> None:
        from edgekit.mcu.generate import generate

        start = time.perf_counter_ns()
        self._core: Core = CORES[options.cpu]
        self._sources: Sources = generate(path)
        self._firmware: Firmware = build(self._sources, self._core)
        _check("flash", self._firmware.flash, options.flash)
        _check("RAM", self._firmware.ram, options.ram)
        sides = {
            "inputs": [(n, _table(spec)) for n, spec in enumerate(self._sources.inputs)],
            "outputs": [(n, _table(spec)) for n, spec in enumerate(self._sources.outputs)],
        }
        super().__init__({"inputs": [], "outputs": [], **how}, **sides)
        self._sizes = [tensor_bytes(spec) for spec in self._sources.inputs]
        begin = time.perf_counter()
        self._last = self._execute(bytes(sum(self._sizes)), _FIRST_SECONDS)
        self._seconds = time.perf_counter() - begin
        self._stack = self._last.stack
        _check("RAM (with the stack)", self._firmware.ram + self._stack, options.ram)
        self.runtime, _, self.version = tools.compiler().partition(" ")
        self.attempts: list[Any] = []
        self.load_ns = time.perf_counter_ns() - start

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """N samples in the model's own dtypes, in one process of the emulator or in several."""
        block = self._block(arrays)
        answers = self._in_turn([block[part].tobytes() for part in _parts(len(block))])
        self._last, self._stack = answers[0], max(self._stack, *(a.stack for a in answers))
        self.first_ns = self.first_ns or 1
        return self._columns(b"".join(answer.outputs for answer in answers), len(block))

    def repeat(self) -> Any:
        """Refuses: an emulator has no time."""
        raise run.Fault("emulated by qemu-system-arm: no timing", code=3)

    def placement(self) -> tuple[list[list[Any]], str]:
        """Every op is a function of the firmware."""
        dtype = self._sources.inputs[0].dtype
        ops = enumerate(self._sources.ops)
        return [[number, kind, self._core.title, dtype, ""] for number, kind in ops], ""

    def figures(self) -> list[dict[str, Any]]:
        """What the firmware takes, and the instructions of the first sample that was last given."""
        flash, ram, seen = self._firmware.flash, self._firmware.ram, f"in {tools.emulator()}"
        rows = [
            ("flash", flash, "bytes", "code and constants, with start-up code and test harness"),
            ("RAM", ram, "bytes", "data, with the arena"),
            ("arena", self._sources.arena_bytes, "bytes", "what the activations share"),
            ("stack", self._stack, "bytes", f"the most in use at once {seen}"),
            ("memory", ram + self._stack, "bytes", f"RAM and stack, {seen}"),
            (_INSTRUCTIONS, self._last.instructions[0], "instructions", f"{seen}; not cycles"),
        ]
        return [
            {"name": name, "value": value, "unit": unit, "kind": self._kind(name), "reason": reason}
            for name, value, unit, reason in rows
        ]

    def _kind(self, name: str) -> str:
        """A count is measured where a loop of known length was counted right."""
        return "measured" if name != _INSTRUCTIONS or self._last.exact else "estimated"

    def _block(self, arrays: Sequence[Any]) -> Array:
        """A row of bytes for each sample: its inputs, one after another."""
        np = self.np
        if len(arrays) != len(self.inputs) or not len(arrays[0]):
            raise run.Fault(f"the model takes {len(self.inputs)} inputs, of one sample at least")
        rows = []
        for position, array in sorted(zip(self._in, arrays, strict=True), key=lambda pair: pair[0]):
            spec = self._sources.inputs[position]
            shape = tuple(size or 1 for size in spec.shape[1:])
            if array.dtype != spec.dtype or array.shape != (len(arrays[0]), *shape):
                raise run.Fault(
                    f"the input '{spec.name}' is {spec.dtype} {shape} for each sample, and was "
                    f"given {array.dtype} {array.shape}"
                )
            rows.append(np.ascontiguousarray(array).reshape(len(array), -1).view("u1"))
        whole: Array = np.concatenate(rows, axis=1)
        return whole

    def _columns(self, outputs: bytes, count: int) -> list[Any]:
        """One array for each output, in the manifest's order."""
        np, specs = self.np, self._sources.outputs
        sizes = [tensor_bytes(spec) for spec in specs]
        if len(outputs) != count * sum(sizes):
            raise run.Fault(
                f"the firmware gave {len(outputs)} bytes for {count} samples of {sum(sizes)}",
                code=3,
            )
        block = np.frombuffer(outputs, np.uint8).reshape(count, -1)
        found, begin = [], 0
        for spec, size in zip(specs, sizes, strict=True):
            column = np.ascontiguousarray(block[:, begin : begin + size]).view(spec.dtype)
            found.append(column.reshape(count, *(n or 1 for n in spec.shape[1:])))
            begin += size
        return [found[position] for position in self._out]

    def _in_turn(self, blocks: Sequence[bytes]) -> list[Answers]:
        size = sum(self._sizes)

        def one(block: bytes) -> Answers:
            expected = self._seconds * (len(block) // size) * _SLOWER * len(blocks)
            return self._execute(block, min(_MOST_SECONDS, _LEAST_SECONDS + expected))

        try:
            with ThreadPoolExecutor(len(blocks)) as pool:
                return list(pool.map(one, blocks))
        except EdgekitError as error:
            raise fault(error) from None

    def _execute(self, samples: bytes, limit: float) -> Answers:
        found = execute(self._firmware.path, self._core, samples, limit_seconds=limit)
        if len(found.instructions) * sum(self._sizes) != len(samples):
            raise run.Fault("the firmware did not run all samples", code=3)
        return found


_INSTRUCTIONS = "instructions per inference"


def _parts(count: int) -> list[slice]:
    """Blocks of samples that run at the same time, one a processor."""
    most = min(_PROCESSES, len(os.sched_getaffinity(0)), max(1, count // _WORTH_A_PROCESS))
    step = -(-count // most)
    return [slice(begin, begin + step) for begin in range(0, count, step)]


def _check(what: str, needed: int, limit: int | None) -> None:
    if limit is not None and needed > limit:
        name = what.partition(" ")[0]
        raise run.Fault(
            f"the model needs {format_bytes(needed)} of {what}, and the target has "
            f"{format_bytes(limit)}",
            f"take a smaller model, or say in the target's [device] how much {name} the chip has",
            code=1,
        )


def _table(spec: TensorSpec) -> dict[str, Any]:
    scaled = spec.quantization
    return {
        "name": spec.name,
        "shape": [1, *spec.shape[1:]],
        "dtype": spec.dtype,
        "scale": scaled.scale if scaled else None,
        "zero_point": scaled.zero_point if scaled else None,
    }
